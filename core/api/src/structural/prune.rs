//! Pruning: fields that no schema names go.

use serde_json::Value;

use super::{Additional, Structural};
use crate::field;

/// What every object has, whatever its schema says.
const TYPE_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Structural {
    /// Removes the fields that the schema does not know from a whole object.
    ///
    /// Returns `unknown field "spec.foo"`, one per field that went.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        self.prune_at(object, "", true, &mut unknown);
        unknown
    }

    /// The same for a part of an object; `whole` if it is one of its own.
    pub fn prune_value(&self, value: &mut Value, whole: bool) -> Vec<String> {
        let mut unknown = Vec::new();
        self.prune_at(value, "", whole, &mut unknown);
        unknown
    }

    /// Removes the fields that are null, may not be, and have no default to become.
    pub fn prune_nulls(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, value| {
                    let schema = self.field(name);
                    let keeps = schema.is_none_or(|one| one.nullable || one.default.is_some());
                    keeps || !value.is_null()
                });
                for (name, value) in fields.iter_mut() {
                    if let Some(schema) = self.field(name) {
                        schema.prune_nulls(value);
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                items.iter_mut().for_each(|item| schema.prune_nulls(item));
            }
            _ => {}
        }
    }

    fn prune_at(&self, value: &mut Value, path: &str, whole: bool, unknown: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                let keep_types = whole || self.embedded;
                fields.retain(|name, value| {
                    let at = field::child(path, name);
                    let known = self.prune_field(name, value, &at, keep_types, unknown);
                    if !known {
                        unknown.push(format!("unknown field {at:?}"));
                    }
                    known
                });
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    schema.prune_at(item, &field::index(path, index), false, unknown);
                }
            }
            _ => {}
        }
    }

    /// Whether a field stays; what is in it was pruned.
    fn prune_field(
        &self,
        name: &str,
        value: &mut Value,
        path: &str,
        keep_types: bool,
        unknown: &mut Vec<String>,
    ) -> bool {
        if keep_types && TYPE_FIELDS.contains(&name) {
            return true;
        }
        match (self.properties.get(name), &self.additional) {
            (Some(schema), _) => schema.prune_at(value, path, false, unknown),
            (None, Additional::Of(schema)) => schema.prune_at(value, path, false, unknown),
            (None, Additional::Any) => {}
            (None, Additional::None) => return self.preserve_unknown,
        }
        true
    }
}
