//! Whether a CustomResourceDefinition's schema is structural: its shape is said in one place, and
//! `allOf` and its like only add conditions to it.

use regex::Regex;
use serde_json::{Value, json};

use super::nested;
use crate::field::{FieldError, child, index, key};

/// Where in a schema a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps a schema from being structural; `path` is the schema's own in its definition.
pub fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    invariants(schema, Level::Root, path, &mut errors);
    nested::complete(schema, schema, path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

/// Whether a field of a schema says anything.
pub(super) fn has(schema: &Value, name: &str) -> bool {
    match schema.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty() || matches!(name, "items" | "not"),
        Some(_) => true,
    }
}

/// The children of `properties`, with their paths.
pub(super) fn properties<'a>(
    schema: &'a Value,
    path: &str,
) -> impl Iterator<Item = (&'a String, &'a Value, String)> {
    let at = child(path, "properties");
    let all = schema["properties"].as_object().into_iter().flatten();
    all.map(move |(name, property)| (name, property, key(&at, name)))
}

fn invariants(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    children(schema, level, path, errors);
    extensions(schema, path, errors);
    conditions(schema, path, errors);
    types(schema, level, path, errors);
    type_fields(schema, level, path, errors);
}

fn children(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let items = schema.get("items").filter(|items| items.is_object());
    if schema["type"] == "array" && items.is_none() {
        errors.push(FieldError::required(child(path, "items"), "must be specified"));
    }
    if let Some(items) = items {
        invariants(items, Level::Item, &child(path, "items"), errors);
    }
    for (_, property, at) in properties(schema, path) {
        invariants(property, Level::Field, &at, errors);
    }
    let more = schema.get("additionalProperties").filter(|more| !more.is_null());
    let Some(more) = more else { return };
    let at = child(path, "additionalProperties");
    if level == Level::Root {
        errors.push(FieldError::forbidden(&at, "must not be used at the root"));
    }
    if more.is_object() {
        invariants(more, Level::Field, &at, errors);
    }
}

fn extensions(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !has(schema, "x-kubernetes-int-or-string") {
        return;
    }
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if has(schema, name) {
            let why = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(child(path, name), true, why));
        }
    }
}

/// The conditions: `anyOf` and its like, and the pattern. What says that a field is an integer or
/// a string may stand in the first `anyOf`.
fn conditions(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    if schema["anyOf"] != either {
        nested::check_all(schema, "anyOf", path, errors);
    }
    for (at, one) in schema["allOf"].as_array().into_iter().flatten().enumerate() {
        let place = index(&child(path, "allOf"), at);
        let loose = at == 0 && one["anyOf"] == either;
        nested::check(one, &place, loose, errors);
    }
    nested::check_all(schema, "oneOf", path, errors);
    if let Some(not) = schema.get("not").filter(|not| not.is_object()) {
        nested::check(not, &child(path, "not"), false, errors);
    }
    pattern(schema, path, errors);
}

pub(super) fn pattern(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(pattern) = schema["pattern"].as_str() else { return };
    if let Err(error) = Regex::new(pattern) {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let detail = format!(
            "must be a valid regular expression, but isn't: error parsing regexp: {why}: \
             `{pattern}`"
        );
        errors.push(FieldError::invalid(child(path, "pattern"), pattern, detail));
    }
}

fn types(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let at = child(path, "type");
    let kind = schema["type"].as_str().unwrap_or_default();
    let free = has(schema, "x-kubernetes-int-or-string")
        || has(schema, "x-kubernetes-preserve-unknown-fields");
    if has(schema, "x-kubernetes-embedded-resource") && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match kind {
            "" => FieldError::required(at.clone(), why),
            other => FieldError::invalid(at.clone(), other, why),
        });
    } else if kind.is_empty() && !free {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(at.clone(), why));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(at, kind, "must be object at the root"));
    }
}

/// `apiVersion`, `kind` and `metadata`, where a whole object stands.
fn type_fields(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let embedded = has(schema, "x-kubernetes-embedded-resource");
    let whole = level == Level::Root || embedded;
    if embedded && !schema["additionalProperties"].is_null() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(child(path, "additionalProperties"), why));
    }
    for (name, property, at) in properties(schema, path) {
        match name.as_str() {
            "kind" | "apiVersion" if whole && property["type"] != "string" => {
                let found = property["type"].as_str().unwrap_or_default();
                errors.push(FieldError::invalid(child(&at, "type"), found, "must be string"));
            }
            "metadata" => metadata(property, whole, level, &at, errors),
            _ => {}
        }
    }
    let empty = properties(schema, path).next().is_none();
    if embedded && empty && !has(schema, "x-kubernetes-preserve-unknown-fields") {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                   x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(child(path, "properties"), why));
    }
}

/// At the root only the names may be restricted.
fn metadata(schema: &Value, whole: bool, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    if whole && schema["type"] != "object" {
        let found = schema["type"].as_str().unwrap_or_default();
        errors.push(FieldError::invalid(child(path, "type"), found, "must be object"));
    }
    let allowed = |name: &str| matches!(name, "type" | "default");
    let fields = schema.as_object().into_iter().flatten();
    let other = fields.filter(|(name, _)| !allowed(name) && has(schema, name));
    let only_names = |fields: &Value| {
        let names = fields.as_object().into_iter().flatten();
        names.into_iter().all(|(name, _)| matches!(name.as_str(), "name" | "generateName"))
    };
    let strange = other.into_iter().any(|(name, value)| name != "properties" || !only_names(value));
    if level == Level::Root && strange {
        let why = "must not specify anything other than name and generateName, but metadata is \
                   implicitly specified";
        errors.push(FieldError::forbidden(path, why));
    }
}
