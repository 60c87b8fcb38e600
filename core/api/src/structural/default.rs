//! Defaulting.

use serde_json::Value;

use super::{Additional, Structural};

impl Structural {
    /// Fills in the schema's defaults where fields are missing (or null and may not be).
    pub fn default(&self, object: &mut Value) {
        match object {
            Value::Object(fields) => {
                for (name, schema) in &self.properties {
                    let unset = match fields.get(name) {
                        None => true,
                        Some(value) => value.is_null() && !schema.nullable,
                    };
                    if let (true, Some(default)) = (unset, &schema.default) {
                        fields.insert(name.clone(), default.clone());
                    }
                }
                for (name, value) in fields.iter_mut() {
                    match (self.properties.get(name), &self.additional) {
                        (Some(schema), _) => schema.default(value),
                        (None, Additional::Of(schema)) => schema.default_element(value),
                        _ => {}
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.default_element(item));
                }
            }
            _ => {}
        }
    }

    fn default_element(&self, value: &mut Value) {
        if let (Value::Null, false, Some(default)) = (&*value, self.nullable, &self.default) {
            *value = default.clone();
        }
        self.default(value);
    }
}
