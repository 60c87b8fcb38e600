//! The definition's own name, and the names that it claims.

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta;
use hansa_api::names::dns1035_label;
use serde_json::Value;

/// The name is made of the plural and the group.
pub(super) fn validate_name(crd: &Value) -> Vec<FieldError> {
    let plural = meta::str_at(crd, &["spec", "names", "plural"]);
    let group = meta::str_at(crd, &["spec", "group"]);
    if meta::name(crd) == format!("{plural}.{group}") {
        return Vec::new();
    }
    let why = "must be spec.names.plural+\".\"+spec.group";
    vec![FieldError::invalid("metadata.name", meta::name(crd), why)]
}

/// `spec.names`.
pub(super) fn validate(names: &Value, path: &str) -> Vec<FieldError> {
    let text = |field: &str| meta::str_at(names, &[field]);
    let mut errors = Vec::new();
    for field in ["plural", "singular", "kind", "listKind"] {
        if text(field).is_empty() {
            errors.push(FieldError::required(child(path, field), ""));
        }
    }
    for field in ["plural", "singular"] {
        errors.extend(label(text(field), text(field), &child(path, field), ""));
    }
    for field in ["kind", "listKind"] {
        let lower = text(field).to_lowercase();
        let mixed = "may have mixed case, but should otherwise match: ";
        errors.extend(label(&lower, text(field), &child(path, field), mixed));
    }
    errors.extend(labels(names, "shortNames", path));
    if !text("kind").is_empty() && text("kind") == text("listKind") {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(child(path, "listKind"), text("listKind"), why));
    }
    errors.extend(labels(names, "categories", path));
    errors
}

fn labels(names: &Value, field: &str, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, name) in meta::list_at(names, &[field]).iter().enumerate() {
        let text = name.as_str().unwrap_or_default();
        let why = dns1035_label(text);
        if !why.is_empty() {
            let at = index(&child(path, field), at);
            errors.push(FieldError::invalid(at, text, why.join(",")));
        }
    }
    errors
}

fn label(checked: &str, shown: &str, path: &str, prefix: &str) -> Option<FieldError> {
    let why = dns1035_label(checked);
    if checked.is_empty() || why.is_empty() {
        return None;
    }
    Some(FieldError::invalid(path, shown, format!("{prefix}{}", why.join(","))))
}
