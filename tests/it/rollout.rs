//! `kubectl rollout` in its six forms.

use hansa_tests::{Kubectl, eventually};

use crate::scenario::{deployment, on};

on!(hollow:
    history_and_undo,
    pause_resume_restart,
    a_rollout_that_cannot_finish_says_so,
    pods_that_are_refused_are_told_of,
);

const IMAGE: &str = "{.spec.template.spec.containers[0].image}";

fn settled(kubectl: &Kubectl) {
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=180s"]);
}

fn history_and_undo(kubectl: &Kubectl) {
    kubectl.apply(&deployment("web", 2));
    settled(kubectl);
    kubectl.ok(&["set", "image", "deployment/web", "main=pause:2"]);
    settled(kubectl);
    let history = kubectl.ok(&["rollout", "history", "deployment/web"]);
    let revisions: Vec<_> = history.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(revisions[1..], ["REVISION", "1", "2"], "{history}");
    let first = kubectl.ok(&["rollout", "history", "deployment/web", "--revision=1"]);
    assert!(first.contains("pause:1"), "{first}");
    kubectl.ok(&["rollout", "undo", "deployment/web"]);
    settled(kubectl);
    assert_eq!(kubectl.path(&["deployment", "web"], IMAGE), "pause:1");
    kubectl.ok(&["rollout", "undo", "deployment/web", "--to-revision=2"]);
    settled(kubectl);
    assert_eq!(kubectl.path(&["deployment", "web"], IMAGE), "pause:2");
    let pods = kubectl.path(&["pods", "-l", "app=web"], "{.items[*].spec.containers[0].image}");
    assert!(pods.contains("pause:2"), "{pods}");
}

fn pause_resume_restart(kubectl: &Kubectl) {
    kubectl.apply(&deployment("web", 2));
    settled(kubectl);
    kubectl.ok(&["rollout", "pause", "deployment/web"]);
    kubectl.ok(&["set", "image", "deployment/web", "main=pause:2"]);
    let observed = "--for=jsonpath={.status.observedGeneration}=3";
    kubectl.ok(&["wait", "deployment/web", observed, "--timeout=180s"]);
    let updated = kubectl.path(&["deployment", "web"], "{.status.updatedReplicas}");
    assert!(updated.is_empty() || updated == "0", "{updated} pods were replaced while paused");
    kubectl.ok(&["rollout", "resume", "deployment/web"]);
    settled(kubectl);
    let before = kubectl.path(&["pods", "-l", "app=web"], "{.items[*].metadata.uid}");
    kubectl.ok(&["rollout", "restart", "deployment/web"]);
    settled(kubectl);
    let after = kubectl.path(&["pods", "-l", "app=web"], "{.items[*].metadata.uid}");
    assert!(before.split(' ').any(|uid| !after.contains(uid)), "{before} {after}");
}

fn a_rollout_that_cannot_finish_says_so(kubectl: &Kubectl) {
    let nowhere = deployment("web", 1)
        .replace("      containers:", "      nodeSelector: {no: where}\n      containers:");
    kubectl.apply(&nowhere);
    let error = kubectl.fails(&["rollout", "status", "deployment/web", "--timeout=2s"]);
    assert!(error.contains("timed out waiting"), "{error}");
    let pod =
        kubectl.path(&["pods"], "{.items[0].status.conditions[?(@.type=='PodScheduled')].reason}");
    assert_eq!(pod, "Unschedulable");
}

fn pods_that_are_refused_are_told_of(kubectl: &Kubectl) {
    kubectl.apply(
        "apiVersion: v1
kind: LimitRange
metadata: {name: small}
spec: {limits: [{type: Container, max: {cpu: 100m}}]}
",
    );
    let large = deployment("web", 1).replace(
        "        image: pause:1",
        "        image: pause:1\n        resources: {limits: {cpu: '2'}}",
    );
    kubectl.apply(&large);
    let path = "{.status.conditions[?(@.type=='ReplicaFailure')].message}";
    let message = eventually("the deployment says why it has no pods", || {
        Some(kubectl.path(&["deployment", "web"], path)).filter(|message| !message.is_empty())
    });
    assert!(message.contains("maximum cpu usage per Container is 100m"), "{message}");
    let told = kubectl.ok(&["describe", "replicaset", "-l", "app=web"]);
    assert!(told.contains("Error creating: pods \"web-"), "{told}");
    kubectl.apply(&deployment("web", 1));
    settled(kubectl);
    assert_eq!(kubectl.path(&["deployment", "web"], path), "", "it has them now");
}
