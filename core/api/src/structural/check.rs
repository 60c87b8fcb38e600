//! Whether a CustomResourceDefinition's schema is structural itself.

use regex::Regex;
use serde_json::Value;

use super::{JsonType, Structural};
use crate::field::{self, FieldError};

/// Keys that only describe structure and may not stand inside `allOf` and its like.
const STRUCTURE: [&str; 8] = [
    "type",
    "default",
    "nullable",
    "additionalProperties",
    "title",
    "description",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
];

/// What keeps a schema from being structural; `path` is the schema's own in its definition.
pub fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match schema["type"].as_str() {
        None | Some("") => {
            let at = field::child(path, "type");
            errors.push(FieldError::required(at, "must not be empty at the root"));
        }
        Some("object") => {}
        Some(other) => {
            let at = field::child(path, "type");
            errors.push(FieldError::invalid(at, other, "must be object at the root"));
        }
    }
    check_node(schema, path, None, &mut errors);
    errors
}

/// `place` says what a node without a type is, none for the root.
fn check_node(schema: &Value, path: &str, place: Option<&str>, errors: &mut Vec<FieldError>) {
    if let Some(place) = place {
        check_type(schema, path, place, errors);
    }
    check_forbidden(schema, path, errors);
    check_lists(schema, path, errors);
    check_pattern(schema, path, errors);
    check_default(schema, path, errors);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        let at = field::key(&field::child(path, "properties"), name);
        check_node(child, &at, Some("specified object fields"), errors);
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        check_node(items, &field::child(path, "items"), Some("specified array items"), errors);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        let at = field::child(path, "additionalProperties");
        check_node(values, &at, Some("specified object fields"), errors);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        let alternatives = schema[name].as_array().into_iter().flatten().enumerate();
        for (index, nested) in alternatives {
            let at = field::index(&field::child(path, name), index);
            let loose = schema["x-kubernetes-int-or-string"] == true;
            check_nested(nested, &at, loose, errors);
        }
    }
    if let Some(not) = schema.get("not").filter(|not| not.is_object()) {
        check_nested(not, &field::child(path, "not"), false, errors);
    }
}

fn check_type(schema: &Value, path: &str, place: &str, errors: &mut Vec<FieldError>) {
    let at = field::child(path, "type");
    let free = schema["x-kubernetes-int-or-string"] == true
        || schema["x-kubernetes-preserve-unknown-fields"] == true;
    match schema["type"].as_str().unwrap_or_default() {
        "" if free => {}
        "" => errors.push(FieldError::required(at, format!("must not be empty for {place}"))),
        text if JsonType::parse(text).is_none() => {
            let known = ["array", "boolean", "integer", "number", "object", "string"];
            errors.push(FieldError::not_supported(at, text, &known));
        }
        "array" if !schema["items"].is_object() => {
            errors.push(FieldError::required(field::child(path, "items"), "must be specified"));
        }
        _ => {}
    }
}

fn check_forbidden(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut forbid = |name: &str, why: &str| {
        errors.push(FieldError::forbidden(field::child(path, name), why));
    };
    if schema["uniqueItems"] == true {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        forbid("uniqueItems", why);
    }
    if schema["additionalProperties"] == false {
        forbid("additionalProperties", "additionalProperties cannot be set to false");
    }
    let has = |name: &str| schema.get(name).is_some_and(|value| !value.is_null());
    if has("additionalProperties") && has("properties") {
        forbid("additionalProperties", "additionalProperties and properties are mutual exclusive");
    }
    for name in ["definitions", "dependencies", "patternProperties", "id"] {
        if has(name) {
            forbid(name, &format!("{name} is not supported"));
        }
    }
    if has("$ref") {
        forbid("$ref", "$ref is not supported");
    }
    if schema["x-kubernetes-embedded-resource"] == true && schema["type"] != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        let at = field::child(path, "type");
        errors.push(FieldError::invalid(at, schema["type"].clone(), why));
    }
}

fn check_lists(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let keys = schema["x-kubernetes-list-map-keys"].as_array();
    let at = field::child(path, "x-kubernetes-list-map-keys");
    match schema["x-kubernetes-list-type"].as_str() {
        Some("map") if keys.is_none_or(Vec::is_empty) => {
            let why = "must not be empty if x-kubernetes-list-type is map";
            errors.push(FieldError::required(&at, why));
        }
        Some("map" | "set" | "atomic") | None => {}
        Some(other) => {
            let at = field::child(path, "x-kubernetes-list-type");
            errors.push(FieldError::not_supported(at, other, &["atomic", "map", "set"]));
        }
    }
    let item = &schema["items"];
    for (index, key) in keys.into_iter().flatten().enumerate() {
        let name = key.as_str().unwrap_or_default();
        if item["properties"].get(name).is_none() {
            let why = "entries must all be names of item properties";
            errors.push(FieldError::invalid(field::index(&at, index), key.clone(), why));
        }
    }
}

fn check_pattern(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(pattern) = schema["pattern"].as_str() else { return };
    if let Err(error) = Regex::new(pattern) {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(field::child(path, "pattern"), pattern, detail));
    }
}

/// A default that its own schema refuses would make every object that lacks the field invalid.
fn check_default(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(default) = schema.get("default").filter(|default| !default.is_null()) else { return };
    let at = field::child(path, "default");
    errors.extend(Structural::compile(schema).validate(default, &at));
}

/// Inside `allOf` and its like only value validations may stand.
fn check_nested(schema: &Value, path: &str, int_or_string: bool, errors: &mut Vec<FieldError>) {
    let present =
        |name: &&&str| schema.get(**name).is_some_and(|value| *value != Value::Bool(false));
    for name in STRUCTURE.iter().filter(present) {
        if int_or_string && *name == "type" {
            continue;
        }
        let why = "must be empty to be structural";
        errors.push(FieldError::forbidden(field::child(path, name), why));
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        let at = field::key(&field::child(path, "properties"), name);
        check_nested(child, &at, false, errors);
    }
    if let Some(items) = schema.get("items") {
        check_nested(items, &field::child(path, "items"), false, errors);
    }
}
