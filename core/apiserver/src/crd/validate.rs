//! What a CustomResourceDefinition must say, in upstream's words.

use std::collections::HashSet;

use hansa_api::field::{FieldError, index};
use hansa_api::meta;
use hansa_api::names::{dns1035_label, dns1123_subdomain};
use hansa_api::structural;
use serde_json::Value;

use super::definition::Names;
use super::jsonpath::JsonPath;

/// Names, group and scope.
pub(super) fn validate_names(obj: &Value) -> Vec<FieldError> {
    let names = Names::read(&obj["spec"]["names"]);
    let group = meta::str_at(obj, &["spec", "group"]);
    let mut errors = Vec::new();
    if meta::name(obj) != format!("{}.{group}", names.plural) {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", meta::name(obj), why));
    }
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if !group.contains('.') {
        let why = "should be a domain with at least one dot";
        errors.push(FieldError::invalid("spec.group", group, why));
    } else {
        let why = dns1123_subdomain(group).into_iter();
        errors.extend(why.map(|why| FieldError::invalid("spec.group", group, why)));
    }
    let lower_kind = names.kind.to_lowercase();
    let labels = [
        ("spec.names.plural", names.plural.as_str()),
        ("spec.names.singular", &names.singular),
        ("spec.names.kind", &lower_kind),
    ];
    for (path, name) in labels {
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else {
            let why = dns1035_label(name).into_iter();
            errors.extend(why.map(|why| FieldError::invalid(path, name, why)));
        }
    }
    if !names.kind.is_empty() && names.kind == names.list_kind {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid("spec.names.listKind", names.list_kind.clone(), why));
    }
    let scope = meta::str_at(obj, &["spec", "scope"]);
    if scope.is_empty() {
        errors.push(FieldError::required("spec.scope", ""));
    } else if !matches!(scope, "Cluster" | "Namespaced") {
        errors.push(FieldError::not_supported("spec.scope", scope, &["Cluster", "Namespaced"]));
    }
    errors
}

/// Versions, their schemas, columns and subresources.
pub(super) fn validate_versions(obj: &Value) -> Vec<FieldError> {
    let versions = meta::list_at(obj, &["spec", "versions"]);
    let mut errors = Vec::new();
    if versions.is_empty() {
        errors.push(FieldError::required("spec.versions", "must have at least one version"));
        return errors;
    }
    let stored = versions.iter().filter(|version| meta::bool_at(version, &["storage"])).count();
    if stored != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", versions.to_vec(), why));
    }
    let mut seen = HashSet::new();
    for (at, version) in versions.iter().enumerate() {
        if !seen.insert(meta::str_at(version, &["name"])) {
            let why = "must contain unique version names";
            errors.push(FieldError::invalid("spec.versions", versions.to_vec(), why));
        }
        errors.extend(validate_version(version, &index("spec.versions", at)));
    }
    errors
}

fn validate_version(version: &Value, path: &str) -> Vec<FieldError> {
    let name = meta::str_at(version, &["name"]);
    let why = dns1035_label(name).into_iter();
    let mut errors: Vec<_> =
        why.map(|why| FieldError::invalid(format!("{path}.name"), name, why)).collect();
    let at = format!("{path}.schema.openAPIV3Schema");
    match meta::at(version, &["schema", "openAPIV3Schema"]) {
        Some(schema) => errors.extend(structural::check(schema, &at)),
        None => errors.push(FieldError::required(at, "schemas are required")),
    }
    for (at, column) in meta::list_at(version, &["additionalPrinterColumns"]).iter().enumerate() {
        let at = index(&format!("{path}.additionalPrinterColumns"), at);
        errors.extend(validate_column(column, &at));
    }
    if let Some(scale) = meta::at(version, &["subresources", "scale"]) {
        errors.extend(validate_scale(scale, &format!("{path}.subresources.scale")));
    }
    errors
}

fn validate_column(column: &Value, path: &str) -> Vec<FieldError> {
    let text = |field: &str| meta::str_at(column, &[field]);
    let missing = ["name", "type", "jsonPath"].into_iter().filter(|field| text(field).is_empty());
    let mut errors: Vec<_> =
        missing.map(|field| FieldError::required(format!("{path}.{field}"), "")).collect();
    let kinds = ["boolean", "date", "integer", "number", "string"];
    if !text("type").is_empty() && !kinds.contains(&text("type")) {
        errors.push(FieldError::not_supported(format!("{path}.type"), text("type"), &kinds));
    }
    if let Err(error) = JsonPath::parse(text("jsonPath")) {
        let at = format!("{path}.jsonPath");
        errors.push(FieldError::invalid(at, text("jsonPath"), error.to_string()));
    }
    errors
}

fn validate_scale(scale: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (field, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let value = meta::str_at(scale, &[field]);
        let at = format!("{path}.{field}");
        if value.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if !value.starts_with(root) || value.contains('[') {
            let why = format!("should be a json path under {}", root.trim_end_matches('.'));
            errors.push(FieldError::invalid(at, value, why));
        }
    }
    errors
}
