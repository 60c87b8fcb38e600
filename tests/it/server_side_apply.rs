//! `kubectl apply --server-side`: who manages what, and what becomes of it.

use hansa_tests::{Kubectl, Output, Version, soon};

use crate::scenario::{config_map, deployment, on};

on!(hollow:
    conflicts_are_told_and_forced,
    what_is_applied_no_longer_goes,
    replicas_are_left_to_who_scales,
    client_side_apply_becomes_server_side_apply,
    managers_are_shown_on_demand,
    diff_and_dry_run_change_nothing,
    statuses_have_their_own_managers,
    custom_resources_merge_as_their_schema_says,
    what_does_not_fit_is_refused,
    who_may_patch_may_not_create,
);

const MANAGERS: &str = "{range .metadata.managedFields[*]}{.manager}/{.operation}{\" \"}{end}";

fn serverside(kubectl: &Kubectl, flags: &[&str], manifest: &str) -> Output {
    kubectl.with(&[&["apply", "--server-side"], flags].concat(), manifest)
}

fn applied(kubectl: &Kubectl, flags: &[&str], manifest: &str) -> String {
    let output = serverside(kubectl, flags, manifest);
    assert!(output.success, "{output:?}");
    output.stdout
}

fn conflicts_are_told_and_forced(kubectl: &Kubectl) {
    let done = applied(kubectl, &[], &config_map("shared", "k", "one"));
    assert_eq!(done, "configmap/shared serverside-applied\n");
    kubectl.ok(&["patch", "cm", "shared", "--type=merge", "-p", r#"{"data": {"k": "patched"}}"#]);
    let refused = serverside(kubectl, &[], &config_map("shared", "k", "two"));
    let told = "Apply failed with 1 conflict: conflict with \"kubectl-patch\" using v1: .data.k";
    assert!(!refused.success && refused.stderr.contains(told), "{refused:?}");
    assert_eq!(kubectl.path(&["cm", "shared"], "{.data.k}"), "patched");
    applied(kubectl, &["--force-conflicts"], &config_map("shared", "k", "two"));
    let other =
        serverside(kubectl, &["--field-manager=other"], &config_map("shared", "k", "three"));
    assert!(other.stderr.contains(r#"conflict with "kubectl": .data.k"#), "{other:?}");
    applied(kubectl, &["--field-manager=other"], &config_map("shared", "k", "two"));
    let managers = kubectl.path(&["cm", "shared"], MANAGERS);
    assert!(managers.contains("kubectl/Apply") && managers.contains("other/Apply"), "{managers}");
    let both = serverside(kubectl, &["--field-manager=third"], &config_map("shared", "k", "4"));
    assert!(
        both.stderr
            .contains("Apply failed with 2 conflicts: conflicts with \"kubectl\":\n- .data.k\n"),
        "{both:?}"
    );
}

fn what_is_applied_no_longer_goes(kubectl: &Kubectl) {
    let whole = deployment("web", 1);
    applied(kubectl, &[], &whole);
    kubectl.ok(&["label", "deployment", "web", "mine=kept"]);
    let less = whole.replace("        - {name: SECOND, value: two}\n", "").replace(
        "labels: {app: web}}\nspec:\n  replicas",
        "labels: {other: web}}\nspec:\n  replicas",
    );
    applied(kubectl, &[], &less);
    let path = "{.spec.template.spec.containers[0].env[*].name} {.metadata.labels}";
    let left = kubectl.path(&["deployment", "web"], path);
    assert_eq!(left, r#"FIRST {"mine":"kept","other":"web"}"#);
    let generation = || kubectl.path(&["deployment", "web"], "{.metadata.generation}");
    let before = generation();
    applied(kubectl, &[], &less);
    assert_eq!(generation(), before);
}

fn replicas_are_left_to_who_scales(kubectl: &Kubectl) {
    applied(kubectl, &[], &deployment("web", 1));
    kubectl.ok(&["scale", "deployment", "web", "--replicas=2"]);
    let refused = serverside(kubectl, &[], &deployment("web", 1));
    let told = "with subresource \"scale\" using apps/v1: .spec.replicas";
    assert!(refused.stderr.contains(told), "{refused:?}");
    applied(kubectl, &[], &deployment("web", 1).replace("  replicas: 1\n", ""));
    assert_eq!(kubectl.path(&["deployment", "web"], "{.spec.replicas}"), "2");
}

fn client_side_apply_becomes_server_side_apply(kubectl: &Kubectl) {
    kubectl.apply(&deployment("web", 1));
    assert!(kubectl.path(&["deployment", "web"], MANAGERS).contains("kubectl-client-side-apply/"));
    let less = deployment("web", 2).replace("        - {name: SECOND, value: two}\n", "");
    applied(kubectl, &[], &less);
    let path = "{.spec.replicas} {.spec.template.spec.containers[0].env[*].name}";
    assert_eq!(kubectl.path(&["deployment", "web"], path), "2 FIRST");
    let managers = kubectl.path(&["deployment", "web"], MANAGERS);
    assert!(managers.contains("kubectl/Apply"), "{managers}");
    assert!(!managers.contains("client-side"), "{managers}");
    // And back again: the annotation went along, so that nothing desired changes.
    let before = kubectl.path(&["deployment", "web"], "{.spec}");
    kubectl.apply(&less);
    assert_eq!(kubectl.path(&["deployment", "web"], "{.spec}"), before);
}

fn managers_are_shown_on_demand(kubectl: &Kubectl) {
    kubectl.with(&["create"], &config_map("plain", "k", "v"));
    let hidden = kubectl.ok(&["get", "cm", "plain", "-o", "yaml"]);
    assert!(!hidden.contains("managedFields"), "{hidden}");
    let shown = kubectl.ok(&["get", "cm", "plain", "-o", "yaml", "--show-managed-fields"]);
    for line in [
        "  - apiVersion: v1\n    fieldsType: FieldsV1\n    fieldsV1:\n      f:data:\n        .: {}\n        \
         f:k: {}\n",
        "          f:kind: {}\n    manager: kubectl-create\n    operation: Update\n",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
}

fn diff_and_dry_run_change_nothing(kubectl: &Kubectl) {
    let map = |value: &str| config_map("steady", "k", value);
    applied(kubectl, &[], &map("one"));
    let version = kubectl.path(&["cm", "steady"], "{.metadata.resourceVersion}");
    let same = kubectl.with(&["diff", "--server-side"], &map("one"));
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), ""), "{same:?}");
    let diff = kubectl.with(&["diff", "--server-side"], &map("two"));
    assert_eq!(diff.code, Some(1), "{diff:?}");
    assert!(diff.stdout.contains("-  k: one\n+  k: two"), "{diff:?}");
    let tried = applied(kubectl, &["--dry-run=server"], &map("two"));
    assert_eq!(tried, "configmap/steady serverside-applied (server dry run)\n");
    applied(kubectl, &["--dry-run=server"], &config_map("never", "k", "v"));
    assert!(kubectl.fails(&["get", "cm", "never"]).contains("NotFound"));
    applied(kubectl, &[], &map("one"));
    assert_eq!(kubectl.path(&["cm", "steady"], "{.metadata.resourceVersion}"), version);
}

fn statuses_have_their_own_managers(kubectl: &Kubectl) {
    let head = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n";
    applied(kubectl, &[], &format!("{head}spec: {{ports: [{{port: 80}}]}}\n"));
    let condition = |kind: &str| {
        format!(
            "{{\"type\": \"{kind}\", \"status\": \"True\", \"reason\": \"Seen\", \"message\": \"\", \
             \"lastTransitionTime\": \"2026-01-01T00:00:00Z\"}}"
        )
    };
    let status = format!(r#"{{"status": {{"conditions": [{}]}}}}"#, condition("One"));
    kubectl.ok(&["patch", "svc", "web", "--subresource=status", "--type=merge", "-p", &status]);
    let web = ["svc", "web"];
    let entry = |manager: &str, field: &str| {
        let path = format!("{{.metadata.managedFields[?(@.manager==\"{manager}\")].{field}}}");
        kubectl.path(&web, &path)
    };
    assert_eq!(entry("kubectl-patch", "subresource"), "status");
    if kubectl.version == Version::V1_27 {
        return; // Its `apply` knows no subresources.
    }
    let status = format!("{head}status: {{conditions: [{}]}}\n", condition("Two"));
    applied(kubectl, &["--subresource=status", "--field-manager=doctor"], &status);
    assert_eq!(kubectl.path(&web, "{.status.conditions[*].type}"), "One Two");
    let fields = entry("doctor", "fieldsV1");
    assert!(fields.contains(r#"k:{\"type\":\"Two\"}"#) && !fields.contains("f:spec"), "{fields}");
}

fn custom_resources_merge_as_their_schema_says(kubectl: &Kubectl) {
    let group = format!("{}.apply.dev", kubectl.namespace);
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: fleets.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: fleets, singular: fleet, kind: Fleet}}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              admiral: {{type: string}}
              ships:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {{name: {{type: string}}, masts: {{type: integer}}}}
              ports: {{type: array, items: {{type: string}}}}
"
    );
    applied(kubectl, &[], &definition);
    let name = format!("fleets.{group}");
    kubectl.ok(&["wait", "--for=condition=Established", &format!("crd/{name}"), "--timeout=60s"]);
    let fleet = |spec: &str| {
        format!(
            "apiVersion: {group}/v1\nkind: Fleet\nmetadata: {{name: north}}\nspec: {{{spec}}}\n"
        )
    };
    let one = ["--field-manager=one"];
    let two = ["--field-manager=two"];
    applied(kubectl, &one, &fleet("ships: [{name: a, masts: 1}], ports: [Kiel]"));
    applied(kubectl, &two, &fleet("admiral: Nele, ships: [{name: b, masts: 2}]"));
    let refused = serverside(kubectl, &two, &fleet("ships: [{name: a, masts: 3}], ports: [Riga]"));
    let told = "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.ports\n\
                - .spec.ships[name=\"a\"].masts";
    assert!(refused.stderr.contains(told), "{refused:?}");
    applied(kubectl, &one, &fleet("ports: [Kiel]"));
    let path = "{.spec.admiral} {.spec.ships[*].name} {.spec.ports[*]}";
    assert_eq!(kubectl.path(&[&name, "north"], path), "Nele b Kiel");
    let unknown = serverside(kubectl, &two, &fleet("sails: 3"));
    assert!(unknown.stderr.contains(".spec.sails: field not declared in schema"), "{unknown:?}");
    kubectl.ok(&["delete", "crd", &name]);
}

fn what_does_not_fit_is_refused(kubectl: &Kubectl) {
    let unknown = deployment("web", 1).replace("image: pause:1", "image: pause:1\n        img: x");
    let refused = serverside(kubectl, &["--validate=false"], &unknown);
    let told = ".spec.template.spec.containers[name=\"main\"].img: field not declared in schema";
    assert!(!refused.success && refused.stderr.contains(told), "{refused:?}");
    let twice = deployment("web", 1).replace("{name: SECOND", "{name: FIRST");
    let refused = serverside(kubectl, &[], &twice);
    assert!(refused.stderr.contains(r#"duplicate entries for key [name="FIRST"]"#), "{refused:?}");
    assert!(kubectl.fails(&["get", "deployment", "web"]).contains("NotFound"));
}

fn who_may_patch_may_not_create(kubectl: &Kubectl) {
    kubectl.ok(&["create", "role", "patcher", "--verb=get,patch", "--resource=configmaps"]);
    kubectl.ok(&["create", "rolebinding", "patcher", "--role=patcher", "--user=patcher"]);
    let map = config_map("guarded", "k", "v");
    let told = r#"User "patcher" cannot create resource "configmaps" in API group """#;
    let refused = || serverside(kubectl, &["--as=patcher"], &map).stderr.contains(told);
    soon("the role counts, and allows no creation", refused);
    assert!(kubectl.fails(&["get", "cm", "guarded"]).contains("NotFound"));
    applied(kubectl, &[], &map);
    applied(kubectl, &["--as=patcher", "--field-manager=patcher"], &map);
}
