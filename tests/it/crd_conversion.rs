//! Several versions of a custom resource: by name alone, and converted by a webhook.

use hansa_tests::webhook::Webhook;
use hansa_tests::{Kubectl, soon};
use serde_json::{Value, json};

use crate::scenario::on;

on!(hollow:
    versions_that_differ_in_name,
    a_webhook_converts,
    a_webhook_that_fails,
);

fn group(kubectl: &Kubectl) -> String {
    format!("{}.convert.dev", kubectl.namespace)
}

/// `hosts`: v1 has a host and a port, v2 one address.
fn definition(kubectl: &Kubectl, conversion: &Value, storage: &str) -> Value {
    let group = group(kubectl);
    let text = json!({"type": "string"});
    let version = |name: &str, properties: Value| {
        json!({"name": name, "served": true, "storage": name == storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("hosts.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "conversion": conversion,
            "names": {"plural": "hosts", "singular": "host", "kind": "Host"},
            "versions": [
                version("v1", json!({"host": text, "port": text, "kept": text})),
                version("v2", json!({"address": text, "kept": text})),
            ]},
    })
}

fn host(kubectl: &Kubectl, version: &str, name: &str, fields: Value) -> String {
    let mut obj = json!({"apiVersion": format!("{}/{version}", group(kubectl)), "kind": "Host",
        "metadata": {"name": name}});
    obj.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    obj.to_string()
}

fn define(kubectl: &Kubectl, definition: &Value) {
    kubectl.apply(&definition.to_string());
    let name = format!("crd/hosts.{}", group(kubectl));
    kubectl.ok(&["wait", "--for=condition=Established", &name, "--timeout=60s"]);
    for version in ["v1", "v2"] {
        let resource = resource(kubectl, version);
        soon("both versions are served", || kubectl.run(&["get", &resource]).success);
    }
}

fn resource(kubectl: &Kubectl, version: &str) -> String {
    format!("hosts.{version}.{}", group(kubectl))
}

fn forget(kubectl: &Kubectl) {
    kubectl.ok(&["delete", "crd", &format!("hosts.{}", group(kubectl)), "--timeout=60s"]);
}

/// What the converter makes of one object.
fn convert(obj: &Value, to: &str) -> Value {
    let mut obj = obj.clone();
    obj["apiVersion"] = to.into();
    let fields = obj.as_object_mut().unwrap();
    if to.ends_with("/v2") {
        let part = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let address = format!("{}:{}", part("host"), part("port"));
        fields.remove("host");
        fields.remove("port");
        fields.insert("address".into(), address.into());
    } else {
        let address = fields.remove("address").unwrap_or_default();
        let (host, port) = address.as_str().unwrap_or(":").split_once(':').unwrap();
        fields.insert("host".into(), host.into());
        fields.insert("port".into(), port.into());
    }
    obj
}

fn review(asked: &Value) -> Value {
    let to = asked["request"]["desiredAPIVersion"].as_str().unwrap();
    let objects = asked["request"]["objects"].as_array().unwrap();
    let converted: Vec<_> = objects.iter().map(|obj| convert(obj, to)).collect();
    json!({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": {
        "uid": asked["request"]["uid"], "result": {"status": "Success"},
        "convertedObjects": converted}})
}

fn by_webhook(webhook: &Webhook) -> Value {
    json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"url": webhook.url, "caBundle": webhook.ca_bundle}}})
}

fn versions_that_differ_in_name(kubectl: &Kubectl) {
    define(kubectl, &definition(kubectl, &json!({"strategy": "None"}), "v1"));
    kubectl.apply(&host(kubectl, "v1", "a", json!({"kept": "yes", "port": "1"})));
    let path = "{.apiVersion} {.kept}{.port}";
    let seen = kubectl.path(&[&resource(kubectl, "v2"), "a"], path);
    assert_eq!(seen, format!("{}/v2 yes", group(kubectl)), "v2 has no port");
    kubectl.apply(&definition(kubectl, &json!({"strategy": "None"}), "v2").to_string());
    let crd = format!("hosts.{}", group(kubectl));
    soon("objects may be stored in both", || {
        kubectl.path(&["crd", &crd], "{.status.storedVersions}") == r#"["v1","v2"]"#
    });
    assert_eq!(kubectl.path(&[&resource(kubectl, "v1"), "a"], "{.kept}"), "yes");
    forget(kubectl);
}

