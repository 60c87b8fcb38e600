//! Custom resources: their schemas, subresources, columns, and what kubectl does with them.

use hansa_tests::{Kubectl, soon};

use crate::scenario::on;

on!(hollow:
    schemas_default_prune_and_refuse,
    subresources_and_columns,
    gone_with_its_definition,
    refused_definitions,
);

/// A definition whose group is this scenario's own: definitions have no namespace.
fn definition(kubectl: &Kubectl) -> String {
    let group = group(kubectl);
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: ships.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: ships, singular: ship, kind: Ship}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {{}}
      scale: {{specReplicasPath: .spec.masts, statusReplicasPath: .status.masts}}
    additionalPrinterColumns:
    - {{name: Port, type: string, jsonPath: .spec.port}}
    - {{name: Masts, type: integer, jsonPath: .spec.masts}}
    - {{name: Cargo, type: string, jsonPath: .spec.cargo.kind, priority: 1}}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [port]
            properties:
              port: {{type: string, pattern: '^[A-Z]', description: Where it is at home.}}
              masts: {{type: integer, minimum: 1, maximum: 5, default: 2}}
              flag: {{type: string, enum: [red, white]}}
              cargo: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
          status:
            type: object
            properties: {{masts: {{type: integer}}}}
"
    )
}

fn group(kubectl: &Kubectl) -> String {
    format!("{}.test.dev", kubectl.namespace)
}

fn ship(kubectl: &Kubectl, name: &str, spec: &str) -> String {
    let group = group(kubectl);
    format!("apiVersion: {group}/v1\nkind: Ship\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

fn established(kubectl: &Kubectl) -> String {
    kubectl.apply(&definition(kubectl));
    let name = format!("crd/ships.{}", group(kubectl));
    kubectl.ok(&["wait", "--for=condition=Established", &name, "--timeout=60s"]);
    format!("ships.{}", group(kubectl))
}

fn schemas_default_prune_and_refuse(kubectl: &Kubectl) {
    let ships = &established(kubectl);
    kubectl.apply(&ship(kubectl, "cog", "port: Hamburg, cargo: {kind: salt, sacks: 9}"));
    let spec = kubectl.path(&[ships, "cog"], "{.spec.masts} {.spec.cargo.sacks}");
    assert_eq!(spec, "2 9", "defaulted, and kept where unknown fields may be");
    let bad =
        kubectl.with(&["apply"], &ship(kubectl, "bad", "port: hamburg, masts: 9, flag: blue"));
    for field in
        ["spec.port: Invalid value", "spec.masts: Invalid value", "spec.flag: Unsupported value"]
    {
        assert!(bad.stderr.contains(field), "{bad:?}");
    }
    assert!(kubectl.fails(&["get", ships, "bad"]).contains("NotFound"));
    let unknown = ship(kubectl, "cog", "port: Hamburg, sails: 3");
    let strict = kubectl.with(&["apply"], &unknown);
    assert!(strict.stderr.contains(r#"unknown field "spec.sails""#), "{strict:?}");
    let warned = kubectl.with(&["apply", "--validate=warn"], &unknown);
    assert!(
        warned.success && warned.stderr.contains(r#"unknown field "spec.sails""#),
        "{warned:?}"
    );
    assert_eq!(kubectl.path(&[ships, "cog"], "{.spec.sails}{.spec.cargo}"), "");
    let patch = ["patch", ships, "cog", "--type=merge", "-p"];
    let error = kubectl.fails(&[&patch[..], &[r#"{"spec": {"masts": "many"}}"#]].concat());
    assert!(error.contains("must be of type integer"), "{error}");
    kubectl.ok(&["delete", "crd", ships]);
}

fn subresources_and_columns(kubectl: &Kubectl) {
    let ships = &established(kubectl);
    kubectl.apply(&ship(kubectl, "cog", "port: Bremen, cargo: {kind: salt}"));
    let table = kubectl.ok(&["get", ships]);
    let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows, [["NAME", "PORT", "MASTS"], ["cog", "Bremen", "2"]]);
    assert!(kubectl.ok(&["get", ships, "-o", "wide"]).contains("salt"));
    kubectl.ok(&["scale", &format!("{ships}/cog"), "--replicas=4"]);
    let both = r#"{"spec": {"masts": 1}, "status": {"masts": 4}}"#;
    kubectl.ok(&["patch", ships, "cog", "--subresource=status", "--type=merge", "-p", both]);
    kubectl.ok(&["patch", ships, "cog", "--type=merge", "-p", r#"{"status": {"masts": 9}}"#]);
    let path = "{.spec.masts} {.status.masts} {.metadata.generation}";
    assert_eq!(kubectl.path(&[ships, "cog"], path), "4 4 2");
    let explained = kubectl.ok(&["explain", &format!("{ships}.spec.port")]);
    assert!(explained.contains("Where it is at home."), "{explained}");
    kubectl.ok(&["label", ships, "cog", "at=sea"]);
    assert!(kubectl.ok(&["describe", ships, "cog"]).contains("Bremen"));
    kubectl.ok(&["delete", "crd", ships]);
}

fn gone_with_its_definition(kubectl: &Kubectl) {
    let ships = &established(kubectl);
    kubectl.apply(&ship(kubectl, "cog", "port: Kiel"));
    kubectl.ok(&["delete", "crd", ships, "--timeout=60s"]);
    soon("the kind is unknown", || !kubectl.run(&["get", ships]).success);
    established(kubectl);
    assert_eq!(kubectl.ok(&["get", ships, "-o", "name"]), "", "objects went with their kind");
    kubectl.ok(&["delete", "crd", ships]);
}

fn refused_definitions(kubectl: &Kubectl) {
    let good = definition(kubectl);
    let cases = [
        (good.replace("name: ships.", "name: boats."), "metadata.name"),
        (good.replace("type: string, pattern", "pattern"), "type"),
        (
            good.replace("served: true", "served: false")
                .replace("storage: true", "storage: false"),
            "storage",
        ),
        (good.replace("scope: Namespaced", "scope: Everywhere"), "scope"),
        (good.replace("default: 2", "default: nine"), "default"),
    ];
    for (bad, part) in cases {
        let output = kubectl.with(&["create"], &bad);
        assert!(!output.success && output.stderr.contains(part), "{part}: {output:?}");
    }
}
