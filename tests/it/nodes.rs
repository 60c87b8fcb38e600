//! Nodes under administration: cordon, drain, taint. Each version has a node of its own, and only
//! its own pods are drained: the cluster is shared.

use hansa_tests::{Kubectl, Version, soon};

use crate::scenario::{deployment, on};

on!(hollow: cordons_and_drains, taints, a_budget_holds_a_drain_up);

fn node(kubectl: &Kubectl, number: usize) -> String {
    match kubectl.version {
        Version::V1_33 => format!("hollow-{number}"),
        Version::V1_27 => format!("hollow-{}", number + 1),
    }
}

fn nodes_of_pods(kubectl: &Kubectl) -> String {
    kubectl.path(&["pods", "-l", "app"], "{.items[*].spec.nodeName}")
}

fn rolled_out(kubectl: &Kubectl, name: &str) {
    kubectl.ok(&["rollout", "status", &format!("deployment/{name}"), "--timeout=180s"]);
}

/// Pods on one node, under a label that no other test's pods have.
fn pin(kubectl: &Kubectl, replicas: u32, node: &str) -> String {
    let pinned = deployment(&kubectl.namespace, replicas).replace(
        "      containers:",
        &format!("      nodeSelector: {{kubernetes.io/hostname: {node}}}\n      containers:"),
    );
    kubectl.apply(&pinned);
    rolled_out(kubectl, &kubectl.namespace);
    format!("--pod-selector=app={}", kubectl.namespace)
}

fn cordons_and_drains(kubectl: &Kubectl) {
    let node = &node(kubectl, 1);
    kubectl.ok(&["cordon", node]);
    assert!(kubectl.ok(&["get", "node", node]).contains("Ready,SchedulingDisabled"));
    let cordon = "node.kubernetes.io/unschedulable:NoSchedule";
    soon("the cordon is a taint, too", || taints_of(kubectl, node).contains(cordon));
    kubectl.apply(&deployment("web", 4));
    rolled_out(kubectl, "web");
    assert!(!nodes_of_pods(kubectl).contains(node.as_str()), "a cordoned node gets no pods");
    kubectl.ok(&["uncordon", node]);
    soon("the taint goes with the cordon", || !taints_of(kubectl, node).contains(cordon));
    let own = pin(kubectl, 2, node);
    let drained = kubectl.ok(&["drain", node, &own, "--ignore-daemonsets", "--timeout=180s"]);
    assert_eq!(drained.matches("evicting pod").count(), 2, "{drained}");
    assert!(drained.contains(&format!("node/{node} drained")), "{drained}");
    kubectl.ok(&["uncordon", node]);
    rolled_out(kubectl, &kubectl.namespace);
}

fn taints(kubectl: &Kubectl) {
    // Another node than that of the drain.
    let node = &node(kubectl, 2);
    let key = format!("test.dev/{}", kubectl.namespace);
    kubectl.ok(&["taint", "nodes", node, &format!("{key}=x:NoSchedule")]);
    let error = kubectl.fails(&["taint", "nodes", node, &format!("{key}=x:NoSchedule")]);
    assert!(error.contains("already has"), "{error}");
    kubectl.apply(&deployment("web", 4));
    rolled_out(kubectl, "web");
    assert!(!nodes_of_pods(kubectl).contains(node.as_str()), "a tainted node gets no pods");
    kubectl.ok(&["taint", "nodes", node, &format!("{key}:NoSchedule-")]);
    let left = kubectl.path(&["node", node], "{.spec.taints[*].key}");
    assert!(!left.contains(&key), "{left}");
}

fn a_budget_holds_a_drain_up(kubectl: &Kubectl) {
    let node = &node(kubectl, 1);
    let own = pin(kubectl, 1, node);
    let selector = format!("--selector=app={}", kubectl.namespace);
    kubectl.ok(&["create", "pdb", "web", &selector, "--min-available=1"]);
    // No controller counts a budget's pods yet: what it would say is written by hand.
    let counted = r#"{"status": {"observedGeneration": 1, "disruptionsAllowed": 0,
        "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}}"#;
    kubectl.ok(&["patch", "pdb", "web", "--subresource=status", "--type=merge", "-p", counted]);
    let output = kubectl.run(&["drain", node, &own, "--timeout=3s"]);
    kubectl.ok(&["uncordon", node]);
    assert!(output.stderr.contains("violate the pod's disruption budget"), "{output:?}");
    assert_eq!(kubectl.ok(&["get", "pods", "-o", "name"]).lines().count(), 1);
}

/// A node's taints, a line each.
pub(crate) fn taints_of(kubectl: &Kubectl, node: &str) -> String {
    let each = r#"{range .spec.taints[*]}{.key}:{.effect}{"\n"}{end}"#;
    kubectl.path(&["node", node], each)
}
