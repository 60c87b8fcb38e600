//! LimitRanges.

use hansa_api::field::FieldError;
use hansa_api::meta::{as_fields_mut, list_at, map_at, str_at};
use hansa_api::quantity::Quantity;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::cells;
use super::check::{Check, entries};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "LimitRange", "limitranges").namespaced().short(&["limits"])
}

/// The strategy of LimitRanges.
pub(super) struct LimitRanges;

impl Strategy for LimitRanges {
    fn default(&self, obj: &mut Value) {
        let limits = obj.pointer_mut("/spec/limits").and_then(Value::as_array_mut);
        for item in limits.into_iter().flatten() {
            if str_at(item, &["type"]) == "Container" {
                default_item(item);
            }
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for (at, item) in list_at(obj, &["spec", "limits"]).iter().enumerate() {
                validate(check, &format!("spec.limits[{at}]"), item);
            }
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::of("Created At", "date", "When it was created.", 0)]
    }

    fn row(&self, obj: &Value, _: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), cells::created_at(obj)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

/// Limits default to the maximum, requests to the limits or else to the minimum.
fn default_item(item: &mut Value) {
    let amounts = |item: &Value, list: &str| map_at(item, &[list]).cloned().unwrap_or_default();
    let mut limits = amounts(item, "default");
    fill(&mut limits, amounts(item, "max"));
    let mut requests = amounts(item, "defaultRequest");
    fill(&mut requests, limits.clone());
    fill(&mut requests, amounts(item, "min"));
    let fields = as_fields_mut(item);
    for (name, amounts) in [("default", limits), ("defaultRequest", requests)] {
        if !amounts.is_empty() {
            fields.insert(name.into(), amounts.into());
        }
    }
}

fn fill(amounts: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, amount) in from {
        amounts.entry(name).or_insert(amount);
    }
}

fn validate(check: &mut Check, path: &str, item: &Value) {
    if str_at(item, &["type"]).is_empty() {
        check.required(&format!("{path}.type"), "");
    }
    let amount = |list: &str, name: &str| -> Option<Quantity> {
        map_at(item, &[list])?.get(name)?.as_str()?.parse().ok()
    };
    for (list, above) in [
        ("min", "max"),
        ("min", "default"),
        ("min", "defaultRequest"),
        ("defaultRequest", "default"),
        ("default", "max"),
        ("defaultRequest", "max"),
    ] {
        for (name, value) in entries(item, &[list]) {
            let (Some(low), Some(high)) = (amount(list, name), amount(above, name)) else {
                continue;
            };
            if low > high {
                let text = value.as_str().unwrap_or_default();
                let why = format!("{list} value {low} is greater than {above} value {high}");
                check.invalid(&format!("{path}.{list}[{name}]"), text, &why);
            }
        }
    }
}
