//! Sets and map-like lists: nothing may be in them twice.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{ListKind, Structural};
use crate::field::{FieldError, child, index, key};

impl Structural {
    /// What is in a set or a map-like list twice.
    pub fn duplicates(&self, value: &Value, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.duplicates_into(value, path, &mut errors);
        errors
    }

    fn duplicates_into(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let Some(schema) = self.field(name) else { continue };
                    let named = self.properties.contains_key(name);
                    let at = if named { child(path, name) } else { key(path, name) };
                    schema.duplicates_into(value, &at, errors);
                }
            }
            Value::Array(items) => {
                self.check_unique(items, path, errors);
                for (at, item) in items.iter().enumerate() {
                    if let Some(schema) = &self.items {
                        schema.duplicates_into(item, &index(path, at), errors);
                    }
                }
            }
            _ => {}
        }
    }

    fn check_unique(&self, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
        let identities: Vec<Value> = match &self.list {
            ListKind::Atomic => return,
            ListKind::Set => items.to_vec(),
            ListKind::Map(keys) => {
                let odd = |item: &Value| !item.is_object() && !item.is_null();
                if let Some(at) = items.iter().position(odd) {
                    let why = "must be an object for an array of list-type map";
                    errors.push(FieldError::invalid(index(path, at), items[at].clone(), why));
                    return;
                }
                items.iter().map(|item| identity(keys, item)).collect()
            }
        };
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (at, identity) in identities.into_iter().enumerate() {
            let times = seen.entry(identity.to_string()).or_default();
            *times += 1;
            if *times == 2 {
                errors.push(FieldError::duplicate(index(path, at), identity));
            }
        }
    }
}

/// What an element of a map-like list is known by.
fn identity(keys: &[String], item: &Value) -> Value {
    let pair = |key: &String| Some((key.clone(), item.get(key)?.clone()));
    keys.iter().filter_map(pair).collect::<Map<_, _>>().into()
}
