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

#[test]
fn mistakes_in_volumes_security_and_names_are_found() {
    let with = |field: &str, value: Value| {
        let mut spec = json!({"containers": [{"name": "a", "image": "b"}]});
        spec[field] = value;
        complaints(spec)
    };
    let volume = |source: Value| with("volumes", json!([source]));
    let context = |value: Value| with("securityContext", value);
    let cases = [
        (
            volume(json!({"name": "v", "secret": {"secretName": "s"}, "csi": {"driver": "d"}})),
            "spec.volumes[0].csi: Forbidden: may not specify more than 1 volume type",
        ),
        (
            volume(json!({"name": "v", "hostPath": {"path": "/", "type": "Thing"}})),
            "spec.volumes[0].hostPath.type: Unsupported value: \"Thing\": supported values: \"\", \
             \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \
             \"FileOrCreate\", \"Socket\"",
        ),
        (
            volume(json!({"name": "v", "downwardAPI": {"items": [{"path": "p"}]}})),
            "spec.volumes[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is \
             required",
        ),
        (
            with("dnsPolicy", json!("None")),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            with("dnsConfig", json!({"searches": ["a_b.example", "_x", "-"]})),
            "spec.dnsConfig.searches[2]: Invalid value: \"-\": a lowercase RFC 1123 subdomain must \
             consist of lower case alphanumeric characters, '_', '-' or '.', and must start and \
             end with an alphanumeric character (e.g. 'example.com', regex used for validation \
             is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')",
        ),
        (
            context(json!({"fsGroupChangePolicy": "Never"})),
            "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"Never\": supported \
             values: \"Always\", \"OnRootMismatch\"",
        ),
        (
            context(json!({"seccompProfile": {}})),
            "spec.securityContext.seccompProfile.type: Required value: type is required when \
             seccompProfile is set",
        ),
        (
            context(json!({"sysctls": [{"name": ""}]})),
            "spec.securityContext.sysctls[0].name: Required value",
        ),
        (
            with_container(json!({"resizePolicy": [{"restartPolicy": "NotRequired"}]})),
            "spec.containers[0].resizePolicy: Required value",
        ),
        (
            with_container(json!({"env": [{"name": "A", "valueFrom":
                {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}}]})),
            "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \
             \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, [expected]);
    }
}

#[test]
fn a_running_pod_takes_debuggers_and_other_sizes_and_nothing_else() {
    let old = pod(json!({"containers": [
        {"name": "a", "image": "b", "resources": {"requests": {"cpu": "1"}}}]}));
    let changed = |part: &str, change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new["spec"]);
        parts::prepare(part, &mut new, &old);
        let complaints = texts(&Pods.validate_sub_update(part, &new, &old));
        (new, complaints)
    };
    let debug = |spec: &mut Value| {
        spec["ephemeralContainers"] = json!([{"name": "d", "image": "sh",
            "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}]);
        spec["containers"][0]["image"] = "c".into();
    };
    let (new, complaints) = changed("ephemeralcontainers", &debug);
    assert_eq!((new["spec"]["containers"][0]["image"].as_str(), complaints), (Some("b"), vec![]));
    assert_eq!(new["metadata"]["generation"], 1);
    let port = |spec: &mut Value| {
        debug(spec);
        spec["ephemeralContainers"][0]["ports"] = json!([{"containerPort": 1, "protocol": "TCP"}]);
    };
    let why = "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral \
               Container";
    assert_eq!(changed("ephemeralcontainers", &port).1, [why]);
    let size = |amounts: Value| {
        move |spec: &mut Value| spec["containers"][0]["resources"]["requests"] = amounts.clone()
    };
    assert!(changed("resize", &size(json!({"cpu": "2"}))).1.is_empty());
    let (_, gone) = changed("resize", &size(json!({})));
    assert!(
        gone.contains(
            &"spec: Invalid value: \"\": Pod QOS Class may not change as a result \
                            of resizing"
                .to_owned()
        ),
        "{gone:?}"
    );
}
