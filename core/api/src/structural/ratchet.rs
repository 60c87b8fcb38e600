//! What an update did not touch: old parts are found again through map-like lists.

use serde_json::Value;

use super::{Additional, ListKind, Structural};

impl Structural {
    /// Whether a value is what it was; elements of map-like lists may have moved.
    pub fn unchanged(&self, value: &Value, old: &Value) -> bool {
        unchanged(value, old, Some(self))
    }

    /// The old element that a list's element was, if the list is map-like.
    pub(super) fn old_item<'a>(&self, item: &Value, old: &'a Value) -> Option<&'a Value> {
        match &self.list {
            ListKind::Map(keys) => counterpart(item, old.as_array()?, keys),
            _ => None,
        }
    }

    /// The schema of a field, whether it has a name of its own or not.
    pub fn field(&self, name: &str) -> Option<&Structural> {
        match (self.properties.get(name), &self.additional) {
            (Some(schema), _) => Some(schema),
            (None, Additional::Of(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The schema of a list's elements.
    pub fn item(&self) -> Option<&Structural> {
        self.items.as_deref()
    }

    /// How a list is compared.
    pub fn list_kind(&self) -> &ListKind {
        &self.list
    }

    /// Whether a whole object stands here: it has `apiVersion`, `kind` and `metadata`.
    pub fn is_embedded(&self) -> bool {
        self.embedded
    }
}

/// The element that has the same keys.
pub fn counterpart<'a>(item: &Value, old: &'a [Value], keys: &[String]) -> Option<&'a Value> {
    if !item.is_object() {
        return None;
    }
    old.iter().find(|old| keys.iter().all(|key| old.get(key) == item.get(key)))
}

/// Whether a value is what it was, under a schema or none.
pub fn unchanged(value: &Value, old: &Value, schema: Option<&Structural>) -> bool {
    match (value, old) {
        (Value::Object(fields), Value::Object(before)) => {
            let same = |(name, value): (&String, &Value)| {
                let schema = schema.and_then(|schema| schema.field(name));
                before.get(name).is_some_and(|old| unchanged(value, old, schema))
            };
            fields.len() == before.len() && fields.iter().all(same)
        }
        (Value::Array(items), Value::Array(before)) => {
            let keys = schema.and_then(|schema| match &schema.list {
                ListKind::Map(keys) => Some(keys),
                _ => None,
            });
            let Some(keys) = keys else { return value == old };
            let inner = schema.and_then(Structural::item);
            let same = |item: &Value| {
                counterpart(item, before, keys).is_some_and(|old| unchanged(item, old, inner))
            };
            items.len() == before.len() && items.iter().all(same)
        }
        _ => value == old,
    }
}
