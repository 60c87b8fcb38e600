//! Validation, in the words of upstream's OpenAPI validator.

use serde_json::{Map, Value};

use super::{Additional, Bound, JsonType, Rules, Structural, format};
use crate::field::{self, FieldError, FieldErrorType};

type Errors = Vec<FieldError>;

impl Structural {
    /// What is wrong with an object; paths start at `path`, empty for the root.
    pub fn validate(&self, value: &Value, path: &str) -> Errors {
        self.validate_update(value, None, path)
    }

    /// What is wrong with a changed object. What is as it was passes, however wrong it is.
    pub fn validate_update(&self, value: &Value, old: Option<&Value>, path: &str) -> Errors {
        let mut errors = Vec::new();
        self.validate_into(value, old, path, &mut errors);
        errors
    }

    fn validate_into(&self, value: &Value, old: Option<&Value>, path: &str, errors: &mut Errors) {
        let before = errors.len();
        self.validate_node(value, old, path, errors);
        if errors.len() > before && old.is_some_and(|old| self.unchanged(value, old)) {
            errors.truncate(before);
        }
    }

    fn validate_node(&self, value: &Value, old: Option<&Value>, path: &str, errors: &mut Errors) {
        if value.is_null() && self.nullable {
            return;
        }
        if let Some(expected) = self.type_mismatch(value) {
            errors.push(wrong_type(path, value, &expected));
            return;
        }
        self.rules.check(value, path, errors);
        match value {
            Value::Object(fields) => self.validate_fields(fields, old, path, errors),
            Value::Array(items) => self.validate_items(items, old, path, errors),
            _ => {}
        }
    }

    /// The type that was asked for, if the value has another.
    fn type_mismatch(&self, value: &Value) -> Option<String> {
        if self.int_or_string {
            return (!value.is_string() && !is_integer(value)).then(|| "integer,string".into());
        }
        let kind = self.kind?;
        let fits = match kind {
            JsonType::Object => value.is_object(),
            JsonType::Array => value.is_array(),
            JsonType::String => value.is_string(),
            JsonType::Integer => is_integer(value),
            JsonType::Number => value.is_number(),
            JsonType::Boolean => value.is_boolean(),
        };
        (!fits).then(|| kind.name().into())
    }

    fn validate_fields(
        &self,
        fields: &Map<String, Value>,
        old: Option<&Value>,
        path: &str,
        errors: &mut Errors,
    ) {
        for (name, value) in fields {
            let at = field::child(path, name);
            // Both sides are converted to the same version, so that these never change.
            let fixed = path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind");
            let old = old.filter(|_| !fixed).and_then(|old| old.get(name));
            match (self.properties.get(name), &self.additional) {
                (Some(schema), _) => schema.validate_into(value, old, &at, errors),
                (None, Additional::Of(schema)) => schema.validate_into(value, old, &at, errors),
                _ => {}
            }
        }
    }

