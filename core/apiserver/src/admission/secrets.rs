//! Which Secrets a pod may name: what the ServiceAccount plugin asks of mirror pods, and of pods of
//! accounts that allow only their own Secrets.

use std::collections::BTreeSet;

use hansa_api::meta::{self, list_at, str_at};
use serde_json::Value;

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// Whether an account's pods may use no other Secrets than the account names.
pub(super) fn enforced(account: &Value) -> bool {
    let value = meta::annotation(account, ENFORCE);
    value.is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// A mirror pod stands for a file on a node and has no part in what is kept here.
pub(super) fn mirror(pod: &Value) -> Result<(), String> {
    let refuse = |why: &str| Err(why.to_string());
    if !str_at(pod, &["spec", "serviceAccountName"]).is_empty() {
        return refuse("a mirror pod may not reference service accounts");
    }
    if names_a_secret(&pod["spec"]) {
        return refuse("a mirror pod may not reference secrets");
    }
    let volumes = list_at(pod, &["spec", "volumes"]).iter();
    let mut sources = volumes.flat_map(|volume| list_at(volume, &["projected", "sources"]));
    match sources.any(|source| meta::at(source, &["serviceAccountToken"]).is_some()) {
        true => refuse("a mirror pod may not use ServiceAccountToken volume projections"),
        false => Ok(()),
    }
}

/// Whether any field of the spec refers to a Secret.
fn names_a_secret(value: &Value) -> bool {
    const FIELDS: [&str; 10] = [
        "secret",
        "secretName",
        "secretKeyRef",
        "secretRef",
        "imagePullSecrets",
        "controllerPublishSecretRef",
        "nodePublishSecretRef",
        "nodeStageSecretRef",
        "nodeExpandSecretRef",
        "controllerExpandSecretRef",
    ];
    match value {
        Value::Object(map) => map.iter().any(|(field, inner)| {
            let empty = inner.is_null() || inner.as_array().is_some_and(Vec::is_empty);
            (FIELDS.contains(&field.as_str()) && !empty) || names_a_secret(inner)
        }),
        Value::Array(list) => list.iter().any(names_a_secret),
        _ => false,
    }
}

/// The pod's volumes, environment and pull secrets against what the account names.
pub(super) fn pod(account: &Value, pod: &Value) -> Result<(), String> {
    let name = meta::name(account);
    let mountable = own(account, "secrets");
    for volume in list_at(pod, &["spec", "volumes"]) {
        let Some(secret) = meta::at(volume, &["secret"]) else { continue };
        let secret = str_at(secret, &["secretName"]);
        if !mountable.contains(secret) {
            return Err(format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service \
                 account {name} does not reference that secret"
            ));
        }
    }
    environment(account, pod, "initContainers", "init container")?;
    environment(account, pod, "containers", "container")?;
    let pullable = own(account, "imagePullSecrets");
    for (at, secret) in list_at(pod, &["spec", "imagePullSecrets"]).iter().enumerate() {
        let secret = str_at(secret, &["name"]);
        if !pullable.contains(secret) {
            return Err(format!(
                "imagePullSecrets[{at}].name=\"{secret}\" is not allowed because service account \
                 {name} does not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

/// The same for the containers that are added to a running pod.
pub(super) fn ephemeral(account: &Value, pod: &Value) -> Result<(), String> {
    environment(account, pod, "ephemeralContainers", "ephemeral container")
}

fn own<'a>(account: &'a Value, list: &str) -> BTreeSet<&'a str> {
    list_at(account, &[list]).iter().map(|one| str_at(one, &["name"])).collect()
}

fn environment(account: &Value, pod: &Value, list: &str, kind: &str) -> Result<(), String> {
    let (account_name, mountable) = (meta::name(account), own(account, "secrets"));
    let refuse = |what: String, secret: &str| {
        Err(format!(
            "{kind} {what} referencing secret.secretName=\"{secret}\" is not allowed because \
             service account {account_name} does not reference that secret"
        ))
    };
    for container in list_at(pod, &["spec", list]) {
        let name = str_at(container, &["name"]);
        for variable in list_at(container, &["env"]) {
            let Some(source) = meta::at(variable, &["valueFrom", "secretKeyRef"]) else { continue };
            let secret = str_at(source, &["name"]);
            if !mountable.contains(secret) {
                let variable = str_at(variable, &["name"]);
                return refuse(format!("{name} with envVar {variable}"), secret);
            }
        }
        for source in list_at(container, &["envFrom"]) {
            let Some(source) = meta::at(source, &["secretRef"]) else { continue };
            let secret = str_at(source, &["name"]);
            if !mountable.contains(secret) {
                return refuse(format!("{name} with envFrom"), secret);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_may_limit_its_pods_to_its_secrets() {
        let account = json!({"metadata": {"name": "till", "annotations": {ENFORCE: "true"}},
            "secrets": [{"name": "own"}], "imagePullSecrets": [{"name": "pull"}]});
        assert!(enforced(&account) && !enforced(&json!({})));
        let spec = |spec: Value| pod(&account, &json!({"spec": spec}));
        let env = |secret: &str| {
            json!([{"name": "c", "env": [{"name": "E", "valueFrom":
                {"secretKeyRef": {"name": secret}}}], "envFrom": [{"secretRef": {"name": secret}}]}])
        };
        let good = json!({"volumes": [{"secret": {"secretName": "own"}}],
            "containers": env("own"), "imagePullSecrets": [{"name": "pull"}]});
        assert_eq!(spec(good), Ok(()));
        let tail = "is not allowed because service account till does not reference that";
        let cases = [
            (
                json!({"volumes": [{"secret": {"secretName": "x"}}]}),
                format!("volume with secret.secretName=\"x\" {tail} secret"),
            ),
            (
                json!({"initContainers": env("x")}),
                format!(
                    "init container c with envVar E referencing secret.secretName=\"x\" {tail} \
                     secret"
                ),
            ),
            (
                json!({"imagePullSecrets": [{"name": "pull"}, {"name": "x"}]}),
                format!("imagePullSecrets[1].name=\"x\" {tail} imagePullSecret"),
            ),
        ];
        for (bad, why) in cases {
            assert_eq!(spec(bad).unwrap_err(), why);
        }
    }

    #[test]
    fn a_mirror_pod_names_nothing() {
        assert_eq!(mirror(&json!({"spec": {"containers": [{"env": [{"value": "1"}]}]}})), Ok(()));
        for bad in [
            json!({"serviceAccountName": "a"}),
            json!({"volumes": [{"secret": {"secretName": "x"}}]}),
            json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]}),
            json!({"imagePullSecrets": [{"name": "x"}]}),
        ] {
            assert!(mirror(&json!({"spec": bad})).is_err(), "{bad}");
        }
    }
}
