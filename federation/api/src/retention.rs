//! What a member's copy keeps when the federation writes to it.
//!
//! Always: resourceVersion, finalizers, owners, and labels and annotations that the federation did
//! not set. By kind: what the member's API server and controllers assigned.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::names;

/// Annotation on member objects: the labels that came from the template.
const MANAGED_LABELS: &str = "resourcetemplate.karmada.io/managed-labels";
/// Annotation on member objects: the annotations that came from the template.
const MANAGED_ANNOTATIONS: &str = "resourcetemplate.karmada.io/managed-annotations";

/// Records in a manifest which labels and annotations came from the template, so that those dropped
/// later can be told from those that the member set.
pub fn record(manifest: &mut Value) {
    let keys = |field: &str| {
        let map = manifest["metadata"][field].as_object();
        let keys: Vec<&str> = map.into_iter().flatten().map(|(k, _)| k.as_str()).collect();
        keys.join(",")
    };
    let (labels, annotations) = (keys("labels"), keys("annotations"));
    manifest["metadata"]["annotations"][MANAGED_LABELS] = labels.into();
    manifest["metadata"]["annotations"][MANAGED_ANNOTATIONS] = annotations.into();
}

/// The merge patch that takes the federation's marks off an object, and nothing else.
pub fn release(object: &Value) -> Value {
    let ours = |key: &&String| key.contains("karmada.io/") || key.contains("hansa.dev/");
    let annotations = object["metadata"]["annotations"].as_object();
    let annotations = annotations.into_iter().flatten().map(|(key, _)| key).filter(ours);
    let gone: Map<String, Value> = annotations.map(|key| (key.clone(), Value::Null)).collect();
    json!({"metadata": {"labels": {names::MANAGED_LABEL: null}, "annotations": gone}})
}

/// The object to write in place of `observed`: `desired` with what the member's copy keeps.
pub fn retain(desired: &Value, observed: &Value) -> Value {
    let mut next = desired.clone();
    for field in ["resourceVersion", "finalizers", "ownerReferences"] {
        keep(&mut next, observed, &format!("/metadata/{field}"));
    }
    retain_pairs(&mut next, observed, "labels", MANAGED_LABELS);
    retain_pairs(&mut next, observed, "annotations", MANAGED_ANNOTATIONS);
    retain_kind(&mut next, observed);
    next
}

fn retain_pairs(next: &mut Value, observed: &Value, field: &str, record: &str) {
    let recorded = observed["metadata"]["annotations"][record].as_str().unwrap_or_default();
    let ours: BTreeSet<&str> = recorded.split(',').collect();
    let mut merged = observed["metadata"][field].as_object().cloned().unwrap_or_default();
    merged.retain(|key, _| !ours.contains(key.as_str()));
    merged.extend(next["metadata"][field].as_object().cloned().unwrap_or_default());
    if !merged.is_empty() {
        next["metadata"][field] = Value::Object(merged);
    }
}

fn retain_kind(next: &mut Value, observed: &Value) {
    let kind = (text(next, "/apiVersion").to_owned(), text(next, "/kind").to_owned());
    match (kind.0.as_str(), kind.1.as_str()) {
        ("v1", "Service") => retain_service(next, observed),
        ("v1", "ServiceAccount") => fill(next, observed, &["/secrets", "/imagePullSecrets"]),
        ("v1", "PersistentVolumeClaim") => fill(next, observed, &["/spec/volumeName"]),
        ("v1", "PersistentVolume") => fill(next, observed, &["/spec/claimRef"]),
        ("v1", "Namespace") => fill(next, observed, &["/spec"]),
        ("v1", "Pod") => keep(next, observed, "/spec"),
        ("batch/v1", "Job") => {
            fill(next, observed, &["/spec/selector"]);
            keep(next, observed, "/spec/template/metadata/labels");
        }
        _ => {}
    }
    if next["metadata"]["labels"][names::RETAIN_REPLICAS] == "true" {
        keep(next, observed, "/spec/replicas");
    }
}