fn a_webhook_converts(kubectl: &Kubectl) {
    let webhook = Webhook::start(review);
    define(kubectl, &definition(kubectl, &by_webhook(&webhook), "v1"));
    let (v1, v2) = (&resource(kubectl, "v1"), &resource(kubectl, "v2"));
    kubectl.apply(&host(kubectl, "v1", "a", json!({"host": "h", "port": "1"})));
    kubectl.apply(&host(kubectl, "v2", "b", json!({"address": "i:2"})));
    assert_eq!(kubectl.path(&[v2, "a"], "{.address}"), "h:1");
    assert_eq!(kubectl.path(&[v1, "b"], "{.host} {.port}"), "i 2");
    assert_eq!(kubectl.path(&[v2], "{.items[*].address}"), "h:1 i:2", "lists are converted");
    let watch = kubectl.stream(&["get", v2, "--watch-only", "-o", "jsonpath={.address}{\"\\n\"}"]);
    // The watch has begun once it tells of a change; the change is made until then.
    soon("watches are converted", || {
        let now = format!("{:?}", std::time::Instant::now());
        kubectl.ok(&["annotate", v1, "a", "--overwrite", &format!("at={}", now.len())]);
        let patch = format!(r#"{{"port": "{}"}}"#, webhook.calls());
        kubectl.ok(&["patch", v1, "a", "--type=merge", "-p", &patch]);
        watch.so_far().iter().any(|line| line.starts_with("h:"))
    });
    kubectl.apply(&definition(kubectl, &by_webhook(&webhook), "v2").to_string());
    soon("what was stored as v1 is read as v2", || {
        kubectl.run(&["get", v2, "b", "-o", "jsonpath={.address}"]).stdout == "i:2"
    });
    kubectl.ok(&["label", v2, "--all", "stored=again"]);
    assert_eq!(kubectl.path(&[v1], "{.items[*].host}"), "h i");
    forget(kubectl);
}

fn a_webhook_that_fails(kubectl: &Kubectl) {
    let webhook = Webhook::start(|asked| {
        let names = asked["request"]["objects"].as_array().unwrap().iter();
        let refuses = names.into_iter().any(|obj| obj["metadata"]["name"] == "bad");
        match refuses {
            false => review(asked),
            true => json!({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": {
                "uid": asked["request"]["uid"],
                "result": {"status": "Failure", "message": "not this one"}}}),
        }
    });
    define(kubectl, &definition(kubectl, &by_webhook(&webhook), "v1"));
    let (v1, v2) = (&resource(kubectl, "v1"), &resource(kubectl, "v2"));
    kubectl.apply(&host(kubectl, "v1", "bad", json!({"host": "h", "port": "1"})));
    let name = format!("{}/v1, Kind=Host", group(kubectl));
    let why = format!("conversion webhook for {name} failed: not this one");
    assert!(kubectl.fails(&["get", v2, "bad"]).contains(&why));
    soon("lists fail too", || kubectl.run(&["get", v2]).stderr.contains(&why));
    assert_eq!(kubectl.path(&[v1, "bad"], "{.host}"), "h", "the stored version needs nobody");
    kubectl.ok(&["delete", v1, "bad"]);
    let url = webhook.url.clone();
    drop(webhook);
    kubectl.apply(&host(kubectl, "v1", "good", json!({"host": "h", "port": "1"})));
    let error = kubectl.fails(&["get", v2, "good"]);
    let gone = format!("failed: Post \"{url}?timeout=30s\": dial tcp");
    assert!(error.contains(&gone) && error.contains("connection refused"), "{error}");
    forget(kubectl);
}
