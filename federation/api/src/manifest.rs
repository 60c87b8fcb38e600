//! A template as a manifest: without what only the hub may say about it.

use serde_json::{Value, json};

use crate::names;

/// Metadata that belongs to the hub's copy.
const HUB_ONLY: [&str; 9] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "ownerReferences",
    "finalizers",
];
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// The template without what the hub's API server and controllers wrote into it.
pub fn prune(template: &Value) -> Value {
    let mut manifest = template.clone();
    if let Some(object) = manifest.as_object_mut() {
        object.remove("status");
    }
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in HUB_ONLY {
            metadata.remove(field);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| key != LAST_APPLIED && key != REVISION);
        }
    }
    prune_kind(&mut manifest);
    manifest
}

fn prune_kind(manifest: &mut Value) {
    let kind = (text(manifest, "/apiVersion").to_owned(), text(manifest, "/kind").to_owned());
    match (kind.0.as_str(), kind.1.as_str()) {
        ("v1", "Service") => prune_service(manifest),
        ("v1", "ServiceAccount") => drop_fields(manifest, "", &["secrets"]),
        ("v1", "Namespace") => drop_fields(manifest, "", &["spec"]),
        ("v1", "PersistentVolumeClaim") => drop_fields(manifest, "/spec", &["volumeName"]),
        ("v1", "PersistentVolume") => drop_fields(manifest, "/spec", &["claimRef"]),
        ("v1", "Pod") => drop_fields(manifest, "/spec", &["nodeName"]),
        ("batch/v1", "Job") if manifest["spec"]["manualSelector"] != true => {
            drop_fields(manifest, "/spec", &["selector"]);
            let generated = [
                "controller-uid",
                "job-name",
                "batch.kubernetes.io/controller-uid",
                "batch.kubernetes.io/job-name",
            ];
            drop_fields(manifest, "/spec/template/metadata/labels", &generated);
        }
        _ => {}
    }
}

/// Addresses and ports that the hub gave a Service; `None` for headless Services stays.
fn prune_service(manifest: &mut Value) {
    if text(manifest, "/spec/clusterIP") != "None" {
        drop_fields(manifest, "/spec", &["clusterIP", "clusterIPs"]);
    }
    drop_fields(manifest, "/spec", &["healthCheckNodePort", "ipFamilies", "ipFamilyPolicy"]);
    for port in ports_mut(manifest) {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
}

fn ports_mut(service: &mut Value) -> impl Iterator<Item = &mut Value> {
    service.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten()
}

fn drop_fields(manifest: &mut Value, path: &str, fields: &[&str]) {
    if let Some(object) = manifest.pointer_mut(path).and_then(Value::as_object_mut) {
        object.retain(|key, _| !fields.contains(&key.as_str()));
    }
}

/// Whether every cluster makes this object for itself, so that another cluster's would do harm:
/// the root CA's ConfigMap, the default ServiceAccount, tokens in Secrets, and the namespaces that
/// the system lives in.
pub fn is_of_each_cluster(object: &Value) -> bool {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    match (text("/apiVersion"), text("/kind"), text("/metadata/name")) {
        ("v1", "ConfigMap", "kube-root-ca.crt") | ("v1", "ServiceAccount", "default") => true,
        ("v1", "Secret", _) => text("/type") == "kubernetes.io/service-account-token",
        ("v1", "Namespace", name) => name == "default" || names::is_reserved_namespace(name),
        _ => false,
    }
}

/// Marks a manifest as the federation's.
pub fn label_managed(manifest: &mut Value) {
    manifest["metadata"]["labels"][names::MANAGED_LABEL] = json!("true");
}

/// Whether an object in a member is the federation's.
pub fn is_managed(object: &Value) -> bool {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    labels.and_then(|l| l.get(names::MANAGED_LABEL)).is_some_and(|v| v == "true")
}

/// The digest of a manifest: equal manifests have equal digests.
pub fn digest(manifest: &Value) -> String {
    format!("{:016x}", names::fnv64a(&manifest.to_string()))
}

/// Whether everything that `wanted` says is so in `present`; lists must agree element by element.
///
/// What a member's API server fills in besides does not count as a difference.
pub fn holds(wanted: &Value, present: &Value) -> bool {
    match (wanted, present) {
        (Value::Object(wanted), Value::Object(present)) => wanted.iter().all(|(key, value)| {
            present.get(key).map_or(is_empty(value), |there| holds(value, there))
        }),
        (Value::Array(wanted), Value::Array(present)) => {
            wanted.len() == present.len() && wanted.iter().zip(present).all(|(w, p)| holds(w, p))
        }
        (wanted, present) => wanted == present || same_amount(wanted, present),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(set) => !set,
        Value::Number(_) => false,
    }
}

/// Whether two spellings are one quantity, which an API server may have rewritten.
fn same_amount(a: &Value, b: &Value) -> bool {
    let amount = |v: &Value| {
        let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        text.parse::<hansa_api::quantity::Quantity>().ok()
    };
    (a.is_string() || a.is_number())
        && (b.is_string() || b.is_number())
        && amount(a).is_some_and(|a| Some(a) == amount(b))
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hubs_addresses_and_bookkeeping_stay_on_the_hub() {
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "uid": "u", "resourceVersion": "7",
                "annotations": {LAST_APPLIED: "{}", "note": "a"}},
            "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "type": "NodePort",
                "ports": [{"port": 80, "nodePort": 30000}]},
            "status": {"loadBalancer": {}}});
        let pruned = prune(&service);
        assert_eq!(
            pruned,
            json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "annotations": {"note": "a"}},
                "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
        );
        let headless = json!({"apiVersion": "v1", "kind": "Service",
            "spec": {"clusterIP": "None", "clusterIPs": ["None"]}});
        assert_eq!(prune(&headless), headless);
    }

    #[test]
    fn what_each_cluster_makes_for_itself_is_known() {
        let of = |kind: &str, name: &str, type_: &str| {
            is_of_each_cluster(&json!({"apiVersion": "v1", "kind": kind,
                "metadata": {"name": name}, "type": type_}))
        };
        assert!(of("ConfigMap", "kube-root-ca.crt", "") && !of("ConfigMap", "web", ""));
        assert!(of("ServiceAccount", "default", "") && !of("ServiceAccount", "web", ""));
        assert!(of("Secret", "web", "kubernetes.io/service-account-token"));
        assert!(!of("Secret", "web", "Opaque"));
        assert!(of("Namespace", "kube-system", "") && of("Namespace", "default", ""));
        assert!(!of("Namespace", "shop", ""));
    }

    #[test]
    fn defaults_are_no_difference_and_edits_are() {
        let wanted = json!({"spec": {"replicas": 2, "list": [{"name": "a"}], "cpu": "1000m"}});
        let defaulted = json!({"spec": {"replicas": 2, "list": [{"name": "a", "port": 1}],
            "cpu": "1", "strategy": {}}});
        assert!(holds(&wanted, &defaulted));
        for edit in [
            json!({"spec": {"replicas": 3, "list": [{"name": "a"}], "cpu": "1"}}),
            json!({"spec": {"replicas": 2, "list": [{"name": "a"}, {"name": "b"}], "cpu": "1"}}),
            json!({"spec": {"replicas": 2, "list": [{"name": "a"}]}}),
        ] {
            assert!(!holds(&wanted, &edit), "{edit}");
        }
        assert!(holds(&json!({"a": {}, "b": null}), &json!({})));
    }
}