fn retain_service(next: &mut Value, observed: &Value) {
    let given = [
        "/spec/clusterIP",
        "/spec/clusterIPs",
        "/spec/healthCheckNodePort",
        "/spec/ipFamilies",
        "/spec/ipFamilyPolicy",
    ];
    fill(next, observed, &given);
    let old = observed["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for port in next.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten()
    {
        let same =
            |o: &&Value| ["name", "protocol", "port"].iter().all(|f| agrees(&o[f], &port[f]));
        let node_port = old.iter().find(same).map(|o| o["nodePort"].clone()).unwrap_or_default();
        if port.get("nodePort").is_none() && !node_port.is_null() {
            port["nodePort"] = node_port;
        }
    }
}

/// Equality in which an absent protocol is TCP, the API server's default.
fn agrees(a: &Value, b: &Value) -> bool {
    let default = |v: &Value| if v.is_null() { Value::from("TCP") } else { v.clone() };
    a == b
        || (default(a) == default(b) && (a.is_null() || b.is_null()) && (a == "TCP" || b == "TCP"))
}

/// Takes a field from the member's copy, or takes it away where the member has none.
fn keep(next: &mut Value, observed: &Value, path: &str) {
    match observed.pointer(path) {
        Some(value) => put(next, path, value.clone()),
        None => drop(remove(next, path)),
    }
}

/// Takes fields from the member's copy that the manifest does not set.
fn fill(next: &mut Value, observed: &Value, paths: &[&str]) {
    for path in paths {
        if next.pointer(path).is_none()
            && let Some(value) = observed.pointer(path)
        {
            put(next, path, value.clone());
        }
    }
}

fn put(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for part in path.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[part];
    }
    *place = value;
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    let (parent, field) = path.rsplit_once('/')?;
    object.pointer_mut(parent)?.as_object_mut()?.remove(field)
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_member_assigned_stays() {
        let desired = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"ports": [{"name": "http", "port": 80}, {"name": "new", "port": 81}]}});
        let observed = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "resourceVersion": "9", "finalizers": ["f"]},
            "spec": {"clusterIP": "10.1.1.1", "clusterIPs": ["10.1.1.1"],
                "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 31000}]}});
        let next = retain(&desired, &observed);
        assert_eq!(next["metadata"]["resourceVersion"], "9");
        assert_eq!(next["metadata"]["finalizers"], json!(["f"]));
        assert_eq!(next["spec"]["clusterIP"], "10.1.1.1");
        assert_eq!(next["spec"]["ports"][0]["nodePort"], 31000);
        assert!(next["spec"]["ports"][1].get("nodePort").is_none());
    }

    #[test]
    fn the_members_labels_stay_and_the_templates_dropped_ones_go() {
        let mut before = json!({"metadata": {"labels": {"app": "web", "old": "x"}}});
        record(&mut before);
        before["metadata"]["labels"]["member"] = "kept".into();
        before["metadata"]["annotations"]["member"] = "kept".into();
        let mut desired = json!({"metadata": {"labels": {"app": "shop"}}});
        record(&mut desired);
        let next = retain(&desired, &before);
        assert_eq!(next["metadata"]["labels"], json!({"app": "shop", "member": "kept"}));
        assert_eq!(next["metadata"]["annotations"]["member"], "kept");
    }

    #[test]
    fn replicas_stay_only_where_the_label_says_so() {
        let desired = |retained: &str| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"labels": {names::RETAIN_REPLICAS: retained}},
                "spec": {"replicas": 2}})
        };
        let observed = json!({"spec": {"replicas": 7}});
        assert_eq!(retain(&desired("true"), &observed)["spec"]["replicas"], 7);
        assert_eq!(retain(&desired("false"), &observed)["spec"]["replicas"], 2);
    }

    #[test]
    fn a_jobs_selector_stays() {
        let desired = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {},
            "spec": {"template": {"metadata": {"labels": {}}}}});
        let observed = json!({"spec": {"selector": {"matchLabels": {"controller-uid": "u"}},
            "template": {"metadata": {"labels": {"controller-uid": "u"}}}}});
        let next = retain(&desired, &observed);
        assert_eq!(next["spec"]["selector"]["matchLabels"]["controller-uid"], "u");
        assert_eq!(next["spec"]["template"]["metadata"]["labels"]["controller-uid"], "u");
    }
}
