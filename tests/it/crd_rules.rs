//! Rules in CEL, ratcheting, selectable fields, names, and what changes when a definition does.

use hansa_tests::{Kubectl, soon};
use serde_json::{Value, json};

use crate::scenario::on;

on!(hollow:
    rules_guard_objects,
    what_was_wrong_may_stay,
    definitions_with_bad_rules,
    fields_select,
    names_are_taken_once,
    a_changed_schema_is_seen_at_once,
);

fn group(kubectl: &Kubectl) -> String {
    format!("{}.rules.dev", kubectl.namespace)
}

fn definition(kubectl: &Kubectl, plural: &str, spec: &Value) -> Value {
    let group = group(kubectl);
    let kind = format!("{}{}", plural[..1].to_uppercase(), &plural[1..plural.len() - 1]);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[..plural.len() - 1], "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]},
    })
}

fn define(kubectl: &Kubectl, definition: &Value) -> String {
    kubectl.apply(&definition.to_string());
    let name = definition["metadata"]["name"].as_str().unwrap().to_string();
    let crd = format!("crd/{name}");
    kubectl.ok(&["wait", "--for=condition=Established", &crd, "--timeout=60s"]);
    soon("the kind is served", || kubectl.run(&["get", &name]).success);
    name
}

fn object(kubectl: &Kubectl, kind: &str, name: &str, spec: &Value) -> String {
    json!({"apiVersion": format!("{}/v1", group(kubectl)), "kind": kind,
        "metadata": {"name": name}, "spec": spec})
    .to_string()
}

fn ranges() -> Value {
    json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.low <= self.high", "fieldPath": ".high",
            "messageExpression": "'high must be at least %d'.format([self.low])"}],
        "properties": {
            "low": {"type": "integer"}, "high": {"type": "integer"},
            "fixed": {"type": "string",
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "never changes"}]},
            "many": {"type": "array", "maxItems": 725, "items": {"type": "integer"},
                "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, y == x))"}]}}})
}

