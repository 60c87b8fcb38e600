//! `allOf`, `anyOf`, `oneOf` and `not`: they add conditions to a shape that is said outside.

use serde_json::Value;

use super::check::{has, pattern, properties};
use crate::field::{FieldError, child, index, key};

/// What only says a shape, and the word for how it has to be instead.
const SHAPE: [(&str, &str); 12] = [
    ("type", "empty"),
    ("additionalProperties", "undefined"),
    ("default", "undefined"),
    ("title", "empty"),
    ("description", "empty"),
    ("nullable", "false"),
    ("x-kubernetes-preserve-unknown-fields", "false"),
    ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"),
];

/// Checks every schema of a list such as `anyOf`.
pub(super) fn check_all(schema: &Value, name: &str, path: &str, errors: &mut Vec<FieldError>) {
    for (at, one) in schema[name].as_array().into_iter().flatten().enumerate() {
        check(one, &index(&child(path, name), at), false, errors);
    }
}

/// Checks a nested schema; `loose` lets its `anyOf` say integer or string.
pub(super) fn check(schema: &Value, path: &str, loose: bool, errors: &mut Vec<FieldError>) {
    if !loose {
        check_all(schema, "anyOf", path, errors);
    }
    check_all(schema, "allOf", path, errors);
    check_all(schema, "oneOf", path, errors);
    for name in ["not", "items"] {
        if let Some(inner) = schema.get(name).filter(|inner| inner.is_object()) {
            check(inner, &child(path, name), false, errors);
        }
    }
    pattern(schema, path, errors);
    for (_, property, at) in properties(schema, path) {
        check(property, &at, false, errors);
    }
    for (name, wanted) in SHAPE.iter().filter(|(name, _)| has(schema, name)) {
        let why = format!("must be {wanted} to be structural");
        errors.push(FieldError::forbidden(child(path, name), why));
    }
    if has(schema, "x-kubernetes-validations") {
        let at = child(path, "x-kubernetes-validations");
        errors.push(FieldError::forbidden(at, "must be empty to be structural"));
    }
    if schema["properties"].get("metadata").is_some() {
        let at = key(&child(path, "properties"), "metadata");
        errors.push(FieldError::forbidden(at, "must not be specified in a nested context"));
    }
}

/// Everything that a condition names has to be in the shape. `at` is where in the shape, `from`
/// where in the condition.
pub(super) fn complete(
    condition: &Value,
    shape: &Value,
    at: &str,
    from: &str,
    errors: &mut Vec<FieldError>,
) {
    for name in ["allOf", "anyOf", "oneOf"] {
        for (place, one) in condition[name].as_array().into_iter().flatten().enumerate() {
            let from = index(&child(from, name), place);
            complete_nested(one, Some(shape), at, &from, errors);
        }
    }
    if let Some(not) = condition.get("not").filter(|not| not.is_object()) {
        complete_nested(not, Some(shape), at, &child(from, "not"), errors);
    }
}

fn complete_nested(
    condition: &Value,
    shape: Option<&Value>,
    at: &str,
    from: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(shape) = shape else {
        let why = format!("because it is defined in {from}");
        errors.push(FieldError::required(at, why));
        return;
    };
    complete(condition, shape, at, from, errors);
    if let Some(items) = condition.get("items").filter(|items| items.is_object()) {
        let known = shape.get("items").filter(|items| items.is_object());
        complete_nested(items, known, &child(at, "items"), &child(from, "items"), errors);
    }
    for (name, property, from) in properties(condition, from) {
        let at = key(&child(at, "properties"), name);
        complete_nested(property, shape["properties"].get(name), &at, &from, errors);
    }
}
