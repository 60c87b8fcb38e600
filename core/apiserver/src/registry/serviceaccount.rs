//! ServiceAccounts.

use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

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
    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::of("Secrets", "string", "How many it names.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let secrets = hansa_api::meta::list_at(obj, &["secrets"]).len();
        vec![cells::name(obj), secrets.into(), cells::age(obj, now)]
    }
}