fn rules_guard_objects(kubectl: &Kubectl) {
    let ranges = &define(kubectl, &definition(kubectl, "ranges", &ranges()));
    let good = json!({"low": 1, "high": 2, "fixed": "a", "many": [2, 2]});
    kubectl.apply(&object(kubectl, "Range", "good", &good));
    let bad =
        kubectl.with(&["create"], &object(kubectl, "Range", "bad", &json!({"low": 5, "high": 2})));
    assert!(bad.stderr.contains("spec.high: Invalid value: high must be at least 5"), "{bad:?}");
    let patch = ["patch", ranges, "good", "--type=merge", "-p", r#"{"spec": {"fixed": "b"}}"#];
    assert!(kubectl.fails(&patch).contains(r#"spec.fixed: Invalid value: "b": never changes"#));
    let many = json!({"low": 1, "high": 2, "many": vec![20; 725]});
    let dear = kubectl.with(&["create"], &object(kubectl, "Range", "dear", &many));
    assert!(dear.stderr.contains("call cost exceeds limit for rule"), "{dear:?}");
    kubectl.ok(&["delete", "crd", ranges]);
}

fn what_was_wrong_may_stay(kubectl: &Kubectl) {
    let loose = json!({"type": "object", "properties": {
        "size": {"type": "integer"}, "note": {"type": "string"}}});
    let boxes = &define(kubectl, &definition(kubectl, "boxes", &loose));
    kubectl.apply(&object(kubectl, "Boxe", "old", &json!({"size": 9, "note": "a"})));
    let tight = json!({"type": "object", "properties": {
        "size": {"type": "integer", "maximum": 5, "x-kubernetes-validations": [{"rule": "self < 6"}]},
        "note": {"type": "string"}}});
    kubectl.apply(&definition(kubectl, "boxes", &tight).to_string());
    soon("the new schema is in force", || {
        let new = object(kubectl, "Boxe", "new", &json!({"size": 9}));
        !kubectl.with(&["create", "--dry-run=server"], &new).success
    });
    let patch = |spec: &str| {
        kubectl.run(&[
            "patch",
            boxes,
            "old",
            "--type=merge",
            "-p",
            &format!(r#"{{"spec": {spec}}}"#),
        ])
    };
    assert!(patch(r#"{"note": "b"}"#).success, "what is wrong was wrong before");
    let worse = patch(r#"{"size": 10}"#);
    assert!(worse.stderr.contains("should be less than or equal to 5"), "{worse:?}");
    kubectl.ok(&["delete", "crd", boxes]);
}

fn definitions_with_bad_rules(kubectl: &Kubectl) {
    let rule = |rule: &str| {
        json!({"type": "object", "properties": {"x": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": rule}]})
    };
    let costly = json!({"type": "array", "items": {"type": "array", "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(s, s == 'string constant')"}]}});
    let cases = [
        (rule("self.z == 100"), "undefined field 'z'"),
        (rule("self = 42"), "Syntax error"),
        (rule("self.x"), "cel expression must evaluate to a bool"),
        (json!({"type": "object", "properties": {"x": costly}}), "exceeds budget"),
    ];
    for (spec, text) in cases {
        let definition = definition(kubectl, "bads", &spec);
        let output = kubectl.with(&["create"], &definition.to_string());
        let path = "spec.validation.openAPIV3Schema.properties[spec]";
        assert!(output.stderr.contains(text) && output.stderr.contains(path), "{output:?}");
    }
}

fn fields_select(kubectl: &Kubectl) {
    let spec = json!({"type": "object", "properties": {
        "color": {"type": "string"}, "count": {"type": "integer"}}});
    let mut crd = definition(kubectl, "shirts", &spec);
    crd["spec"]["versions"][0]["selectableFields"] =
        json!([{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.count"}]);
    let shirts = &define(kubectl, &crd);
    for (name, color, count) in [("a", "red", 1), ("b", "red", 2), ("c", "blue", 2)] {
        let spec = json!({"color": color, "count": count});
        kubectl.apply(&object(kubectl, "Shirt", name, &spec));
    }
    let names = |selector: &str| {
        kubectl.ok(&[
            "get",
            shirts,
            "--field-selector",
            selector,
            "-o",
            "jsonpath={.items[*].metadata.name}",
        ])
    };
    assert_eq!(names("spec.color=red"), "a b");
    assert_eq!(names("spec.color=red,spec.count!=1"), "b");
    let error = kubectl.fails(&["get", shirts, "--field-selector", "spec.size=1"]);
    assert!(error.contains("field label not supported: spec.size"), "{error}");
    kubectl.ok(&["delete", shirts, "--field-selector", "spec.color=red"]);
    assert_eq!(kubectl.path(&[shirts], "{.items[*].metadata.name}"), "c");
    kubectl.ok(&["delete", "crd", shirts]);
}

fn names_are_taken_once(kubectl: &Kubectl) {
    let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let first = &define(kubectl, &definition(kubectl, "twins", &spec));
    let mut second = definition(kubectl, "doubles", &spec);
    second["spec"]["names"]["shortNames"] = json!(["twins"]);
    kubectl.apply(&second.to_string());
    let name = format!("doubles.{}", group(kubectl));
    let conflict = "{.status.conditions[?(@.type==\"NamesAccepted\")].message}";
    soon("the conflict is told", || {
        kubectl.path(&["crd", &name], conflict) == "\"twins\" is already in use"
    });
    kubectl.ok(&["delete", "crd", first]);
    let crd = format!("crd/{name}");
    kubectl.ok(&["wait", "--for=condition=Established", &crd, "--timeout=60s"]);
    kubectl.ok(&["delete", "crd", &name]);
}

fn a_changed_schema_is_seen_at_once(kubectl: &Kubectl) {
    let spec = |name: &str, inner: &str| {
        json!({"type": "object", "description": "What it is.",
        "properties": {name: {"type": "object", "properties": {
            inner: {"type": "string", "description": "Deep inside.", "default": "set"}}}}})
    };
    let cups = &define(kubectl, &definition(kubectl, "cups", &spec("first", "a")));
    kubectl.apply(&object(kubectl, "Cup", "c", &json!({"first": {}})));
    let explained = kubectl.ok(&["explain", &format!("{cups}.spec.first.a")]);
    assert!(explained.contains("Deep inside."), "{explained}");
    kubectl.apply(&definition(kubectl, "cups", &spec("second", "b")).to_string());
    soon("explain knows the new field", || {
        kubectl.run(&["explain", &format!("{cups}.spec.second.b")]).success
    });
    assert!(!kubectl.run(&["explain", &format!("{cups}.spec.first")]).success);
    let seen = kubectl.path(&[cups, "c"], "{.spec}");
    assert_eq!(seen, "{}", "what the schema no longer knows is pruned when it is read");
    kubectl.ok(&["patch", cups, "c", "--type=merge", "-p", r#"{"spec": {"second": {}}}"#]);
    assert_eq!(kubectl.path(&[cups, "c"], "{.spec.second.b}"), "set");
    kubectl.ok(&["delete", "crd", cups]);
}
