//! How lists and maps are merged: `x-kubernetes-list-type`, `-list-map-keys`, `-map-type`.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, key};
use serde_json::Value;

const LIST: &str = "x-kubernetes-list-type";
const KEYS: &str = "x-kubernetes-list-map-keys";
const MAP: &str = "x-kubernetes-map-type";

/// What is wrong with how a node is merged.
pub(super) fn validate(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let at = child(path, "x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(at, false, "must be true or undefined"));
    }
    if let Some(kind) = schema[MAP].as_str() {
        errors.extend(wants_type(schema, path, "object", MAP));
        if !matches!(kind, "atomic" | "granular") {
            let known = ["atomic", "granular"];
            errors.push(FieldError::not_supported(child(path, MAP), kind, &known));
        }
    }
    let list = schema[LIST].as_str();
    if list.is_some() {
        let wrong = wants_type(schema, path, "array", LIST);
        let fits = wrong.is_none();
        errors.extend(wrong);
        if fits && list == Some("set") {
            errors.extend(set_items(&schema["items"], &child(path, "items")));
        }
    }
    if let Some(kind) = list.filter(|kind| !matches!(*kind, "atomic" | "set" | "map")) {
        let known = ["atomic", "set", "map"];
        errors.push(FieldError::not_supported(child(path, LIST), kind, &known));
    }
    errors.extend(map_keys(schema, path, list));
    errors.extend(usable_keys(schema, path, list));
    errors
}

fn wants_type(schema: &Value, path: &str, wanted: &str, name: &str) -> Option<FieldError> {
    let at = child(path, "type");
    let why = format!("must be {wanted} if {name} is specified");
    match schema["type"].as_str().unwrap_or_default() {
        kind if kind == wanted => None,
        "" => Some(FieldError::required(at, why)),
        other => Some(FieldError::invalid(at, other, why)),
    }
}

/// What is in a set is compared as a whole.
fn set_items(items: &Value, path: &str) -> Option<FieldError> {
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    match items["type"].as_str()? {
        "array" => {
            let kind = items[LIST].as_str().filter(|kind| *kind != "atomic")?;
            Some(FieldError::invalid(child(path, LIST), kind, why))
        }
        "object" if items[MAP] != "atomic" => {
            Some(FieldError::invalid(child(path, MAP), items[LIST].clone(), why))
        }
        _ => None,
    }
}

fn map_keys(schema: &Value, path: &str, list: Option<&str>) -> Vec<FieldError> {
    let keys = schema[KEYS].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut errors = Vec::new();
    let why = "must be map if x-kubernetes-list-map-keys is non-empty";
    match list {
        None if !keys.is_empty() => errors.push(FieldError::required(child(path, LIST), why)),
        Some(other) if other != "map" && !keys.is_empty() => {
            errors.push(FieldError::invalid(child(path, LIST), other, why));
        }
        _ => {}
    }
    if list != Some("map") {
        return errors;
    }
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(child(path, KEYS), why));
    }
    let items = &schema["items"];
    let at = child(path, "items");
    if items.is_null() {
        let why = "must have a schema if x-kubernetes-list-type is map";
        errors.push(FieldError::required(at, why));
    } else if items["type"] != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        let found = items["type"].as_str().unwrap_or_default();
        errors.push(FieldError::invalid(child(&at, "type"), found, why));
    } else {
        errors.extend(known_keys(keys, items, path));
    }
    errors
}

fn known_keys(keys: &[Value], items: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    let list = |why: &str| FieldError::invalid(child(path, KEYS), keys.to_vec(), why);
    for name in keys.iter().filter_map(Value::as_str) {
        match items["properties"].get(name) {
            None => errors.push(list("entries must all be names of item properties")),
            Some(property) if matches!(property["type"].as_str(), Some("array" | "object")) => {
                let at = child(&key(&format!("{path}.items.properties"), name), "type");
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(FieldError::invalid(at, items["type"].clone(), why));
            }
            Some(_) => {}
        }
        if !seen.insert(name) {
            errors.push(list("must not contain duplicate entries"));
        }
    }
    errors
}

/// Keys always have a value, and elements are never null.
fn usable_keys(schema: &Value, path: &str, list: Option<&str>) -> Vec<FieldError> {
    let items = &schema["items"];
    let mut errors = Vec::new();
    let Some(kind @ ("set" | "map")) = list.filter(|_| items.is_object()) else { return errors };
    if items["nullable"] == true {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(FieldError::forbidden(format!("{path}.items.nullable"), why));
    }
    if kind == "set" {
        return errors;
    }
    let required = items["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for name in schema[KEYS].as_array().into_iter().flatten() {
        let text = name.as_str().unwrap_or_default();
        let Some(property) = items["properties"].get(text) else { continue };
        let at = key(&format!("{path}.items.properties"), text);
        let given = required.contains(name) || !property["default"].is_null();
        if !given {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or \
                       be a required property";
            errors.push(FieldError::required(child(&at, "default"), why));
        }
        if property["nullable"] == true {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(child(&at, "nullable"), why));
        }
    }
    errors
}
