//! `kubectl describe` finds everything that it gathers from several kinds.

use hansa_tests::Kubectl;

use crate::scenario::{deployment, on};

on!(hollow: describes);

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 8080, targetPort: 80}]}
";

/// Panics unless the text has each of the words.
fn assert_has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

fn describes(kubectl: &Kubectl) {
    kubectl.apply(&deployment("web", 2));
    kubectl.apply(SERVICE);
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let deployment = kubectl.ok(&["describe", "deployment", "web"]);
    assert_has(
        &deployment,
        &["2 desired | 2 updated", "NewReplicaSetAvailable", "ScalingReplicaSet"],
    );
    assert_has(&deployment, &["Scaled up replica set web-", " from 0 to 2"]);
    let sets = kubectl.ok(&["describe", "replicasets", "-l", "app=web"]);
    assert_eq!(sets.matches("Created pod: web-").count(), 2, "each is told: {sets}");
    let pods = kubectl.ok(&["describe", "pods", "-l", "app=web"]);
    let parts =
        ["Controlled By:  ReplicaSet/web-", "FIRST:", "kube-api-access-", "Scheduled", "Started"];
    assert_has(&pods, &parts);
    let service = kubectl.ok(&["describe", "service", "web"]);
    assert_has(&service, &["Selector:", "app=web", "8080/TCP", ":80,"]);
    let node = kubectl.ok(&["describe", "node", "hollow-1"]);
    let parts = ["InternalIP:", "PodCIDR:", "KubeletReady", "Non-terminated Pods:", "local://"];
    assert_has(&node, &parts);
    let namespace = kubectl.ok(&["describe", "namespace", &kubectl.namespace]);
    assert_has(&namespace, &["Status:       Active", "No resource quota."]);
}
