//! LimitRanges.

use std::collections::{BTreeSet, HashSet};

use hansa_api::field::{FieldError, child, index, key};
use hansa_api::meta::{as_fields_mut, list_at, map_at, str_at};
use hansa_api::names;
use hansa_api::quantity::Quantity;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::check::{Check, entries};
use super::{cells, resource_names};
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
            let mut kinds = HashSet::new();
            for (at, item) in list_at(obj, &["spec", "limits"]).iter().enumerate() {
                let path = index("spec.limits", at);
                kind(check, &child(&path, "type"), str_at(item, &["type"]));
                if !kinds.insert(str_at(item, &["type"])) {
                    check.duplicate(&child(&path, "type"), str_at(item, &["type"]));
                }
                validate(check, &path, item);
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

    fn allow_create_on_update(&self) -> bool {
        true
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

fn kind(check: &mut Check, path: &str, kind: &str) {
    let complaints = names::qualified_name(kind);
    let standard = ["Pod", "Container", "PersistentVolumeClaim"];
    if complaints.is_empty() && !kind.contains('/') && !standard.contains(&kind) {
        return check.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
    check.text(path, kind, complaints);
}

fn validate(check: &mut Check, path: &str, item: &Value) {
    let kind = str_at(item, &["type"]);
    let mut lists = vec!["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    if kind == "Pod" {
        for list in ["default", "defaultRequest"] {
            if entries(item, &[list]).next().is_some() {
                check.forbidden(&child(path, list), "may not be specified when `type` is 'Pod'");
            }
        }
        lists.retain(|list| !list.starts_with("default"));
    }
    let mut resources = BTreeSet::new();
    for list in lists {
        for (name, _) in entries(item, &[list]) {
            let path = key(&child(path, list), name);
            match kind {
                "Pod" | "Container" => resource_names::container(check, &path, name),
                _ => resource_names::any(check, &path, name),
            }
            resources.insert(name.as_str());
        }
    }
    let bounds = |list: &str| item[list].get("storage").is_some();
    if kind == "PersistentVolumeClaim" && !bounds("min") && !bounds("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        check.required(&child(path, "limits"), why);
    }
    for name in resources {
        amounts(check, path, item, name);
    }
}

/// What the message says about two amounts, and where: the smaller one, the larger one, and which
/// of the two is shown.
const ORDER: [(&str, &str, &str, &str); 6] = [
    ("min", "max", "min", "min"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest"),
    ("min", "default", "default", "min"),
    ("default", "max", "default", "max"),
];

fn amounts(check: &mut Check, path: &str, item: &Value, name: &str) {
    let pod = str_at(item, &["type"]) == "Pod";
    let amount = |list: &str| -> Option<Quantity> {
        map_at(item, &[list]).filter(|_| !pod || !list.starts_with("default"))?.get(name)?;
        item[list][name].as_str()?.parse().ok()
    };
    let shown = |list: &str| item[list][name].clone();
    for (low, high, place, value) in ORDER {
        let (Some(less), Some(more)) = (amount(low), amount(high)) else { continue };
        if less > more {
            let (low, high) = (called(low, high), called(high, low));
            let why = format!("{low} value {less} is greater than {high} value {more}");
            check.invalid(&key(&child(path, place), name), shown(value), &why);
        }
    }
    ratio(check, path, name, &[amount("min"), amount("max"), amount("maxLimitRequestRatio")]);
    let (limit, request) = (amount("default"), amount("defaultRequest"));
    if let (Some(limit), Some(request)) = (limit, request)
        && !resource_names::may_overcommit(name)
        && limit != request
    {
        let why =
            format!("default value {limit} must equal to defaultRequest value {request} in {name}");
        let place = key(&child(path, "defaultRequest"), name);
        check.invalid(&place, shown("defaultRequest"), &why);
    }
}

/// Upstream's words for a list, next to another.
fn called(list: &str, other: &str) -> &'static str {
    match (list, other) {
        ("min", _) => "min",
        ("max", _) => "max",
        ("defaultRequest", _) => "default request",
        (_, "defaultRequest") => "default limit",
        _ => "default",
    }
}

fn ratio(check: &mut Check, path: &str, name: &str, amounts: &[Option<Quantity>; 3]) {
    let [min, max, Some(ratio)] = amounts else { return };
    let path = key(&child(path, "maxLimitRequestRatio"), name);
    if *ratio < Quantity::from_units(1) {
        check.invalid(&path, ratio.to_string(), &format!("ratio {ratio} is less than 1"));
    }
    let (Some(min), Some(max)) = (min, max) else { return };
    #[allow(clippy::cast_precision_loss)]
    let [least, most, asked] = [min, max, ratio].map(|amount| amount.milli_value() as f64);
    let possible = most / least;
    if asked / 1000.0 > possible {
        let why = format!("ratio {ratio} is greater than max/min = {possible:.6}");
        check.invalid(&path, ratio.to_string(), &why);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn range(item: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "l"}, "spec": {"limits": [item]}});
        LimitRanges.default(&mut obj);
        obj
    }

    #[test]
    fn mistakes_are_named() {
        let good = range(json!({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}));
        assert_eq!(texts(&LimitRanges.validate_create(&good)), [""; 0]);
        let cases = [
            (
                json!({"type": "Other"}),
                "spec.limits[0].type: Invalid value: \"Other\": must be a standard limit type or \
                 fully qualified",
            ),
            (
                json!({"type": "Pod", "default": {"cpu": "1"}}),
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            ),
            (
                json!({"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}),
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max \
                 value 1",
            ),
            (
                json!({"type": "Container", "defaultRequest": {"cpu": "2"},
                    "default": {"cpu": "1"}}),
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value \
                 2 is greater than default limit value 1",
            ),
            (
                json!({"type": "PersistentVolumeClaim"}),
                "spec.limits[0].limits: Required value: either minimum or maximum storage value \
                 is required, but neither was provided",
            ),
            (
                json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"},
                    "maxLimitRequestRatio": {"cpu": "3"}}),
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is \
                 greater than max/min = 2.000000",
            ),
            (
                json!({"type": "Container", "max": {"pods": "1"}}),
                "spec.limits[0].max[pods]: Invalid value: \"pods\": must be a standard resource \
                 for containers",
            ),
        ];
        for (item, error) in cases {
            let found = texts(&LimitRanges.validate_create(&range(item)));
            assert!(found.contains(&error.to_owned()), "{error}: {found:?}");
        }
    }

    #[test]
    fn each_type_comes_once() {
        let obj = json!({"spec": {"limits": [{"type": "Pod"}, {"type": "Pod"}]}});
        refuses(&LimitRanges, [(obj, "spec.limits[1].type: Duplicate value: \"Pod\"")]);
    }
}
