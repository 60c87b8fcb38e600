//! One device of a slice: attributes, capacities, taints, counters.

use hansa_api::field::{FieldError, child, index, key};
use hansa_api::meta::{at, bool_at, list_at, map_at, str_at};
use hansa_api::names as api_names;
use hansa_api::quantity::Quantity;
use regex::Regex;
use serde_json::Value;

use super::request::{EFFECTS, binding_conditions};
use super::slice::counter_count;
use super::{list, names, set};
use crate::registry::check::{Check, entries};
use crate::registry::node_selector;

const MAX_FEATURES: usize = 32;
const MAX_VALUE: usize = 64;
const MAX_TAINTS: usize = 16;
const MAX_CONSUMED: usize = 2;
const MAX_COUNTERS: usize = 32;
const MAX_CHOICES: usize = 10;
const PER_DEVICE: &str = "`perDeviceNodeSelection` is set to true in the ResourceSlice spec";
const SEMVER: &str = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$";

/// A device, and what it was before.
pub(super) fn validate(
    check: &mut Check,
    path: &str,
    device: &Value,
    old: Option<&Value>,
    per_device: bool,
) {
    names::label(check, &child(path, "name"), str_at(device, &["name"]));
    let count = |field: &str| entries(device, &[field]).count();
    let features = count("attributes") + count("capacity");
    if features > MAX_FEATURES {
        let why =
            format!("the total number of attributes and capacities must not exceed {MAX_FEATURES}");
        check.invalid(path, features, &why);
    }
    for (name, attribute) in entries(device, &["attributes"]) {
        let path = child(path, "attributes");
        names::qualified(check, &path, name);
        validate_attribute(check, &key(&path, name), attribute);
    }
    let shared = bool_at(device, &["allowMultipleAllocations"]);
    for (name, capacity) in entries(device, &["capacity"]) {
        let path = child(path, "capacity");
        names::qualified(check, &path, name);
        validate_capacity(check, &key(&path, name), capacity, shared);
    }
    let taints = list_at(device, &["taints"]);
    if old.is_none_or(|old| list_at(old, &["taints"]) != taints) {
        list(check, &child(path, "taints"), taints, MAX_TAINTS, validate_taint);
    }
    let consumed = list_at(device, &["consumesCounters"]);
    let set_name = |one: &Value| one["counterSet"].clone();
    let path_of = child(path, "consumesCounters");
    set(check, &path_of, consumed, MAX_CONSUMED, consumption, set_name);
    place(check, path, device, per_device);
    binding_conditions(check, path, device);
}

fn validate_attribute(check: &mut Check, path: &str, attribute: &Value) {
    let kinds = ["bool", "int", "string", "version"];
    let text = |field: &str| attribute[field].as_str();
    if let Some(value) = text("string") {
        short(check, &child(path, "string"), value);
    }
    if let Some(value) = text("version") {
        let path = child(path, "version");
        if !Regex::new(SEMVER).is_ok_and(|pattern| pattern.is_match(value)) {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            check.invalid(&path, value, why);
        }
        short(check, &path, value);
    }
    match kinds.iter().filter(|kind| at(attribute, &[kind]).is_some()).count() {
        0 => check.invalid(path, "", "exactly one value must be specified"),
        1 => {}
        _ => check.invalid(path, attribute.clone(), "exactly one value must be specified"),
    }
}

fn short(check: &mut Check, path: &str, value: &str) {
    if value.len() > MAX_VALUE {
        check.add(FieldError::too_long(path, MAX_VALUE));
    }
}

fn validate_capacity(check: &mut Check, path: &str, capacity: &Value, shared: bool) {
    let Some(policy) = at(capacity, &["requestPolicy"]) else { return };
    let path = child(path, "requestPolicy");
    if !shared {
        return check.forbidden(&path, "allowMultipleAllocations must be true");
    }
    let total = quantity(&capacity["value"]).unwrap_or_default();
    let choices = list_at(policy, &["validValues"]);
    let range = at(policy, &["validRange"]);
    let default = quantity(&policy["default"]);
    match (choices.is_empty(), range, default) {
        (false, Some(_), _) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \
                       \"validRange\" at the same time";
            check.forbidden(&path, why);
        }
        (false, None, None) => {
            check.required(&child(&path, "default"), "required when validValues is defined");
        }
        (true, Some(_), None) => {
            check.required(&child(&path, "default"), "required when validRange is defined");
        }
        (false, None, Some(default)) => {
            validate_choices(check, &child(&path, "validValues"), choices, default, total);
        }
        (true, Some(range), Some(default)) => {
            validate_range(check, &child(&path, "validRange"), range, default, total);
        }
        (true, None, _) => {}
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}

