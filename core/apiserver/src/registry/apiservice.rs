//! APIServices: for reading only; there is no aggregation layer.

use hansa_api::meta::{at, list_at, str_at};
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("apiregistration.k8s.io", "v1", "APIService", "apiservices")
        .categories(&["api-extensions"])
        .verbs(&["get", "list", "watch"])
}

/// The strategy of APIServices.
pub(super) struct ApiServices;

impl Strategy for ApiServices {
    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Service", "Who serves it."),
            Column::new("Available", "Whether that answers."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let service = at(obj, &["spec", "service"]).map_or_else(
            || "Local".to_owned(),
            |service| format!("{}/{}", str_at(service, &["namespace"]), str_at(service, &["name"])),
        );
        let mut conditions = list_at(obj, &["status", "conditions"]).iter();
        let available = conditions.find(|condition| str_at(condition, &["type"]) == "Available");
        let available = available.map_or("Unknown", |condition| str_at(condition, &["status"]));
        vec![cells::name(obj), service.into(), available.into(), cells::age(obj, now)]
    }
}
