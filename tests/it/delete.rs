//! Deletion: dependents, grace, force, namespaces; and `kubectl wait`.

use hansa_tests::{Kubectl, soon};

use crate::scenario::{config_map, deployment, on, pod};

on!(hollow:
    foreground,
    background,
    orphans,
    gracefully,
    by_force,
    by_selector,
    a_circle_of_owners_goes,
    a_namespace_takes_all_with_it,
    a_namespace_says_what_it_waits_for,
    waits,
);

fn running(kubectl: &Kubectl) {
    kubectl.apply(&deployment("web", 2));
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=180s"]);
}

fn names(kubectl: &Kubectl, kinds: &str) -> String {
    kubectl.ok(&["get", kinds, "-o", "name"])
}

fn foreground(kubectl: &Kubectl) {
    running(kubectl);
    kubectl.ok(&["delete", "deployment", "web", "--cascade=foreground"]);
    // The owner goes last: once it is gone so is everything below it.
    assert_eq!(names(kubectl, "replicasets,pods"), "");
}

fn background(kubectl: &Kubectl) {
    running(kubectl);
    kubectl.ok(&["delete", "deployment", "web"]);
    soon("the dependents are gone", || names(kubectl, "replicasets,pods").is_empty());
}

fn orphans(kubectl: &Kubectl) {
    running(kubectl);
    kubectl.ok(&["delete", "deployment", "web", "--cascade=orphan"]);
    let left = kubectl.path(&["replicasets"], "{.items[*].metadata.ownerReferences}");
    assert_eq!(left, "", "an orphan has no owner");
    assert_eq!(names(kubectl, "pods").lines().count(), 2);
    let set = names(kubectl, "replicasets");
    kubectl.apply(&deployment("web", 2));
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=180s"]);
    assert_eq!(names(kubectl, "replicasets"), set, "the new deployment adopts the old set");
}

fn gracefully(kubectl: &Kubectl) {
    kubectl.apply(&pod("slow").replace("Seconds: 1", "Seconds: 30"));
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/slow", "--timeout=180s"]);
    kubectl.ok(&[
        "patch",
        "pod",
        "slow",
        "-p",
        r#"{"metadata": {"finalizers": ["test.dev/hold"]}}"#,
    ]);
    kubectl.ok(&["delete", "pod", "slow", "--wait=false"]);
    let path = "{.metadata.deletionGracePeriodSeconds} {.metadata.deletionTimestamp}";
    assert!(kubectl.path(&["pod", "slow"], path).contains('T'), "it is marked and waits");
    kubectl.ok(&[
        "patch",
        "pod",
        "slow",
        "--type=merge",
        "-p",
        r#"{"metadata": {"finalizers": null}}"#,
    ]);
    kubectl.ok(&["wait", "--for=delete", "pod/slow", "--timeout=180s"]);
}

fn by_force(kubectl: &Kubectl) {
    kubectl.apply(&pod("stuck"));
    let output = kubectl.run(&["delete", "pod", "stuck", "--force", "--grace-period=0"]);
    assert!(output.success && output.stdout.contains("force deleted"), "{output:?}");
    assert_eq!(names(kubectl, "pods"), "");
}

fn by_selector(kubectl: &Kubectl) {
    kubectl.apply(&config_map("a", "k", "v"));
    kubectl.apply(&config_map("b", "k", "v").replace("plain", "fancy"));
    kubectl.ok(&["delete", "configmap", "-l", "kind=plain"]);
    let left = names(kubectl, "configmaps");
    assert!(left.contains("configmap/b") && !left.contains("configmap/a"), "{left}");
    assert!(kubectl.fails(&["delete", "configmap", "a"]).contains("NotFound"));
    kubectl.ok(&["delete", "configmap", "a", "--ignore-not-found"]);
}

