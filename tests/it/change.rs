//! Changes of objects that exist: patch, label, annotate, scale, set.

use hansa_tests::Kubectl;

use crate::scenario::{config_map, deployment, on};

on!(hollow: three_kinds_of_patch, refused_patches, labels_and_annotations, scaling);

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
    let error = fails("json", r#"[{"op": "test", "path": "/data/k", "value": "other"}]"#);
    assert!(error.contains("the server rejected our request") || error.contains("test"), "{error}");
    fails("json", r#"[{"op": "remove", "path": "/data/absent"}]"#);
    let error = fails("merge", r#"{"data": {"k": 5}}"#);
    assert!(error.contains("cannot unmarshal number") || error.contains("ConfigMap"), "{error}");
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
    kubectl.ok(&["set", "image", "deployment/web", "main=pause:2"]);
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let images = kubectl.path(
        &["rs", "-l", "app=web"],
        "{.items[?(@.spec.replicas>0)].spec.template.spec.containers[0].image}",
    );
    assert_eq!(images, "pause:2");
}