fn validate_choices(
    check: &mut Check,
    path: &str,
    choices: &[Value],
    default: Quantity,
    total: Quantity,
) {
    let amounts: Vec<_> = choices.iter().filter_map(quantity).collect();
    for (at, pair) in amounts.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let why = "values must be sorted in ascending order";
        check.invalid(&index(path, at + 1), pair[1].to_string(), why);
    }
    let validate = |check: &mut Check, path: &str, choice: &Value| {
        let amount = quantity(choice).unwrap_or_default();
        if amount > total {
            let why = format!("option is larger than capacity value: {total}");
            check.invalid(path, amount.to_string(), &why);
        }
    };
    let units = |choice: &Value| quantity(choice).unwrap_or_default().value().to_string().into();
    set(check, path, choices, MAX_CHOICES, validate, units);
    if !amounts.contains(&default) {
        let why = "default value is not valid according to the requestPolicy";
        check.invalid(path, default.to_string(), why);
    }
}

fn validate_range(
    check: &mut Check,
    path: &str,
    range: &Value,
    default: Quantity,
    total: Quantity,
) {
    let Some(min) = quantity(&range["min"]) else {
        return check.required(&child(path, "min"), "required when validRange is defined");
    };
    let (max, step) = (quantity(&range["max"]), quantity(&range["step"]));
    let mut over = |field: &str, value: Quantity, limit: Quantity, what: &str| {
        if value > limit {
            check.invalid(&child(path, field), value.to_string(), &format!("{what}: {limit}"));
        }
    };
    over("min", min, total, "min is larger than capacity value");
    if let Some(max) = max {
        over("max", min, max, "min is larger than max");
        over("max", max, total, "max is larger than capacity value");
        over("max", default, max, "default is more than max");
    }
    if default < min {
        let why = format!("default is less than min: {min}");
        check.invalid(&child(path, "min"), default.to_string(), &why);
    }
    if let Some(step) = step {
        let path = child(path, "step");
        let added = min + step;
        if added > total {
            let why = format!("one step {added} is larger than capacity value: {total}");
            check.invalid(&path, step.to_string(), &why);
        }
        for value in [Some(default), max].into_iter().flatten() {
            let steps = (value.value() - min.value()).checked_rem(step.value());
            if steps.is_some_and(|rest| rest != 0) {
                let why = format!("value is not a multiple of a given step ({step}) from ({min})");
                check.invalid(&path, value.to_string(), &why);
            }
        }
    }
}

fn validate_taint(check: &mut Check, path: &str, taint: &Value) {
    let text = |field: &str| (child(path, field), str_at(taint, &[field]));
    let (at_key, name) = text("key");
    check.text(&at_key, name, api_names::qualified_name(name));
    let (at_value, value) = text("value");
    check.optional_text(&at_value, value, api_names::label_value);
    let (at_effect, effect) = text("effect");
    check.one_of(&at_effect, effect, &EFFECTS);
}

fn consumption(check: &mut Check, path: &str, consumption: &Value) {
    let name = str_at(consumption, &["counterSet"]);
    names::required_label(check, &child(path, "counterSet"), name);
    counters(check, path, consumption);
}

/// A set of counters that devices share.
pub(super) fn counter_set(check: &mut Check, path: &str, set: &Value) {
    names::required_label(check, &child(path, "name"), str_at(set, &["name"]));
    counters(check, path, set);
}

fn counters(check: &mut Check, path: &str, holder: &Value) {
    let path = child(path, "counters");
    match counter_count(holder) {
        0 => check.required(&path, ""),
        count if count > MAX_COUNTERS => {
            check.add(FieldError::too_many(&path, count, MAX_COUNTERS));
        }
        _ => {
            for (name, _) in map_at(holder, &["counters"]).into_iter().flatten() {
                names::label(check, &path, name);
            }
        }
    }
}

/// Where the device is, if its slice leaves that to it.
fn place(check: &mut Check, path: &str, device: &Value, per_device: bool) {
    let (selector, all) = (at(device, &["nodeSelector"]), at(device, &["allNodes"]));
    let name = device["nodeName"].as_str();
    if !per_device {
        if selector.is_some() || all.is_some() || name.is_some() {
            let why = format!(
                "`nodeName`, `nodeSelector` and `allNodes` can only be set if {PER_DEVICE}"
            );
            check.invalid(path, Value::Null, &why);
        }
        return;
    }
    let mut places = Vec::new();
    match name {
        Some("") => check.invalid(&child(path, "nodeName"), "", "must not be empty"),
        Some(name) => {
            places.push("`nodeName`");
            let path = child(path, "nodeName");
            check.text(&path, name, api_names::dns1123_subdomain(name));
        }
        None => {}
    }
    if let Some(selector) = selector {
        places.push("`nodeSelector`");
        node_selector::validate(check, &child(path, "nodeSelector"), selector);
    }
    match all {
        Some(Value::Bool(true)) => places.push("`allNodes`"),
        Some(value) => {
            let why = "must be either unset or set to true";
            check.invalid(&child(path, "allNodes"), value.clone(), why);
        }
        None => {}
    }
    let why = format!(
        "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when {PER_DEVICE}"
    );
    match places.len() {
        0 => check.required(path, &why),
        1 => {}
        _ => check.invalid(path, format!("{{{}}}", places.join(", ")), &why),
    }
}
