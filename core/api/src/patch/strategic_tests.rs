//! Tables of object, patch and result.

use serde_json::{Value, json};

use super::apply;
use crate::gvk::GroupVersionKind;
use crate::patch::PatchError;
use crate::schema::builtin;

fn patched(kind: &str, mut object: Value, patch: &Value) -> Result<Value, PatchError> {
    let group = if kind == "Deployment" { "apps" } else { "" };
    let id = builtin().type_of(&GroupVersionKind::new(group, "v1", kind)).unwrap();
    apply(builtin(), id, &mut object, patch)?;
    Ok(object)
}

fn pod(spec: Value) -> Value {
    json!({ "spec": spec })
}

fn check(object: Value, patch: Value, result: Value) {
    assert_eq!(patched("Pod", object, &patch).unwrap(), result, "patch {patch}");
}

#[test]
fn lists_of_objects_are_merged_by_their_key() {
    check(
        pod(json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]})),
        pod(json!({"containers": [{"name": "b", "image": "2"}]})),
        pod(json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]})),
    );
    // A new element comes first unless an order is given.
    check(
        pod(json!({"containers": [{"name": "a"}]})),
        pod(json!({"containers": [{"name": "b"}]})),
        pod(json!({"containers": [{"name": "b"}, {"name": "a"}]})),
    );
    check(
        pod(json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}]})),
        pod(json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "2"}],
            "ports": [{"containerPort": 80}]}]})),
        pod(json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "2"}],
            "ports": [{"containerPort": 80}]}]})),
    );
}

#[test]
fn elements_are_deleted_and_lists_replaced_by_directive() {
    check(
        pod(json!({"containers": [{"name": "a"}, {"name": "b"}]})),
        pod(json!({"containers": [{"name": "a", "$patch": "delete"}]})),
        pod(json!({"containers": [{"name": "b"}]})),
    );
    check(
        pod(json!({"containers": [{"name": "a"}, {"name": "b"}]})),
        pod(json!({"containers": [{"name": "c"}, {"$patch": "replace"}]})),
        pod(json!({"containers": [{"name": "c"}]})),
    );
    check(
        pod(json!({"nodeSelector": {"a": "1"}, "hostNetwork": true})),
        pod(json!({"nodeSelector": {"$patch": "replace", "b": "2"}})),
        pod(json!({"nodeSelector": {"b": "2"}, "hostNetwork": true})),
    );
    check(pod(json!({"x": 1})), json!({"spec": {"$patch": "delete"}}), pod(json!({})));
}

#[test]
fn the_order_is_the_one_that_the_patch_sets() {
    check(
        pod(json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "side"}]})),
        pod(json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "new"}, {"name": "a"}],
            "containers": [{"name": "new", "image": "1"}]})),
        pod(json!({"containers": [{"name": "b"}, {"name": "new", "image": "1"}, {"name": "a"},
            {"name": "side"}]})),
    );
    let wrong = pod(json!({"$setElementOrder/containers": [{"name": "a"}],
        "containers": [{"name": "b"}]}));
    let error = patched("Pod", pod(json!({})), &wrong).unwrap_err();
    assert!(error.to_string().contains("doesn't match $setElementOrder/containers"), "{error}");
}

#[test]
fn primitive_lists_are_sets_where_the_type_says_so() {
    check(
        json!({"metadata": {"finalizers": ["a", "b"]}}),
        json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"],
            "$setElementOrder/finalizers": ["b", "c"]}}),
        json!({"metadata": {"finalizers": ["b", "c"]}}),
    );
    check(
        pod(json!({"containers": [{"name": "a", "args": ["1", "2"]}]})),
        pod(json!({"containers": [{"name": "a", "args": ["3"]}]})),
        pod(json!({"containers": [{"name": "a", "args": ["3"]}]})),
    );
}

#[test]
fn retained_keys_displace_the_others() {
    check(
        pod(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
        pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"},
            "$retainKeys": ["name", "hostPath"]}]})),
        pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
    );
    let deployment = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let result = patched("Deployment", deployment, &patch).unwrap();
    assert_eq!(result, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let stray = json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}});
    assert!(patched("Deployment", json!({"spec": {"strategy": {}}}), &stray).is_err());
}

#[test]
fn nulls_remove_and_directives_never_stay() {
    check(
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        json!({"metadata": {"labels": {"a": null, "c": "3"},
            "annotations": {"x": null, "y": "z"}}}),
        json!({"metadata": {"labels": {"b": "2", "c": "3"}, "annotations": {"y": "z"}}}),
    );
    check(
        pod(json!({})),
        pod(json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "b"}]})),
        pod(json!({"containers": [{"name": "b"}]})),
    );
}

#[test]
fn mistakes_are_named() {
    let object = || pod(json!({"containers": [{"name": "a"}]}));
    let cases = [
        (pod(json!({"containers": [{"image": "x"}]})), "does not contain declared merge key: name"),
        (pod(json!({"$patch": "explode"})), "unknown patch type found: \"explode\""),
        (json!([1]), "must be a JSON object"),
        (pod(json!({"containers": [{"name": "a", "$patch": "merge"}]})), "merging lists cannot"),
    ];
    for (patch, message) in cases {
        let error = patched("Pod", object(), &patch).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
