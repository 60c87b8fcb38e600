//! Nodes under administration: cordon, drain, taint. Each version has a node of its own, and only its
//! own pods are drained: the cluster is shared.

use hansa_tests::{Kubectl, Version};

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
    kubectl.ok(&["rollout", "status", &format!("deployment/{name}"), "--timeout=60s"]);
}

fn cordons_and_drains(kubectl: &Kubectl) {
    let node = &node(kubectl, 1);
    kubectl.ok(&["cordon", node]);
    assert!(kubectl.ok(&["get", "node", node]).contains("Ready,SchedulingDisabled"));
    kubectl.apply(&deployment("web", 4));
    rolled_out(kubectl, "web");
    assert!(!nodes_of_pods(kubectl).contains(node.as_str()), "a cordoned node gets no pods");
    kubectl.ok(&["uncordon", node]);
    let pinned = deployment("pinned", 2).replace(
        "      containers:",
        &format!("      nodeSelector: {{kubernetes.io/hostname: {node}}}\n      containers:"),
    );
    kubectl.apply(&pinned);
    rolled_out(kubectl, "pinned");
    let own = "--pod-selector=app=pinned";
    let drain = ["drain", node, own, "--ignore-daemonsets", "--timeout=60s"];
    let drained = kubectl.ok(&drain);
    assert_eq!(
        drained.matches("evicting pod").count() + drained.matches(" evicted").count(),
        2,
        "{drained}"
    );
    assert!(drained.contains(&format!("node/{node} drained")), "{drained}");
    kubectl.ok(&["uncordon", node]);
    rolled_out(kubectl, "pinned");
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
    kubectl.apply(
        &deployment("web", 1)
            .replace("      containers:", &format!("      nodeName: {node}\n      containers:")),
    );
    rolled_out(kubectl, "web");
    kubectl.ok(&["create", "pdb", "web", "--selector=app=web", "--min-available=1"]);
    let own = "--pod-selector=app=web";
    let error = kubectl.fails(&["drain", node, own, "--timeout=3s"]);
    kubectl.ok(&["uncordon", node]);
    assert!(error.contains("violate the pod's disruption budget"), "{error}");
    assert_eq!(kubectl.ok(&["get", "pods", "-o", "name"]).lines().count(), 1);
}
