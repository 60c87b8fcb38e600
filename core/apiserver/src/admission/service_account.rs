//! ServiceAccount: every pod runs as one, and gets its token, the cluster's CA and its namespace.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, Fields, as_fields_mut, fields_mut, list_at, str_at};
use serde_json::{Value, json};

use super::{creates, forbidden, lookup, secrets};
use crate::generic::admit::{Admission, Attributes, Operation};

const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const ROOT_CA: &str = "kube-root-ca.crt";
/// An hour, and a few seconds that make such tokens recognizable.
const TOKEN_SECONDS: i64 = 3607;
/// A new namespace's default account is a moment away.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct ServiceAccount;

#[async_trait]
impl Admission for ServiceAccount {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        let debugs = attrs.operation == Operation::Update
            && attrs.is("", "pods")
            && attrs.ctx.subresource == "ephemeralcontainers";
        creates(attrs, "pods") || debugs
    }

    async fn mutate(&self, attrs: &Attributes<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if attrs.operation != Operation::Create || is_mirror(pod) {
            return Ok(());
        }
        let name = match str_at(pod, &["spec", "serviceAccountName"]) {
            "" => DEFAULT.to_owned(),
            name => name.to_owned(),
        };
        let account = required(attrs, pod, &name).await?;
        apply(pod, &name, &account);
        Ok(())
    }

    async fn validate(&self, attrs: &Attributes<'_>, pod: Option<&Value>) -> Result<(), ApiError> {
        let Some(pod) = pod else { return Ok(()) };
        if attrs.operation == Operation::Create && is_mirror(pod) {
            return secrets::mirror(pod).map_err(|why| forbidden(attrs, pod, why));
        }
        let name = str_at(pod, &["spec", "serviceAccountName"]);
        if name.is_empty() {
            let (namespace, pod_name) = (&attrs.ctx.namespace, meta::name(pod));
            let why = format!("no service account specified for pod {namespace}/{pod_name}");
            return Err(forbidden(attrs, pod, why));
        }
        let account = required(attrs, pod, name).await?;
        if !secrets::enforced(&account) {
            return Ok(());
        }
        let verdict = match attrs.operation {
            Operation::Create => secrets::pod(&account, pod),
            _ => secrets::ephemeral(&account, pod),
        };
        verdict.map_err(|why| forbidden(attrs, pod, why))
    }
}

fn is_mirror(pod: &Value) -> bool {
    meta::annotation(pod, MIRROR).is_some()
}

/// The account, which must be there.
async fn required(attrs: &Attributes<'_>, pod: &Value, name: &str) -> Result<Arc<Value>, ApiError> {
    match find_account(attrs, name).await? {
        Some(account) => Ok(account),
        None => {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount {name:?} not found",
                attrs.ctx.namespace
            );
            Err(forbidden(attrs, pod, why))
        }
    }
}

async fn find_account(attrs: &Attributes<'_>, name: &str) -> Result<Option<Arc<Value>>, ApiError> {
    for left in (0..TRIES).rev() {
        let found = lookup::find(attrs, "", "serviceaccounts", &attrs.ctx.namespace, name).await?;
        if found.is_some() || left == 0 || name != DEFAULT {
            return Ok(found);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

/// Gives a pod its account, the account's pull secrets and, unless switched off, the token volume.
fn apply(pod: &mut Value, name: &str, account: &Value) {
    let wants_token = |object: &Value| object["automountServiceAccountToken"].as_bool();
    let token = wants_token(&pod["spec"]).or_else(|| wants_token(account)).unwrap_or(true);
    let spec = fields_mut(pod, &["spec"]);
    spec.insert("serviceAccountName".into(), name.into());
    spec.insert("serviceAccount".into(), name.into());
    let secrets = list_at(account, &["imagePullSecrets"]);
    if !spec.contains_key("imagePullSecrets") && !secrets.is_empty() {
        spec.insert("imagePullSecrets".into(), secrets.to_vec().into());
    }
    if token {
        mount_token(spec);
    }
}

fn mount_token(spec: &mut Fields) {
    let existing = existing_volume(spec);
    let volume =
        existing.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", meta::random_suffix(5)));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers {
            used |= mount(container, &volume);
        }
    }
    if used && existing.is_none() {
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.push(token_volume(&volume));
        }
    }
}

fn existing_volume(spec: &Fields) -> Option<String> {
    let volumes = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let mut names = volumes.filter(|v| v.get("projected").is_some()).map(|v| str_at(v, &["name"]));
    names.find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned)
}

/// Mounts the volume unless something is mounted there; whether it did.
fn mount(container: &mut Value, volume: &str) -> bool {
    let mounts = as_fields_mut(container).entry("volumeMounts").or_insert_with(|| json!([]));
    let Some(mounts) = mounts.as_array_mut() else { return false };
    if mounts.iter().any(|mount| str_at(mount, &["mountPath"]) == MOUNT_PATH) {
        return false;
    }
    mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
    true
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"spec": {"containers": [{"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]}})
    }

    #[test]
    fn containers_get_the_token_unless_they_brought_their_own() {
        let mut pod = pod();
        apply(&mut pod, "web", &json!({"imagePullSecrets": [{"name": "s"}]}));
        let spec = &pod["spec"];
        assert_eq!(
            (&spec["serviceAccountName"], &spec["serviceAccount"]),
            (&json!("web"), &json!("web"))
        );
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "s"}]));
        let volume = spec["volumes"][0]["name"].as_str().unwrap();
        assert!(volume.starts_with(VOLUME_PREFIX) && volume.len() == VOLUME_PREFIX.len() + 5);
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume);
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        let once = pod.clone();
        apply(&mut pod, "web", &json!({}));
        assert_eq!(pod, once, "a second pass adds nothing");
    }

    #[test]
    fn the_token_can_be_switched_off_by_pod_or_account() {
        let off = json!({"automountServiceAccountToken": false});
        let mut plain = pod();
        apply(&mut plain, "web", &off);
        assert!(plain["spec"].get("volumes").is_none());
        let mut insists = pod();
        insists["spec"]["automountServiceAccountToken"] = true.into();
        apply(&mut insists, "web", &off);
        assert!(insists["spec"].get("volumes").is_some());
    }
}
