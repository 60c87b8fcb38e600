//! kubectl on a hub: the same verbs, on objects that are templates. Nothing runs there.

use hansa_tests::Kubectl;

use crate::scenario::{config_map, deployment, on};

on!(hub:
    templates_are_ordinary_objects,
    templates_run_nothing_and_kubectl_says_so,
    what_needs_nodes_says_that_there_are_none,
    namespaces_take_all_with_them,
);

fn templates_are_ordinary_objects(kubectl: &Kubectl) {
    assert_eq!(kubectl.apply(&deployment("web", 2)), "deployment.apps/web created\n");
    let changed = deployment("web", 2).replace("value: two", "value: three");
    let diff = kubectl.with(&["diff"], &changed);
    assert!(diff.code == Some(1) && diff.stdout.contains("+          value: three"), "{diff:?}");
    assert_eq!(kubectl.apply(&changed), "deployment.apps/web configured\n");
    kubectl.ok(&["label", "deployment", "web", "tier=front"]);
    kubectl.ok(&["annotate", "deployment", "web", "note=mine"]);
    kubectl.ok(&["patch", "deployment", "web", "-p", r#"{"spec": {"paused": true}}"#]);
    kubectl.ok(&["scale", "deployment/web", "--replicas=3"]);
    let path = "{.spec.replicas} {.spec.paused} {.metadata.labels.tier}";
    assert_eq!(kubectl.path(&["deployment", "web"], path), "3 true front");
    assert_eq!(kubectl.ok(&["get", "deploy", "-l", "tier=front", "-o", "name"]).lines().count(), 1);
    kubectl.ok(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=60s"]);
    assert!(kubectl.fails(&["get", "deployment", "web"]).contains("NotFound"));
}

fn templates_run_nothing_and_kubectl_says_so(kubectl: &Kubectl) {
    kubectl.apply(&deployment("web", 2));
    let table = kubectl.ok(&["get", "deployments", "--no-headers"]);
    let cells: Vec<_> = table.split_whitespace().take(4).collect();
    assert_eq!(cells, ["web", "0/2", "0", "0"]);
    let error = kubectl.fails(&["rollout", "status", "deployment/web", "--timeout=1s"]);
    assert!(error.contains("timed out waiting"), "{error}");
    let history = kubectl.ok(&["rollout", "history", "deployment/web"]);
    assert!(history.contains("No rollout history found."), "{history}");
    assert!(kubectl.ok(&["describe", "deployment", "web"]).contains("2 desired | 0 updated"));
    assert_eq!(kubectl.ok(&["get", "replicasets,pods", "-o", "name"]), "");
}

fn what_needs_nodes_says_that_there_are_none(kubectl: &Kubectl) {
    assert_eq!(kubectl.ok(&["get", "nodes", "-o", "name"]), "");
    assert!(kubectl.fails(&["cordon", "any"]).contains(r#"nodes "any" not found"#));
    assert!(kubectl.fails(&["logs", "any"]).contains(r#"pods "any" not found"#));
    assert!(kubectl.fails(&["exec", "any", "--", "ls"]).contains(r#"pods "any" not found"#));
    assert!(kubectl.ok(&["cluster-info"]).contains("https://127.0.0.1:"));
    assert_eq!(kubectl.ok(&["auth", "can-i", "*", "*"]), "yes\n");
    assert_eq!(kubectl.ok(&["config", "current-context"]), "hub\n");
    let kinds = kubectl.ok(&["api-resources", "-o", "name"]);
    assert!(kinds.lines().any(|kind| kind == "deployments.apps"), "{kinds}");
}

fn namespaces_take_all_with_them(kubectl: &Kubectl) {
    let inner = format!("{}-inner", kubectl.namespace);
    kubectl.ok(&["create", "namespace", &inner]);
    let made = kubectl.with(&["create", "-n", &inner], &config_map("m", "k", "v"));
    assert!(made.success, "{made:?}");
    kubectl.ok(&["delete", "namespace", &inner, "--timeout=60s"]);
    let left = kubectl.ok(&["get", "configmaps", "-A", "--field-selector", "metadata.name=m"]);
    assert!(!left.contains(&inner), "{left}");
}
