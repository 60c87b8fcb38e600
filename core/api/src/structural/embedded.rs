//! Whole objects inside of others (`x-kubernetes-embedded-resource`): their type and metadata.

use serde_json::Value;

use super::Structural;
use crate::field::{FieldError, child, index, key};
use crate::names;

impl Structural {
    /// What is wrong with the type and the metadata of embedded objects; the outermost object's
    /// own are the registry's to check.
    pub fn embedded_errors(&self, value: &Value, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.embedded_into(value, path, &mut errors);
        errors
    }

    fn embedded_into(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        match value {
            Value::Object(fields) => {
                if self.embedded {
                    validate(value, path, errors);
                }
                for (name, value) in fields {
                    let Some(schema) = self.field(name) else { continue };
                    let named = self.properties.contains_key(name);
                    let at = if named { child(path, name) } else { key(path, name) };
                    schema.embedded_into(value, &at, errors);
                }
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                for (at, item) in items.iter().enumerate() {
                    schema.embedded_into(item, &index(path, at), errors);
                }
            }
            _ => {}
        }
    }
}

fn validate(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        let at = child(path, name);
        match &value[name] {
            Value::Null if value.get(name).is_none() => {
                errors.push(FieldError::required(at, ""));
            }
            Value::String(text) if text.is_empty() => {
                errors.push(FieldError::invalid(at, "", "must not be empty"));
            }
            Value::String(text) => errors.extend(type_field(name, text, &at)),
            other => errors.push(FieldError::invalid(at, other.clone(), "must be a string")),
        }
    }
    match value.get("metadata") {
        None | Some(Value::Null) => {}
        Some(metadata @ Value::Object(_)) => {
            validate_metadata(metadata, &child(path, "metadata"), errors);
        }
        Some(other) => {
            let at = child(path, "metadata");
            errors.push(FieldError::invalid(at, other.clone(), "must be an object"));
        }
    }
}

fn type_field(name: &str, text: &str, path: &str) -> Option<FieldError> {
    if name == "apiVersion" {
        let why = format!("unexpected GroupVersion string: {text}");
        return (text.matches('/').count() > 1).then(|| FieldError::invalid(path, text, why));
    }
    let why = names::dns1035_label(&text.to_lowercase());
    let detail = format!("may have mixed case, but should otherwise match: {}", why.join(","));
    (!why.is_empty()).then(|| FieldError::invalid(path, text, detail))
}

fn validate_metadata(metadata: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(name) = metadata["name"].as_str().filter(|name| !name.is_empty()) {
        let why = names::path_segment(name).into_iter();
        errors.extend(why.map(|why| FieldError::invalid(child(path, "name"), name, why)));
    }
    let labels = child(path, "labels");
    for (name, value) in metadata["labels"].as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        let why = names::qualified_name(name).into_iter();
        errors.extend(why.map(|why| FieldError::invalid(&labels, name.as_str(), why)));
        let why = names::label_value(text).into_iter();
        errors.extend(why.map(|why| FieldError::invalid(&labels, text, why)));
    }
    let annotations = child(path, "annotations");
    for (name, _) in metadata["annotations"].as_object().into_iter().flatten() {
        let why = names::qualified_name(&name.to_lowercase()).into_iter();
        errors.extend(why.map(|why| FieldError::invalid(&annotations, name.as_str(), why)));
    }
}
