//! Where an object of a built-in workload kind holds its pods' spec.

use serde_json::Value;

/// The JSON pointer to the pod spec of a kind, if it has one.
pub fn path(api_version: &str, kind: &str) -> Option<&'static str> {
    match (api_version, kind) {
        ("v1", "Pod") => Some("/spec"),
        ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch/v1", "Job")
        | ("v1", "ReplicationController") => Some("/spec/template/spec"),
        ("batch/v1", "CronJob") => Some("/spec/jobTemplate/spec/template/spec"),
        _ => None,
    }
}

/// The pod spec of an object, if it has one.
pub fn spec(object: &Value) -> Option<&Value> {
    object.pointer(path(object["apiVersion"].as_str()?, object["kind"].as_str()?)?)
}

/// The pod spec of an object, if it has one, to change it.
pub fn spec_mut(object: &mut Value) -> Option<&mut Value> {
    let path = path(object["apiVersion"].as_str()?, object["kind"].as_str()?)?;
    object.pointer_mut(path)
}
