//! ServiceAccounts.

use hansa_api::meta::{self, as_fields_mut};
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use crate::generic::context::Context;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "ServiceAccount", "serviceaccounts").namespaced().short(&["sa"]).sub(
        "token",
        "authentication.k8s.io",
        "v1",
        "TokenRequest",
        &["create"],
    )
}

/// The strategy of ServiceAccounts.
pub(super) struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        only_names(obj);
    }

    fn prepare_update(&self, _: &Context, obj: &mut Value, _: &Value) {
        only_names(obj);
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let marked = |obj: &Value| meta::annotation(obj, MOUNTABLE).is_some();
        if !marked(obj) || old.is_some_and(marked) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces \
             to isolate access to mounted secrets"
        )]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::of("Secrets", "string", "How many it names.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let secrets = meta::list_at(obj, &["secrets"]).len();
        vec![cells::name(obj), secrets.into(), cells::age(obj, now)]
    }
}

/// A reference to a secret is its name.
fn only_names(obj: &mut Value) {
    let secrets = as_fields_mut(obj).get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten() {
        as_fields_mut(secret).retain(|field, _| field == "name");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_named() {
        let mut obj = json!({"secrets": [{"name": "a", "namespace": "b", "kind": "Secret"}]});
        ServiceAccounts.prepare_create(&Context::default(), &mut obj);
        assert_eq!(obj["secrets"], json!([{"name": "a"}]));
    }

    #[test]
    fn an_old_annotation_is_warned_of_once() {
        let obj = json!({"metadata": {"annotations": {MOUNTABLE: "true"}}});
        assert_eq!(ServiceAccounts.warnings(&obj, None).len(), 1);
        assert!(ServiceAccounts.warnings(&obj, Some(&obj)).is_empty());
    }
}
