//! `kubectl get` in its forms.

use hansa_tests::Kubectl;

use crate::scenario::{config_map, deployment, on};

on!(hollow: forms, more_forms, selectors, chunks, everywhere, watching);

fn running(kubectl: &Kubectl, name: &str, replicas: u32) {
    kubectl.apply(&deployment(name, replicas));
    kubectl.ok(&["rollout", "status", &format!("deployment/{name}"), "--timeout=60s"]);
}

fn forms(kubectl: &Kubectl) {
    running(kubectl, "web", 2);
    let table = kubectl.ok(&["get", "deployments"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert_eq!(rows[1][..4], ["web", "2/2", "2", "2"]);
    let wide = kubectl.ok(&["get", "pods", "-o", "wide"]);
    assert!(wide.contains("NOMINATED NODE") && wide.contains("hollow-"), "{wide}");
    let yaml = kubectl.ok(&["get", "deployment", "web", "-o", "yaml"]);
    assert!(yaml.starts_with("apiVersion: apps/v1\nkind: Deployment\n"), "{yaml}");
    let json = kubectl.ok(&["get", "pods", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["kind"], json["items"].as_array().unwrap().len()), (&"List".into(), 2));
    let phases = kubectl.path(&["pods"], "{.items[*].status.phase}");
    assert_eq!(phases, "Running Running");
    let columns = "custom-columns=IMAGE:.spec.containers[0].image,APP:.metadata.labels.app";
    let custom = kubectl.ok(&["get", "pods", "-o", columns, "--no-headers"]);
    assert!(custom.lines().all(|line| line.split_whitespace().eq(["pause:1", "web"])), "{custom}");
    let error = kubectl.fails(&["get", "deployment", "absent"]);
    assert!(error.contains(r#"(NotFound): deployments.apps "absent" not found"#), "{error}");
}

fn more_forms(kubectl: &Kubectl) {
    running(kubectl, "web", 2);
    kubectl.ok(&["expose", "deployment", "web", "--port=80"]);
    let all = kubectl.ok(&["get", "all", "-o", "name"]);
    for kind in ["pod/web-", "service/web", "deployment.apps/web", "replicaset.apps/web-"] {
        assert!(all.contains(kind), "{kind} is missing: {all}");
    }
    let labels = kubectl.ok(&["get", "pods", "-L", "app", "--show-labels", "--no-headers"]);
    assert!(labels.lines().all(|l| l.contains(" web ") && l.contains("app=web,")), "{labels}");
    let template = "go-template={{range .items}}{{.kind}}/{{.metadata.name}} {{end}}";
    assert_eq!(kubectl.ok(&["get", "deployments", "-o", template]), "Deployment/web ");
    kubectl.apply(&config_map("b", "k", "1"));
    kubectl.apply(&config_map("a", "k", "2"));
    let names =
        ["get", "cm", "-l", "kind=plain", "--no-headers", "-o", "custom-columns=N:.metadata.name"];
    let by_data = kubectl.ok(&[&names[..], &["--sort-by=.data.k"]].concat());
    assert_eq!(by_data, "b\na\n");
    let both = kubectl.ok(&["get", "cm/a", "deployment/web", "-o", "name"]);
    assert_eq!(both, "configmap/a\ndeployment.apps/web\n");
    let some = kubectl.run(&["get", "cm", "a", "absent"]);
    assert!(some.code == Some(1) && some.stdout.contains("a "), "what is there is shown: {some:?}");
    let raw = kubectl.ok(&["get", "--raw", &format!("/api/v1/namespaces/{}", kubectl.namespace)]);
    assert!(raw.starts_with('{') && raw.contains(r#""phase":"Active""#), "{raw}");
    // The old kind still works, and says that it is old.
    let old = kubectl.run(&["get", "endpoints", "web"]);
    let warning =
        "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
    assert!(old.success && old.stderr.contains(warning), "{old:?}");
}

fn selectors(kubectl: &Kubectl) {
    kubectl.apply(&config_map("a", "k", "1"));
    kubectl.apply(&config_map("b", "k", "2"));
    kubectl.ok(&["label", "configmap", "b", "tier=front"]);
    let names = |args: &[&str]| kubectl.ok(&[&["get", "cm", "-o", "name"], args].concat());
    assert_eq!(names(&["--selector", "kind=plain"]), "configmap/a\nconfigmap/b\n");
    assert_eq!(names(&["--selector", "kind=plain,tier in (front, back)"]), "configmap/b\n");
    assert_eq!(names(&["--selector", "kind,!tier"]), "configmap/a\n");
    assert_eq!(names(&["--field-selector", "metadata.name=a"]), "configmap/a\n");
    let error = kubectl.fails(&["get", "cm", "--field-selector", "data.k=1"]);
    assert!(error.contains("\"data.k\" is not a known field selector"), "{error}");
    let error = kubectl.fails(&["get", "cm", "--selector", "a b"]);
    assert!(error.contains("unable to parse requirement"), "{error}");
}

fn chunks(kubectl: &Kubectl) {
    let maps: String =
        (0..12).map(|n| config_map(&format!("m{n:02}"), "k", "v") + "---\n").collect();
    kubectl.apply(&maps);
    let get = ["get", "cm", "-l", "kind=plain", "-o", "name"];
    let whole = kubectl.ok(&[&get[..], &["--chunk-size=0"]].concat());
    assert_eq!(whole.lines().count(), 12);
    assert_eq!(kubectl.ok(&[&get[..], &["--chunk-size=5"]].concat()), whole);
    let calls = kubectl.run(&[&get[..], &["--chunk-size=5", "-v=6"]].concat()).stderr;
    assert_eq!(calls.matches("limit=5").count(), 3, "{calls}");
}

fn everywhere(kubectl: &Kubectl) {
    kubectl.apply(&config_map("here", "k", "v"));
    let all = kubectl.ok(&["get", "configmaps", "-A", "--no-headers"]);
    let has = |namespace: &str, name: &str| {
        all.lines().any(|l| l.split_whitespace().take(2).eq([namespace, name]))
    };
    assert!(has(&kubectl.namespace, "here") && has("kube-system", "kube-root-ca.crt"), "{all}");
    let nodes = kubectl.ok(&["get", "nodes", "-o", "wide", "--no-headers"]);
    assert_eq!(nodes.lines().count(), 3);
    // An address each: without one no pod's log can be read.
    assert!(
        nodes.lines().all(|l| l.split_whitespace().any(|word| word.starts_with("127."))),
        "{nodes}"
    );
}

fn watching(kubectl: &Kubectl) {
    let watch =
        kubectl.stream(&["get", "configmaps", "-l", "kind=plain", "-w", "--output-watch-events"]);
    kubectl.apply(&config_map("seen", "k", "1"));
    watch.wait_for("ADDED");
    kubectl.apply(&config_map("seen", "other", "2"));
    watch.wait_for("MODIFIED");
    kubectl.ok(&["delete", "configmap", "seen"]);
    watch.wait_for("DELETED");
}
