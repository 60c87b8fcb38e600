//! What a cluster says of itself: explain, api-resources, api-versions, cluster-info, version,
//! events.

use hansa_tests::{Kubectl, soon};

use crate::scenario::{on, pod};

on!(hollow:
    explains,
    lists_its_resources,
    says_where_and_what_it_is,
    events_tell_what_happened,
    contexts,
);

fn explains(kubectl: &Kubectl) {
    let env = kubectl.ok(&["explain", "pod.spec.containers.env"]);
    assert!(env.contains("valueFrom\t<EnvVarSource>") && env.contains("KIND:       Pod"), "{env}");
    let tree = kubectl.ok(&["explain", "deployment", "--recursive"]);
    assert!(tree.contains("maxSurge\t<IntOrString>"), "{tree}");
    let error = kubectl.fails(&["explain", "pod.spec.absent"]);
    assert!(error.contains(r#"field "absent" does not exist"#), "{error}");
}

fn lists_its_resources(kubectl: &Kubectl) {
    let all = kubectl.ok(&["api-resources", "--no-headers"]);
    let row = |line: &str| all.lines().any(|l| l.split_whitespace().eq(line.split(' ')));
    for line in [
        "pods po v1 true Pod",
        "nodes no v1 false Node",
        "deployments deploy apps/v1 true Deployment",
        "endpointslices discovery.k8s.io/v1 true EndpointSlice",
        "customresourcedefinitions crd,crds apiextensions.k8s.io/v1 false CustomResourceDefinition",
        "leases coordination.k8s.io/v1 true Lease",
        "priorityclasses pc scheduling.k8s.io/v1 false PriorityClass",
    ] {
        assert!(row(line), "{line} is missing in:\n{all}");
    }
    let namespaced = kubectl.ok(&["api-resources", "--namespaced=false", "-o", "name"]);
    assert!(namespaced.contains("namespaces\n") && !namespaced.contains("pods\n"));
    let versions = kubectl.ok(&["api-versions"]);
    for version in ["v1", "apps/v1", "rbac.authorization.k8s.io/v1", "events.k8s.io/v1"] {
        assert!(versions.lines().any(|line| line == version), "{version}: {versions}");
    }
    let error = kubectl.fails(&["get", "gadgets"]);
    assert!(error.contains(r#"doesn't have a resource type "gadgets""#), "{error}");
}

fn says_where_and_what_it_is(kubectl: &Kubectl) {
    let info = kubectl.ok(&["cluster-info"]);
    assert!(info.contains("https://127.0.0.1:"), "{info}");
    let dump = kubectl.ok(&["cluster-info", "dump", "--namespaces", &kubectl.namespace]);
    assert!(dump.contains(r#""kind": "NodeList""#));
    let version = kubectl.ok(&["version", "-o", "json"]);
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    let server = &version["serverVersion"];
    assert_eq!((&server["major"], &server["minor"]), (&"1".into(), &"36".into()));
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(kubectl.ok(&["get", "--raw", path]), "ok");
    }
    assert!(kubectl.ok(&["get", "--raw", "/metrics"]).contains("apiserver_request_total"));
}

fn events_tell_what_happened(kubectl: &Kubectl) {
    kubectl.apply(&pod("told"));
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/told", "--timeout=60s"]);
    soon("the kubelet's events are there", || {
        let events = kubectl.ok(&["events", "--for", "pod/told"]);
        ["Scheduled", "Pulled", "Created", "Started"].iter().all(|word| events.contains(word))
    });
    let old = kubectl.ok(&["get", "events", "--field-selector", "involvedObject.name=told"]);
    let new = kubectl.ok(&["get", "events.events.k8s.io"]);
    assert!(
        old.contains("Successfully assigned") && new.contains("Successfully assigned"),
        "{old}"
    );
}

fn contexts(kubectl: &Kubectl) {
    assert_eq!(kubectl.ok(&["config", "current-context"]), "hollow\n");
    let contexts = kubectl.ok(&["config", "get-contexts", "-o", "name"]);
    assert_eq!(contexts, "hollow\n");
}
