//! Replicas that are managed through `scale`.

use serde_json::{Value, json};

use crate::apply::{ScalePath, field_path, to_parent, to_scale};

fn entry(manager: &str, operation: &str, version: &str, sub: &str, fields: Value) -> Value {
    let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": version,
        "fieldsType": "FieldsV1", "fieldsV1": fields});
    if !sub.is_empty() {
        entry["subresource"] = sub.into();
    }
    entry
}

fn object(entries: &[Value]) -> Value {
    json!({"metadata": {"managedFields": entries}})
}

fn paths() -> Vec<ScalePath> {
    let replicas = Some(field_path(&["spec", "replicas"]));
    vec![
        ScalePath { api_version: "apps/v1".into(), replicas },
        ScalePath { api_version: "apps/v0".into(), replicas: None },
    ]
}

fn replicas() -> Value {
    json!({"f:spec": {"f:replicas": {}}})
}

fn both() -> Value {
    json!({"f:spec": {"f:replicas": {}, "f:selector": {}}})
}

fn selector() -> Value {
    json!({"f:spec": {"f:selector": {}}})
}

#[test]
fn a_scale_has_the_managers_of_the_replicas() {
    let parent = object(&[
        entry("a", "Apply", "apps/v1", "", both()),
        entry("b", "Apply", "apps/v1", "", selector()),
        entry("c", "Update", "apps/v9", "", replicas()),
        entry("d", "Update", "apps/v0", "", replicas()),
        entry("e", "Update", "apps/v1", "scale", replicas()),
    ]);
    assert_eq!(
        to_scale(&parent, &paths()).unwrap(),
        [
            entry("a", "Apply", "autoscaling/v1", "", replicas()),
            entry("e", "Update", "autoscaling/v1", "scale", replicas()),
        ]
    );
}

#[test]
fn a_write_to_scale_takes_the_replicas() {
    // Parent, scale, result.
    let scale = |operation| entry("m", operation, "autoscaling/v1", "scale", replicas());
    let scaled = |operation| entry("m", operation, "apps/v1", "scale", replicas());
    let cases = [
        (
            vec![entry("p", "Apply", "apps/v1", "", both())],
            vec![scale("Update")],
            vec![entry("p", "Apply", "apps/v1", "", selector()), scaled("Update")],
        ),
        (
            vec![entry("p", "Update", "apps/v1", "", replicas())],
            vec![scale("Apply")],
            vec![scaled("Apply")],
        ),
        // Both have it, and both keep it.
        (
            vec![entry("p", "Apply", "apps/v1", "", both())],
            vec![entry("p", "Apply", "autoscaling/v1", "", replicas()), scale("Apply")],
            vec![scaled("Apply"), entry("p", "Apply", "apps/v1", "", both())],
        ),
        (
            vec![entry("p", "Update", "apps/v1", "", both())],
            vec![entry("p", "Update", "autoscaling/v1", "", replicas())],
            vec![entry("p", "Update", "apps/v1", "", both())],
        ),
        // The scale lost it, nobody else had it.
        (vec![scaled("Update")], vec![], vec![]),
        (
            vec![entry("p", "Apply", "apps/v1", "", selector())],
            vec![entry("m", "Update", "autoscaling/v1", "scale", json!({"f:status": {}}))],
            vec![entry("p", "Apply", "apps/v1", "", selector())],
        ),
        // Versions that are no more are forgotten; those without a scale are not.
        (
            vec![
                entry("p", "Apply", "apps/v9", "", both()),
                entry("q", "Apply", "apps/v0", "", both()),
            ],
            vec![],
            vec![entry("q", "Apply", "apps/v0", "", both())],
        ),
    ];
    for (parent, scale, expected) in cases {
        let merged = to_parent(&object(&parent), &object(&scale), "apps/v1", &paths()).unwrap();
        assert_eq!(merged, expected, "{parent:?} {scale:?}");
    }
}
