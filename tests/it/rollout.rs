//! `kubectl rollout` in its six forms.

use hansa_tests::Kubectl;

use crate::scenario::{deployment, on};

on!(hollow: history_and_undo, pause_resume_restart, a_rollout_that_cannot_finish_says_so);

const IMAGE: &str = "{.spec.template.spec.containers[0].image}";

fn settled(kubectl: &Kubectl) {
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
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
    kubectl.ok(&["wait", "deployment/web", observed, "--timeout=60s"]);
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