    fn validate_items(
        &self,
        items: &[Value],
        old: Option<&Value>,
        path: &str,
        errors: &mut Errors,
    ) {
        let Some(schema) = &self.items else { return };
        for (index, item) in items.iter().enumerate() {
            let old = old.and_then(|old| self.old_item(item, old));
            schema.validate_into(item, old, &field::index(path, index), errors);
        }
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong_type(path: &str, value: &Value, expected: &str) -> FieldError {
    let found = type_name(value);
    let detail = format!("{path} in body must be of type {expected}: {found:?}");
    FieldError::type_invalid(shown(path), found, detail)
}

/// Upstream prints the root's path as `<nil>`.
fn shown(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

impl Rules {
    fn check(&self, value: &Value, path: &str, errors: &mut Errors) {
        self.check_enum(value, path, errors);
        self.check_format(value, path, errors);
        match value {
            Value::Number(_) => self.check_number(value, path, errors),
            Value::String(text) => self.check_text(text, path, errors),
            Value::Array(items) => self.check_list(items, value, path, errors),
            Value::Object(fields) => self.check_object(fields, value, path, errors),
            _ => {}
        }
        self.check_junctions(value, path, errors);
    }

    fn check_enum(&self, value: &Value, path: &str, errors: &mut Errors) {
        if self.values.is_empty() || self.values.contains(value) {
            return;
        }
        let texts: Vec<_> = self.values.iter().map(plain).collect();
        let supported: Vec<_> = texts.iter().map(String::as_str).collect();
        errors.push(FieldError::not_supported(shown(path), value.clone(), &supported));
    }

    fn check_format(&self, value: &Value, path: &str, errors: &mut Errors) {
        let Some(format) = self.format.as_deref() else { return };
        if !format::fits(format, value) {
            let found = plain(value);
            let detail = format!("{path} in body must be of type {format}: {found:?}");
            errors.push(FieldError::invalid(shown(path), value.clone(), detail));
        }
    }

    fn check_number(&self, value: &Value, path: &str, errors: &mut Errors) {
        let number = value.as_f64().unwrap_or_default();
        let mut complain = |rule: String| errors.push(should(path, value, &rule));
        let or_equal = |bound: Bound| if bound.exclusive { "" } else { " or equal to" };
        let below =
            |bound: &Bound| number < bound.limit || (bound.exclusive && number <= bound.limit);
        if let Some(bound) = self.minimum.filter(below) {
            complain(format!("be greater than{} {}", or_equal(bound), bound.limit));
        }
        let above =
            |bound: &Bound| number > bound.limit || (bound.exclusive && number >= bound.limit);
        if let Some(bound) = self.maximum.filter(above) {
            complain(format!("be less than{} {}", or_equal(bound), bound.limit));
        }
        if let Some(factor) = self.multiple_of.filter(|factor| (number / factor).fract() != 0.0) {
            complain(format!("be a multiple of {factor}"));
        }
    }

    fn check_text(&self, text: &str, path: &str, errors: &mut Errors) {
        let length = text.chars().count();
        if let Some(min) = self.min_length.filter(|min| length < *min) {
            errors.push(should(path, &text.into(), &format!("be at least {min} chars long")));
        }
        if let Some(max) = self.max_length.filter(|max| length > *max) {
            errors.push(FieldError::too_long(shown(path), max));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            errors.push(should(path, &text.into(), &format!("match '{pattern}'")));
        }
    }

    fn check_list(&self, items: &[Value], value: &Value, path: &str, errors: &mut Errors) {
        if let Some(min) = self.min_items.filter(|min| items.len() < *min) {
            errors.push(should(path, value, &format!("have at least {min} items")));
        }
        if let Some(max) = self.max_items.filter(|max| items.len() > *max) {
            errors.push(FieldError::too_many(shown(path), items.len(), max));
        }
        let repeated = |at: usize| items[..at].contains(&items[at]);
        if self.unique_items && (0..items.len()).any(repeated) {
            let detail = format!("{path} in body shouldn't contain duplicates");
            errors.push(FieldError::invalid(shown(path), value.clone(), detail));
        }
    }

    fn check_object(
        &self,
        fields: &Map<String, Value>,
        value: &Value,
        path: &str,
        errors: &mut Errors,
    ) {
        for name in self.required.iter().filter(|name| !fields.contains_key(*name)) {
            errors.push(FieldError::required(field::child(path, name), ""));
        }
        if let Some(min) = self.min_properties.filter(|min| fields.len() < *min) {
            errors.push(should(path, value, &format!("have at least {min} properties")));
        }
        if let Some(max) = self.max_properties.filter(|max| fields.len() > *max) {
            errors.push(FieldError::too_many(shown(path), fields.len(), max));
        }
    }

    fn check_junctions(&self, value: &Value, path: &str, errors: &mut Errors) {
        let valid = |schema: &Structural| schema.validate(value, path).is_empty();
        for schema in &self.all_of {
            schema.validate_into(value, None, path, errors);
        }
        if !self.any_of.is_empty() && !self.any_of.iter().any(valid) {
            errors.push(must(path, value, "validate at least one schema (anyOf)"));
            self.closest(value, path, errors);
        }
        let matching = self.one_of.iter().filter(|schema| valid(schema)).count();
        if !self.one_of.is_empty() && matching != 1 {
            let found = match matching {
                0 => "Found none valid".into(),
                many => format!("Found {many} valid alternatives"),
            };
            let rule = format!("validate one and only one schema (oneOf). {found}");
            errors.push(must(path, value, &rule));
        }
        if self.not.as_deref().is_some_and(valid) {
            errors.push(must(path, value, "not validate the schema (not)"));
        }
    }

    /// The complaints of the alternative that has fewest.
    fn closest(&self, value: &Value, path: &str, errors: &mut Errors) {
        let complaints = self.any_of.iter().map(|schema| schema.validate(value, path));
        errors.extend(complaints.min_by_key(Vec::len).into_iter().flatten());
    }
}

/// `spec.x in body should …`.
fn should(path: &str, value: &Value, rule: &str) -> FieldError {
    FieldError::invalid(shown(path), value.clone(), format!("{path} in body should {rule}"))
}

/// `"spec.x" must …`.
fn must(path: &str, value: &Value, rule: &str) -> FieldError {
    let detail = format!("{path:?} must {rule}");
    FieldError::new(FieldErrorType::Invalid, shown(path), value.clone(), detail)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
