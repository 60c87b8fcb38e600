//! Admission as users meet it: standards for pods, quotas that follow what is there, claims that stay
//! while they are used.

use hansa_tests::{Kubectl, soon};

use crate::scenario::{on, pod};

on!(hollow: standards_for_pods, quotas_count_what_is_there, claims_stay_while_they_are_used);

fn standards_for_pods(kubectl: &Kubectl) {
    let namespace = kubectl.namespace.as_str();
    let label = "pod-security.kubernetes.io/enforce=baseline";
    kubectl.ok(&["label", "namespace", namespace, label]);
    let host = pod("host").replace("spec:", "spec:\n  hostNetwork: true");
    let refused = kubectl.with(&["apply"], &host);
    assert!(
        refused.stderr.contains(
            "violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
        ),
        "{}",
        refused.stderr
    );
    kubectl.apply(&pod("plain"));
    let label = "pod-security.kubernetes.io/enforce=restricted";
    let warned = kubectl.run(&["label", "--overwrite", "namespace", namespace, label]);
    assert!(
        warned.stderr.contains("violate the new PodSecurity enforce level \"restricted:latest\""),
        "{}",
        warned.stderr
    );
    kubectl.ok(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce-"]);
}

fn quotas_count_what_is_there(kubectl: &Kubectl) {
    let hard = "--hard=pods=1,count/configmaps=9,services=1,count/deployments.apps=1";
    kubectl.ok(&["create", "quota", "few", hard]);
    let used = |name: &str| {
        let path = format!("{{.status.used.{}}}", name.replace('.', "\\."));
        kubectl.path(&["quota", "few"], &path)
    };
    soon("the quota to be counted", || {
        used("pods") == "0" && used("count/deployments.apps") == "0"
    });
    kubectl.apply(&pod("first"));
    assert_eq!(used("pods"), "1", "a pod is charged when it is made");
    let refused = kubectl.with(&["apply"], &pod("second"));
    assert!(
        refused
            .stderr
            .contains("exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1"),
        "{}",
        refused.stderr
    );
    kubectl.ok(&["create", "service", "clusterip", "one", "--tcp=80"]);
    assert_eq!(used("services"), "1");
    kubectl.fails(&["create", "service", "clusterip", "two", "--tcp=80"]);
    kubectl.ok(&["delete", "pod", "first", "--now"]);
    kubectl.ok(&["delete", "service", "one"]);
    soon("what is gone to be given back", || used("pods") == "0" && used("services") == "0");
    kubectl.apply(&pod("second"));
}

const CLAIM: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: manual
  resources: {requests: {storage: 1Gi}}
";

fn claims_stay_while_they_are_used(kubectl: &Kubectl) {
    kubectl.apply(CLAIM);
    let user = pod("user").replace(
        "spec:",
        "spec:\n  volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]",
    );
    kubectl.apply(&user);
    kubectl.ok(&["delete", "pvc", "data", "--wait=false"]);
    assert_eq!(
        kubectl.path(&["pvc", "data"], "{.metadata.finalizers}"),
        "[\"kubernetes.io/pvc-protection\"]"
    );
    kubectl.ok(&["delete", "pod", "user", "--now"]);
    soon("the claim to go after its pod", || {
        kubectl.ok(&["get", "pvc", "data", "--ignore-not-found"]).is_empty()
    });
}
