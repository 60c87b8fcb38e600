//! What users meet when they create, change and delete pods.

use serde_json::{Value, json};

use super::*;
use crate::registry::check::texts;

fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
    Pods.default(&mut pod);
    pod
}

fn web() -> Value {
    pod(json!({"containers": [{"name": "web", "image": "web:1"}]}))
}

fn complaints(spec: Value) -> Vec<String> {
    texts(&Pods.validate_create(&pod(spec)))
}

fn with_container(extra: Value) -> Vec<String> {
    let mut container = json!({"name": "a", "image": "b"});
    for (name, value) in extra.as_object().unwrap() {
        container[name] = value.clone();
    }
    complaints(json!({"containers": [container]}))
}

#[test]
fn mistakes_are_named_as_upstream_names_them() {
    let cases = [
        (complaints(json!({})), "spec.containers: Required value"),
        (with_container(json!({"image": ""})), "spec.containers[0].image: Required value"),
        (with_container(json!({"name": ""})), "spec.containers[0].name: Required value"),
        (
            with_container(json!({"ports": [{"containerPort": 70000}]})),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 \
             and 65535, inclusive",
        ),
        (
            with_container(json!({"imagePullPolicy": "Sometimes"})),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported \
             values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            with_container(json!({"volumeMounts": [{"name": "x", "mountPath": "/x"}]})),
            r#"spec.containers[0].volumeMounts[0].name: Not found: "x""#,
        ),
        (
            with_container(
                json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            ),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or \
             equal to cpu limit of 1",
        ),
        (
            with_container(json!({"livenessProbe": {}})),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            with_container(json!({"env": [{"name": "A", "value": "x",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]})),
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when \
             `value` is not empty",
        ),
        (
            complaints(
                json!({"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]}),
            ),
            r#"spec.containers[1].name: Duplicate value: "a""#,
        ),
        (
            complaints(
                json!({"containers": [{"name": "a", "image": "x"}], "restartPolicy": "Perhaps"}),
            ),
            "spec.restartPolicy: Unsupported value: \"Perhaps\": supported values: \"Always\", \
             \"OnFailure\", \"Never\"",
        ),
        (
            complaints(json!({"containers": [{"name": "a", "image": "x"}],
                "volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]})),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            complaints(json!({"containers": [{"name": "a", "image": "x"}],
                "tolerations": [{"operator": "Equal"}]})),
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when \
             `key` is empty, which means \"match all values and all keys\"",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, [expected]);
    }
    assert_eq!(texts(&Pods.validate_create(&web())), [""; 0]);
}

#[test]
fn only_images_and_a_few_more_may_change() {
    let old = web();
    let mut fine = old.clone();
    fine["spec"]["containers"][0]["image"] = "web:2".into();
    fine["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}]);
    fine["spec"]["activeDeadlineSeconds"] = 5.into();
    assert_eq!(texts(&Pods.validate_update(&fine, &old)), [""; 0]);
    let mut moved = old.clone();
    moved["spec"]["nodeName"] = "n2".into();
    let errors = texts(&Pods.validate_update(&moved, &old));
    assert!(errors[0].starts_with("spec: Forbidden: pod updates may not change fields other than"));
    let errors = texts(&Pods.validate_update(&old, &fine));
    assert!(errors.iter().any(|e| e.starts_with("spec.tolerations: Forbidden")), "{errors:?}");
}

#[test]
fn new_pods_are_pending_and_have_a_class() {
    let mut pod = web();
    pod["status"] = json!({"phase": "Running"});
    Pods.prepare_create(&Context::internal("create", "n", ""), &mut pod);
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
}

#[test]
fn only_running_pods_take_their_time_to_go() {
    let mut pod = web();
    assert_eq!(Pods.grace_period(&pod, None), Some(0));
    pod["spec"]["nodeName"] = "n".into();
    assert_eq!(Pods.grace_period(&pod, None), Some(30));
    assert_eq!(Pods.grace_period(&pod, Some(0)), Some(0));
    pod["status"] = json!({"phase": "Failed"});
    assert_eq!(Pods.grace_period(&pod, None), Some(0));
}
