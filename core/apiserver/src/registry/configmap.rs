//! ConfigMaps.

use hansa_api::field::FieldError;
use hansa_api::meta::{bool_at, map_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::{Check, entries};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

/// Most bytes that a ConfigMap or a Secret may hold.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

const FROZEN: &str = "field is immutable when `immutable` is set";

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "ConfigMap", "configmaps").namespaced().short(&["cm"])
}

/// The strategy of ConfigMaps.
pub(super) struct ConfigMaps;

impl Strategy for ConfigMaps {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(obj);
        errors.extend(Check::run(|check| frozen(check, obj, old, &["data", "binaryData"])));
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::of("Data", "string", "How many keys it holds.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let count = |field| map_at(obj, &[field]).map_or(0, |map| map.len());
        let keys = count("data") + count("binaryData");
        vec![cells::name(obj), keys.into(), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

fn validate(check: &mut Check, obj: &Value) {
    let mut size = 0;
    let binary = map_at(obj, &["binaryData"]);
    for (key, value) in entries(obj, &["data"]) {
        let path = format!("data[{key}]");
        check.text(&path, key, names::config_map_key(key));
        if binary.is_some_and(|binary| binary.contains_key(key)) {
            check.invalid(&path, key.as_str(), "duplicate of key present in binaryData");
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in entries(obj, &["binaryData"]) {
        check.text(&format!("binaryData[{key}]"), key, names::config_map_key(key));
        size += value.as_str().map_or(0, decoded_len);
    }
    if size > MAX_BYTES {
        check.add(FieldError::too_long("", MAX_BYTES));
    }
}

/// How many bytes a base64 text stands for.
pub(super) fn decoded_len(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// What `immutable: true` forbids: to unset it, and to change these fields.
pub(super) fn frozen(check: &mut Check, obj: &Value, old: &Value, fields: &[&str]) {
    if !bool_at(old, &["immutable"]) {
        return;
    }
    if !bool_at(obj, &["immutable"]) {
        check.forbidden("immutable", FROZEN);
    }
    for field in fields.iter().filter(|field| obj.get(**field) != old.get(**field)) {
        check.forbidden(field, FROZEN);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::texts;

    #[test]
    fn keys_and_sizes_are_checked() {
        let bad = json!({"data": {"a/b": "x"}});
        let found = texts(&ConfigMaps.validate_create(&bad));
        assert!(
            found[0].starts_with(r#"data[a/b]: Invalid value: "a/b": a valid config key must"#)
        );
        let large = json!({"data": {"a": "x".repeat(MAX_BYTES + 1)}});
        let found = texts(&ConfigMaps.validate_create(&large));
        assert_eq!(found, [": Too long: may not be more than 1048576 bytes"]);
    }

    #[test]
    fn immutable_ones_stay() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let found = texts(&ConfigMaps.validate_update(&json!({"data": {"a": "2"}}), &old));
        assert_eq!(
            found,
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
        assert!(ConfigMaps.validate_update(&old, &old).is_empty());
    }
}
