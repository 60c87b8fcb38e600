//! Admission policies that are components: installed, swapped and taken away by kubectl, each for
//! the ConfigMaps of one namespace.

use std::path::Path;

use hansa_tests::{Kubectl, Local, guests, soon};
use serde_json::{Value, json};

use crate::scenario::on;

on!(hollow:
    a_policy_refuses_until_it_is_gone,
    a_policy_changes_objects_and_is_swapped,
    a_policy_that_traps_is_as_its_failure_policy_says,
    a_bad_version_leaves_the_good_one_deciding,
    deletions_show_what_goes,
    plugins_that_are_about_nothing_are_refused,
);

fn digest_of(guest: &str) -> String {
    let text = std::fs::read_to_string(guests().join(format!("{guest}.sha256")));
    text.expect("`cargo xtask guests` writes it").trim().to_owned()
}

/// `matchConstraints` for the ConfigMaps of a namespace.
fn constraints(namespace: &str, operations: &[&str]) -> Value {
    json!({
        "resourceRules": [{"operations": operations, "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["configmaps"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    })
}

fn plugin(kubectl: &Kubectl, guest: &str, more: &Value) -> Value {
    let namespace = &kubectl.namespace;
    let mut spec = json!({
        "world": "admission",
        "source": {"configMap": {"namespace": namespace, "name": guest, "key": "policy.wasm"}},
        "digest": digest_of(guest),
        "matchConstraints": constraints(namespace, &["CREATE", "UPDATE"]),
        "limits": {"callMs": 1000},
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "plugins.hansa.dev/v1alpha1", "kind": "Plugin",
        "metadata": {"name": namespace}, "spec": spec})
}

/// Puts guests into ConfigMaps, before there is a policy about those.
fn store(kubectl: &Kubectl, names: &[&str]) {
    for name in names {
        let file = guests().join(format!("{name}.wasm"));
        let from = format!("--from-file=policy.wasm={}", file.display());
        kubectl.ok(&["create", "configmap", name, &from]);
    }
}

/// Applies the namespace's Plugin and waits until it decides.
fn install(kubectl: &Kubectl, guest: &str, more: &Value) {
    kubectl.apply(&plugin(kubectl, guest, more).to_string());
    soon("the policy to decide", || condition(kubectl)[..2] == ["True", "Deciding"]);
}

/// Status, reason and message of the condition, once it speaks of the present generation.
fn condition(kubectl: &Kubectl) -> [String; 3] {
    let text = kubectl.ok(&["get", "plugin", &kubectl.namespace, "-o", "json"]);
    let plugin: Value = serde_json::from_str(&text).unwrap();
    let current = plugin["status"]["observedGeneration"] == plugin["metadata"]["generation"];
    let condition = &plugin["status"]["conditions"][0];
    ["status", "reason", "message"].map(|field| {
        let text = condition[field].as_str().filter(|_| current);
        text.unwrap_or_default().to_owned()
    })
}

fn forget(kubectl: &Kubectl) {
    kubectl.ok(&["delete", "plugin", &kubectl.namespace]);
}

fn map(name: &str, labels: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels},
        "data": {"k": "v"}})
    .to_string()
}

const DEMANDING: &str = "admission-required-labels";
const ADDING: &str = "admission-default-labels";
const TRAPPING: &str = "admission-trapping";

/// What kubectl says when a ConfigMap without labels is created.
fn refusal(kubectl: &Kubectl) -> String {
    let output = kubectl.with(&["create", "--dry-run=server"], &map("bare", &json!({})));
    output.stderr
}

fn a_policy_refuses_until_it_is_gone(kubectl: &Kubectl) {
    store(kubectl, &[DEMANDING]);
    install(kubectl, DEMANDING, &json!({"config": {"labels": {"team": ["shop", "web"]}}}));
    let denied = format!("admission plugin {:?} denied the request", kubectl.namespace);
    let refused = refusal(kubectl);
    assert!(refused.contains("Error from server (Forbidden)"), "{refused}");
    assert!(refused.contains(&format!("{denied}: label \"team\" is required")), "{refused}");
    let other = kubectl.with(&["apply"], &map("other", &json!({"team": "x"})));
    let wanted = format!("{denied}: label \"team\" must be one of shop, web, not x");
    assert!(other.stderr.contains(&wanted), "{}", other.stderr);

    kubectl.apply(&map("good", &json!({"team": "web"})));
    let edited = kubectl.fails(&["label", "configmap", "good", "team-"]);
    assert!(edited.contains(&denied), "{edited}");
    kubectl.ok(&["create", "secret", "generic", "of-another-kind"]);
    forget(kubectl);
    soon("nothing is demanded any more", || refusal(kubectl).is_empty());
}

fn a_policy_changes_objects_and_is_swapped(kubectl: &Kubectl) {
    store(kubectl, &[ADDING, DEMANDING]);
    install(kubectl, ADDING, &json!({"config": {"labels": {"team": "nobody"}}}));
    kubectl.apply(&map("bare", &json!({})));
    kubectl.apply(&map("own", &json!({"team": "web"})));
    let team = |name: &str| kubectl.path(&["configmap", name], "{.metadata.labels.team}");
    assert_eq!([team("bare"), team("own")], ["nobody", "web"]);

    let swapped = json!({"config": {"labels": {"owner": []}}, "failurePolicy": "Closed"});
    install(kubectl, DEMANDING, &swapped);
    assert!(refusal(kubectl).contains("label \"owner\" is required"), "it is another policy");
    let history = kubectl.path(&["plugin", &kubectl.namespace], "{.status.history[*].digest}");
    assert_eq!(history, format!("{} {}", digest_of(DEMANDING), digest_of(ADDING)));
    forget(kubectl);
}

fn a_policy_that_traps_is_as_its_failure_policy_says(kubectl: &Kubectl) {
    store(kubectl, &[TRAPPING]);
    install(kubectl, TRAPPING, &json!({"failurePolicy": "Closed"}));
    for _ in 0..2 {
        let refused = refusal(kubectl);
        let wanted = format!("failed calling admission plugin {:?}", kubectl.namespace);
        assert!(refused.contains("Internal error occurred"), "{refused}");
        assert!(refused.contains(&wanted) && refused.contains("traps on purpose"), "{refused}");
    }
    install(kubectl, TRAPPING, &json!({"failurePolicy": "Skip"}));
    assert_eq!([refusal(kubectl), refusal(kubectl)], ["", ""], "it passes without the policy");
    soon("it is fenced off", || condition(kubectl)[1] == "FencedOff");
    forget(kubectl);
}

fn a_bad_version_leaves_the_good_one_deciding(kubectl: &Kubectl) {
    store(kubectl, &[DEMANDING, TRAPPING]);
    install(kubectl, DEMANDING, &json!({"config": {"labels": {"team": []}}}));
    assert!(refusal(kubectl).contains("label \"team\" is required"));
    for at in ["decision", "memory", "recurse"] {
        let bad = plugin(kubectl, TRAPPING, &json!({"config": {"at": at}}));
        kubectl.apply(&bad.to_string());
        soon("it is fenced off when it is first asked", || {
            let refused = refusal(kubectl);
            assert!(refused.contains("label \"team\" is required"), "{at}: {refused}");
            condition(kubectl)[1] == "FencedOff"
        });
    }
    let active = kubectl.path(&["plugin", &kubectl.namespace], "{.status.activeDigest}");
    assert_eq!(active, digest_of(DEMANDING));
    forget(kubectl);
}

fn deletions_show_what_goes(kubectl: &Kubectl) {
    store(kubectl, &[TRAPPING]);
    for name in ["plain", "trap"] {
        kubectl.apply(&map(name, &json!({})));
    }
    let constraints = constraints(&kubectl.namespace, &["DELETE"]);
    let marked = json!({"config": {"at": "marked"}, "matchConstraints": constraints,
        "failurePolicy": "Closed"});
    install(kubectl, TRAPPING, &marked);
    kubectl.ok(&["delete", "configmap", "plain"]);
    let kept = kubectl.fails(&["delete", "configmap", "trap"]);
    assert!(kept.contains("traps on purpose"), "{kept}");
    forget(kubectl);
    soon("it may go", || kubectl.run(&["delete", "configmap", "trap"]).success);
}

fn plugins_that_are_about_nothing_are_refused(kubectl: &Kubectl) {
    store(kubectl, &[DEMANDING]);
    let mut plugin = plugin(kubectl, DEMANDING, &json!({"config": {"labels": {"team": []}}}));
    plugin["spec"]["matchConstraints"] = json!({"resourceRules": []});
    kubectl.apply(&plugin.to_string());
    soon("it is refused", || condition(kubectl)[1] == "Refused");
    let said = condition(kubectl);
    assert!(said[2].contains("needs matchConstraints with resourceRules"), "{said:?}");
    forget(kubectl);
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PLUGINS: &str = "/apis/plugins.hansa.dev/v1alpha1/plugins";

/// A Plugin for all of `default` whose component nobody has.
fn absent(more: &Value) -> Value {
    let mut spec = json!({
        "world": "admission", "digest": "sha256:00", "source": {"file": "absent.wasm"},
        "matchConstraints": constraints("default", &["*"]),
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "plugins.hansa.dev/v1alpha1", "kind": "Plugin",
        "metadata": {"name": "absent"}, "spec": spec})
}

/// Right after a start a policy's component is not there yet; what waits for it is what its Plugin
/// says. Here nobody ever loads one.
#[test]
fn a_policy_that_must_not_be_left_out_is_waited_for() {
    let local = Local::start();
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds/plugins.plugins.hansa.dev.yaml");
    let definition: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let made = local.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition);
    assert_eq!(made.code, 201, "{}", made.text);
    soon("plugins to be served", || local.get(PLUGINS).code == 200);
    let map = json!({"metadata": {"name": "m"}});
    let create = || local.post(&format!("{MAPS}?dryRun=All"), &map);
    for (policy, waits) in [("Closed", true), ("Skip", false), ("Fallback", false)] {
        let plugin = absent(&json!({"failurePolicy": policy}));
        assert_eq!(local.post(PLUGINS, &plugin).code, 201);
        if waits {
            soon("it is waited for", || create().code == 500);
            let message = create().message().to_owned();
            assert!(message.contains("failed calling admission plugin \"absent\""), "{message}");
        }
        assert_eq!(local.delete(&format!("{PLUGINS}/absent"), &json!({})).code, 200);
        soon("nobody is waited for", || create().code == 201);
    }
    assert_eq!(local.post(PLUGINS, &absent(&json!({}))).code, 201);
    assert_eq!(create().code, 201, "it never decided");
    let status = json!({"status": {"activeDigest": "sha256:00"}});
    assert_eq!(local.patch(&format!("{PLUGINS}/absent/status"), "merge", &status).code, 200);
    soon("what decided before is waited for", || create().code == 500);
}
