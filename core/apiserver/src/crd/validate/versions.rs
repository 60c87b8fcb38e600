//! What a version says besides its schema: deprecation, subresources, columns, selectable fields.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta;
use serde_json::Value;

use super::super::rules::field_path;
use super::Before;
use super::shared::Part;

/// How many selectable fields a version may have.
const FIELDS_MAX: usize = 8;
const COLUMN_TYPES: &str = "boolean,date,integer,number,string";
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// Whether a version has the status subresource.
pub(super) fn has_status(version: &Value) -> bool {
    meta::at(version, &["subresources", "status"]).is_some_and(|status| !status.is_null())
}

/// `deprecationWarning`.
pub(super) fn deprecation(version: &Value, path: &str) -> Vec<FieldError> {
    let Some(text) = version["deprecationWarning"].as_str() else { return Vec::new() };
    let invalid = |why: String| FieldError::invalid(child(path, "deprecationWarning"), text, why);
    if !meta::bool_at(version, &["deprecated"]) {
        return vec![invalid("can only be set for deprecated versions".into())];
    }
    let mut errors = Vec::new();
    if text.len() > 256 {
        errors.push(invalid("must be <= 256 characters long".into()));
    }
    if text.is_empty() {
        errors.push(invalid("must not be an empty string".into()));
    }
    let odd = |letter: char| letter.is_control() || (letter.is_whitespace() && letter != ' ');
    if let Some((at, _)) = text.char_indices().find(|(_, letter)| odd(*letter)) {
        errors.push(invalid(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index \
             {at}"
        )));
    }
    errors
}

/// `subresources`: the paths of scale.
pub(super) fn subresources(value: &Value, path: &str) -> Vec<FieldError> {
    let Some(scale) = value.get("scale").filter(|scale| !scale.is_null()) else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    for (field, root) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let text = meta::str_at(scale, &[field]);
        let at = format!("{path}.scale.{field}");
        if text.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if let Some(error) = simple_path(text, &at) {
            errors.push(error);
        } else if !text.starts_with(&format!("{root}.")) {
            let why = format!("should be a json path under {root}");
            errors.push(FieldError::invalid(at, text, why));
        }
    }
    let text = meta::str_at(scale, &["labelSelectorPath"]);
    let at = format!("{path}.scale.labelSelectorPath");
    if !text.is_empty() {
        let inside = text.starts_with(".spec.") || text.starts_with(".status.");
        let why = "should be a json path under either .spec or .status";
        let outside = (!inside).then(|| FieldError::invalid(&at, text, why));
        errors.extend(simple_path(text, &at).or(outside));
    }
    errors
}

fn simple_path(text: &str, path: &str) -> Option<FieldError> {
    (!text.starts_with('.'))
        .then(|| FieldError::invalid(path, text, "must be a simple json path starting with ."))
}

/// `additionalPrinterColumns`.
pub(super) fn columns(value: &Value, path: &str) -> Vec<FieldError> {
    let columns = value.as_array().into_iter().flatten().enumerate();
    columns.flat_map(|(at, column)| validate_column(column, &index(path, at))).collect()
}

fn validate_column(column: &Value, path: &str) -> Vec<FieldError> {
    let text = |field: &str| meta::str_at(column, &[field]);
    let mut errors = Vec::new();
    if text("name").is_empty() {
        errors.push(FieldError::required(child(path, "name"), ""));
    }
    let kinds = format!("must be one of {COLUMN_TYPES}");
    match text("type") {
        "" => errors.push(FieldError::required(child(path, "type"), kinds)),
        kind if COLUMN_TYPES.split(',').any(|known| known == kind) => {}
        other => errors.push(FieldError::invalid(child(path, "type"), other, kinds)),
    }
    let format = text("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(FieldError::invalid(child(path, "format"), format, why));
    }
    match text("jsonPath") {
        "" => errors.push(FieldError::required(child(path, "JSONPath"), "")),
        query => errors.extend(simple_path(query, &child(path, "JSONPath"))),
    }
    errors
}

/// `selectableFields`: simple fields that the schema has.
pub(super) fn selectable_fields(part: &Part<'_>, before: Before<'_>) -> Vec<FieldError> {
    let schema = &part.version["schema"]["openAPIV3Schema"];
    if !schema.is_object() {
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        return vec![FieldError::invalid(&part.path, "", why)];
    }
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    for (at, field) in part.value.as_array().into_iter().flatten().enumerate() {
        let text = meta::str_at(field, &["jsonPath"]);
        let path = child(&index(&part.path, at), "jsonPath");
        errors.extend(selectable_field(text, schema, &path, &mut seen));
    }
    let old = before.version(meta::str_at(part.version, &["name"]));
    let kept = old.is_some_and(|old| old["selectableFields"] == *part.value);
    if seen.len() > FIELDS_MAX && !kept {
        errors.push(FieldError::too_many(&part.path, seen.len(), FIELDS_MAX));
    }
    errors
}

fn selectable_field(
    text: &str,
    schema: &Value,
    path: &str,
    seen: &mut HashSet<String>,
) -> Vec<FieldError> {
    if text.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let invalid = |why: String| FieldError::invalid(path, text, why);
    let found = match field_path::find(text, schema, false) {
        Ok(found) => found,
        Err(why) => return vec![invalid(format!("is an invalid path: {why}"))],
    };
    let mut errors = Vec::new();
    if found.root == "metadata" {
        errors.push(invalid("must not point to fields in metadata".into()));
    }
    if !matches!(found.schema["type"].as_str(), Some("string" | "boolean" | "integer")) {
        errors.push(invalid(
            "must point to a field of type string, boolean or integer. Enum string fields and \
             strings with formats are allowed."
                .into(),
        ));
    }
    if !seen.insert(found.path) {
        errors.push(FieldError::duplicate(path, text));
    }
    errors
}
