//! ResourceQuotas.

use hansa_api::field::FieldError;
use hansa_api::meta::map_at;
use hansa_api::names;
use hansa_api::quantity::Quantity;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::{Check, entries};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "ResourceQuota", "resourcequotas")
        .namespaced()
        .short(&["quota"])
        .status()
}

/// The strategy of ResourceQuotas.
pub(super) struct ResourceQuotas;

impl Strategy for ResourceQuotas {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for (name, amount) in entries(obj, &["spec", "hard"]) {
                let path = format!("spec.hard[{name}]");
                check.text(&path, name, names::qualified_name(name));
                let text = amount.as_str().unwrap_or_default();
                if text.parse::<Quantity>().is_ok_and(|amount| amount.is_negative()) {
                    check.invalid(&path, text, "must be greater than or equal to 0");
                }
            }
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Request", "Requests and counts used, of those allowed."),
            Column::new("Limit", "Limits used, of those allowed."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let used = map_at(obj, &["status", "used"]);
        for (name, hard) in entries(obj, &["status", "hard"]) {
            let used = used.and_then(|used| used.get(name)).and_then(Value::as_str).unwrap_or("0");
            let text = format!("{name}: {used}/{}", hard.as_str().unwrap_or_default());
            match name.starts_with("limits.") {
                true => limits.push(text),
                false => requests.push(text),
            }
        }
        let joined = |texts: Vec<String>| Value::from(texts.join(", "));
        vec![cells::name(obj), joined(requests), joined(limits), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}