fn a_namespace_takes_all_with_it(kubectl: &Kubectl) {
    let inner = format!("{}-inner", kubectl.namespace);
    kubectl.ok(&["create", "namespace", &inner]);
    kubectl.ok(&["create", "configmap", "m", "-n", &inner]);
    kubectl.ok(&["create", "deployment", "web", "--image=pause:1", "-n", &inner]);
    kubectl.ok(&["delete", "namespace", &inner, "--timeout=180s"]);
    assert!(kubectl.fails(&["get", "namespace", &inner]).contains("NotFound"));
    let all = kubectl.ok(&["get", "configmaps,deployments,pods,serviceaccounts", "-A"]);
    assert!(!all.contains(&inner), "{all}");
    let error = kubectl.fails(&["create", "configmap", "m", "-n", &inner]);
    assert!(error.contains("not found"), "{error}");
}

fn a_circle_of_owners_goes(kubectl: &Kubectl) {
    let all = ["a", "b", "c"];
    let uids = all.map(|name| {
        kubectl.apply(&config_map(name, "k", "v"));
        kubectl.path(&["configmap", name], "{.metadata.uid}")
    });
    for (at, name) in all.iter().enumerate() {
        let owner = (at + 2) % 3;
        let reference = format!(
            r#"{{"metadata": {{"ownerReferences": [{{"apiVersion": "v1", "kind": "ConfigMap",
                "name": "{}", "uid": "{}", "blockOwnerDeletion": true}}]}}}}"#,
            all[owner], uids[owner]
        );
        kubectl.ok(&["patch", "configmap", name, "--type=merge", "-p", &reference]);
    }
    kubectl.ok(&["delete", "configmap", "a", "--cascade=foreground", "--timeout=180s"]);
    soon("no one of them is left", || {
        let left = names(kubectl, "configmaps");
        all.iter().all(|name| !left.lines().any(|line| line == format!("configmap/{name}")))
    });
}

fn a_namespace_says_what_it_waits_for(kubectl: &Kubectl) {
    let inner = format!("{}-held", kubectl.namespace);
    let namespace = &*format!("namespace/{inner}");
    kubectl.ok(&["create", "namespace", &inner]);
    kubectl.ok(&["create", "configmap", "m", "-n", &inner]);
    let held = r#"{"metadata": {"finalizers": ["test.dev/hold"]}}"#;
    kubectl.ok(&["run", "p", "--image=pause:1", "-n", &inner, "--overrides", held]);
    kubectl.ok(&["delete", namespace, "--wait=false"]);
    let condition = "--for=condition=NamespaceFinalizersRemaining";
    kubectl.ok(&["wait", condition, namespace, "--timeout=180s"]);
    let messages = kubectl.path(&[namespace], "{.status.conditions[*].message}");
    assert!(messages.contains("test.dev/hold in 1 resource instances"), "{messages}");
    kubectl.ok(&["get", "configmap", "m", "-n", &inner]);
    let free = r#"{"metadata": {"finalizers": null}}"#;
    kubectl.ok(&["patch", "pod", "p", "-n", &inner, "--type=merge", "-p", free]);
    kubectl.ok(&["wait", "--for=delete", namespace, "--timeout=180s"]);
}

fn waits(kubectl: &Kubectl) {
    kubectl.apply(&pod("p"));
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/p", "--timeout=180s"]);
    kubectl.ok(&["wait", "--for=jsonpath={.status.phase}=Running", "pod/p", "--timeout=180s"]);
    let error =
        kubectl.fails(&["wait", "--for=jsonpath={.status.phase}=Failed", "pod/p", "--timeout=1s"]);
    assert!(error.contains("timed out"), "{error}");
    kubectl.ok(&["delete", "pod", "p", "--wait=false"]);
    kubectl.ok(&["wait", "--for=delete", "pod/p", "--timeout=180s"]);
    assert!(kubectl.fails(&["wait", "--for=condition=Ready", "pod/q"]).contains("NotFound"));
}
