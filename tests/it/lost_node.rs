//! A node that falls silent for good: what is said of it, and what becomes of its pods.

use hansa_tests::{Kubectl, soon};

use crate::nodes::taints_of;
use crate::scenario::on;

on!(wasm: a_lost_node_is_told_of_and_emptied);

/// A node without a kubelet that said once that it is ready, and a pod that stays a second on a lost
/// one.
fn ghost(node: &str) -> String {
    format!(
        "apiVersion: v1
kind: Node
metadata: {{name: {node}}}
spec: {{taints: [{{key: test.dev/ghost, effect: NoSchedule}}]}}
status: {{conditions: [{{type: Ready, status: 'True'}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: haunting}}
spec:
  nodeName: {node}
  containers: [{{name: main, image: 'pause:1'}}]
  tolerations:
  - {{key: test.dev/ghost, operator: Exists}}
  - key: node.kubernetes.io/unreachable
    operator: Exists
    effect: NoExecute
    tolerationSeconds: 1
"
    )
}

fn a_lost_node_is_told_of_and_emptied(kubectl: &Kubectl) {
    let node = &format!("ghost-{}", kubectl.version.suffix());
    kubectl.apply(&ghost(node));
    let runs =
        r#"{"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}"#;
    let status = ["--subresource=status", "--type=merge", "-p", runs];
    kubectl.ok(&[&["patch", "pod", "haunting"], &status[..]].concat());
    let condition = |what: &[&str], kind: &str, field: &str| {
        kubectl.path(what, &format!(r#"{{.status.conditions[?(@.type=="{kind}")].{field}}}"#))
    };
    let (node_path, pod) = (["node", node.as_str()], ["pod", "haunting"]);
    soon("the silent node is unknown", || condition(&node_path, "Ready", "status") == "Unknown");
    let lost = "node.kubernetes.io/unreachable:NoExecute";
    soon("it is tainted", || taints_of(kubectl, node).contains(lost));
    soon("its pod takes no traffic", || condition(&pod, "Ready", "status") == "False");
    soon("its pod is evicted", || {
        condition(&pod, "DisruptionTarget", "reason") == "DeletionByTaintManager"
            && !kubectl.path(&pod, "{.metadata.deletionTimestamp}").is_empty()
    });
    kubectl.ok(&["delete", "node", node]);
    soon("a pod of a node that is gone is forgotten", || {
        kubectl.run(&["get", "pod", "haunting"]).stderr.contains("NotFound")
    });
}
