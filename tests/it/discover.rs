//! What a cluster says of itself: explain, api-resources, api-versions, cluster-info, version,
//! events.

use std::collections::BTreeSet;

use hansa_tests::{Kubectl, Local, soon};
use serde_json::Value;

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
    let reasons = "custom-columns=R:.reason";
    let sorted = kubectl.ok(&["get", "events", "--sort-by=.lastTimestamp", "-o", reasons]);
    assert!(sorted.trim_end().ends_with("Started"), "the last one comes last: {sorted}");
    let sorted = kubectl.ok(&["get", "events", "--sort-by=.lastTimestamp"]);
    assert!(sorted.contains("Started container main"), "{sorted}");
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

const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");

/// The versions of groups as paths without a slash in front, such as `apis/apps/v1`.
fn versions(http: &Local) -> Vec<String> {
    let groups = http.get("/apis").body["groups"].as_array().cloned().unwrap_or_default();
    let named = groups.iter().flat_map(|group| group["versions"].as_array().unwrap());
    let named = named.map(|one| format!("apis/{}", one["groupVersion"].as_str().unwrap()));
    std::iter::once("api/v1".to_owned()).chain(named).collect()
}

fn can(resource: &Value, verb: &str) -> bool {
    resource["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|one| one == verb))
}

#[test]
fn what_discovery_promises_is_served_and_described() {
    let http = &Local::start();
    for version in versions(http) {
        let list = http.get(&format!("/{version}"));
        let document = http.get(&format!("/openapi/v3/{version}"));
        assert_eq!((list.code, document.code), (200, 200), "{version}");
        let kinds = format!("{}", document.body["components"]["schemas"]);
        for resource in list.body["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            // What is only connected to has options in its query, and no schema.
            let connects = resource["kind"].as_str().is_some_and(|kind| kind.ends_with("Options"));
            let is_described = kinds.contains(&format!(r#""kind":{}"#, resource["kind"]));
            assert!(connects || is_described, "{version} {name}");
            if can(resource, "list") {
                let path = format!("/{version}/{name}?limit=2");
                assert_eq!(http.get(&path).code, 200, "{path}");
                let table = http.get_with(&path, &[TABLE]);
                let columns = table.body["columnDefinitions"].as_array().expect("it is a table");
                assert!(columns.iter().any(|column| column["name"] == "Name"), "{path}");
            }
        }
    }
    for path in http.get("/").body["paths"].as_array().unwrap() {
        assert_eq!(http.get(path.as_str().unwrap()).code, 200, "{path}");
    }
}

/// `group/version resource` of all that a document of aggregated discovery holds.
fn aggregated(http: &Local, root: &str) -> BTreeSet<String> {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let answer = http.get_with(root, &[("accept", accept)]);
    let known = answer.headers["etag"].to_str().unwrap();
    let again = [("accept", accept), ("if-none-match", known)];
    assert_eq!(http.get_with(root, &again).code, 304, "clients keep what they have");
    let groups = answer.body["items"].as_array().cloned().unwrap_or_default();
    let mut found = BTreeSet::new();
    for group in groups {
        let name = group["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        for version in group["versions"].as_array().unwrap() {
            for resource in version["resources"].as_array().unwrap() {
                let (version, plural) = (&version["version"], &resource["resource"]);
                found.insert(format!("{name}/{version} {plural}"));
            }
        }
    }
    found
}

#[test]
fn both_forms_of_discovery_tell_the_same() {
    let http = &Local::start();
    let mut all = aggregated(http, "/api");
    all.extend(aggregated(http, "/apis"));
    for version in versions(http) {
        let group_version = version.trim_start_matches("apis/").trim_start_matches("api/");
        let (group, version_only) = group_version.split_once('/').unwrap_or(("", group_version));
        let list = http.get(&format!("/{version}")).body["resources"].clone();
        for resource in list.as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let line = format!("{group}/{version_only:?} {name:?}");
            assert!(name.contains('/') || all.remove(&line), "{line} is told in one form only");
        }
    }
    assert_eq!(all, BTreeSet::new(), "told in one form only");
}
