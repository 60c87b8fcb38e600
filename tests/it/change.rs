//! Changes of objects that exist: patch, label, annotate, scale, set.

use hansa_tests::Kubectl;

use crate::scenario::{config_map, deployment, on};

on!(hollow:
    three_kinds_of_patch,
    refused_patches,
    labels_and_annotations,
    scaling,
    replication_controllers,
);

fn three_kinds_of_patch(kubectl: &Kubectl) {
    kubectl.apply(&deployment("web", 1));
    let patch = |kind: &str, patch: &str| {
        kubectl.ok(&["patch", "deployment", "web", &format!("--type={kind}"), "-p", patch])
    };
    patch("json", r#"[{"op": "replace", "path": "/spec/replicas", "value": 3}]"#);
    patch("merge", r#"{"metadata": {"labels": {"tier": "front"}}}"#);
    let env = r#"[{"name": "THIRD", "value": "3"}, {"name": "FIRST", "$patch": "delete"}]"#;
    let containers = format!(r#"[{{"name": "main", "env": {env}}}]"#);
    let spec = format!(r#"{{"template": {{"spec": {{"containers": {containers}}}}}}}"#);
    patch("strategic", &format!(r#"{{"spec": {spec}}}"#));
    let path = "{.spec.replicas} {.metadata.labels.tier} {.metadata.labels.app}";
    assert_eq!(kubectl.path(&["deployment", "web"], path), "3 front web");
    let env =
        kubectl.path(&["deployment", "web"], "{.spec.template.spec.containers[0].env[*].name}");
    let mut env: Vec<_> = env.split(' ').collect();
    env.sort_unstable();
    assert_eq!(env, ["SECOND", "THIRD"]);
}

fn refused_patches(kubectl: &Kubectl) {
    kubectl.apply(&config_map("kept", "k", "v"));
    let fails = |kind: &str, patch: &str| {
        kubectl.fails(&["patch", "cm", "kept", &format!("--type={kind}"), "-p", patch])
    };
    let rejected = "The request is invalid: the server rejected our request due to an error in \
                    our request\n";
    for operation in [
        r#"[{"op": "test", "path": "/data/k", "value": "other"}]"#,
        r#"[{"op": "remove", "path": "/data/absent"}]"#,
        r#"[{"op": "brew", "path": "/data/k"}]"#,
    ] {
        assert_eq!(fails("json", operation), rejected, "{operation}");
    }
    let error = fails("json", r#"{"op": "test"}"#);
    assert!(error.contains("error decoding patch: json: cannot unmarshal object"), "{error}");
    let error = fails("merge", r#"{"data": {"k": 5}}"#);
    assert!(error.contains("cannot unmarshal number into Go struct field"), "{error}");
    let error = fails("strategic", r#"{"data": {"k": 5}}"#);
    let why = r#"patch: Invalid value: "map[data:map[k:5]]": cannot convert int64 to string"#;
    assert!(error.contains(why), "{error}");
    let error = fails("merge", r#"{"metadata": {"name": "other"}}"#);
    assert!(error.contains("the name of the object"), "{error}");
    assert_eq!(kubectl.path(&["cm", "kept"], "{.data}"), r#"{"k":"v"}"#);
}

fn labels_and_annotations(kubectl: &Kubectl) {
    kubectl.apply(&config_map("m", "k", "v"));
    kubectl.ok(&["label", "configmap", "m", "tier=front"]);
    let error = kubectl.fails(&["label", "configmap", "m", "tier=back"]);
    assert!(error.contains("--overwrite is false"), "{error}");
    kubectl.ok(&["label", "configmap", "m", "tier=back", "--overwrite"]);
    kubectl.ok(&["annotate", "configmap", "m", "note=a b c"]);
    let path = "{.metadata.labels.tier},{.metadata.annotations.note}";
    assert_eq!(kubectl.path(&["cm", "m"], path), "back,a b c");
    kubectl.ok(&["label", "configmap", "m", "tier-"]);
    kubectl.ok(&["annotate", "configmap", "m", "note-"]);
    assert_eq!(kubectl.path(&["cm", "m"], path), ",");
    let error = kubectl.fails(&["label", "configmap", "m", "bad key=x"]);
    assert!(error.contains("bad key"), "{error}");
}

fn scaling(kubectl: &Kubectl) {
    kubectl.apply(&deployment("web", 1));
    let error = kubectl.fails(&["scale", "deployment/web", "--replicas=2", "--current-replicas=5"]);
    assert!(error.contains("Expected replicas to be 5, was 1"), "{error}");
    kubectl.ok(&["scale", "deployment/web", "--replicas=3"]);
    let ready = "--for=jsonpath={.status.readyReplicas}=3";
    kubectl.ok(&["wait", "deployment/web", ready, "--timeout=60s"]);
    assert_eq!(kubectl.ok(&["get", "pods", "-l", "app=web", "-o", "name"]).lines().count(), 3);
    let shown = kubectl.ok(&["get", "deployment", "web", "--subresource=scale"]);
    let rows: Vec<Vec<&str>> = shown.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "DESIRED", "AVAILABLE", "AGE"]);
    assert_eq!(rows[1][..3], ["web", "3", "3"]);
    kubectl.ok(&["set", "image", "deployment/web", "main=pause:2"]);
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let images = kubectl.path(
        &["rs", "-l", "app=web"],
        "{.items[?(@.spec.replicas>0)].spec.template.spec.containers[0].image}",
    );
    assert_eq!(images, "pause:2");
}

const CONTROLLER: &str = "apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: old}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: 'pause:1'}]}
";

fn replication_controllers(kubectl: &Kubectl) {
    kubectl.apply(CONTROLLER);
    let ready = |count: u8| {
        let ready = format!("--for=jsonpath={{.status.readyReplicas}}={count}");
        kubectl.ok(&["wait", "rc/old", &ready, "--timeout=60s"]);
    };
    ready(2);
    kubectl.ok(&["scale", "rc/old", "--replicas=3"]);
    ready(3);
    let wide = kubectl.ok(&["get", "rc", "old", "-o", "wide", "--no-headers"]);
    let cells: Vec<_> = wide.split_whitespace().collect();
    assert_eq!(
        (&cells[..4], &cells[5..]),
        (&["old", "3", "3", "3"][..], &["main", "pause:1", "app=old"][..])
    );
    assert!(kubectl.ok(&["describe", "rc", "old"]).contains("3 current / 3 desired"));
    kubectl.ok(&["delete", "rc", "old", "--cascade=foreground", "--timeout=60s"]);
    assert_eq!(kubectl.ok(&["get", "pods", "-l", "app=old", "-o", "name"]), "");
}
