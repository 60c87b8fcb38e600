//! `spec`: its order is upstream's, so that errors come in upstream's order.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index, key};
use hansa_api::meta;
use hansa_api::names::{dns1035_label, dns1123_subdomain};
use serde_json::Value;

use super::super::approval::{self, State};
use super::shared::{Parts, parts};
use super::{Before, conversion, names, schema, versions};

const APPROVED: &str = "api-approved.kubernetes.io";

/// Everything in `spec`.
pub(super) fn validate(crd: &Value, before: Before<'_>) -> Vec<FieldError> {
    let spec = &crd["spec"];
    let all = meta::list_at(crd, &["spec", "versions"]);
    let mut errors: Vec<_> = group(meta::str_at(spec, &["group"])).into_iter().collect();
    errors.extend(scope(meta::str_at(spec, &["scope"])));
    for (at, version) in all.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            let path = child(&index("spec.versions", at), "schema.openAPIV3Schema");
            errors.push(FieldError::required(path, ""));
        }
    }
    let shared = Shared::of(crd);
    errors.extend(each_version(all, &shared, before));
    errors.extend(version_set(all));
    errors.extend(names::validate(&spec["names"], "spec.names"));
    errors.extend(shared.validate(all, before));
    errors.extend(conversion::validate(&spec["conversion"], before));
    errors
}

fn group(group: &str) -> Option<FieldError> {
    let why = dns1123_subdomain(group);
    if group.is_empty() {
        Some(FieldError::required("spec.group", ""))
    } else if !why.is_empty() {
        Some(FieldError::invalid("spec.group", group, why.join(",")))
    } else if !group.contains('.') {
        let why = "should be a domain with at least one dot";
        Some(FieldError::invalid("spec.group", group, why))
    } else {
        None
    }
}

fn scope(scope: &str) -> Option<FieldError> {
    match scope {
        "" => Some(FieldError::required("spec.scope", "")),
        "Cluster" | "Namespaced" => None,
        other => {
            let known = ["Cluster", "Namespaced"];
            Some(FieldError::not_supported("spec.scope", other, &known))
        }
    }
}

/// What versions may have in common.
struct Shared<'a> {
    schemas: Parts<'a>,
    subresources: Parts<'a>,
    columns: Parts<'a>,
    fields: Parts<'a>,
}

impl<'a> Shared<'a> {
    fn of(crd: &'a Value) -> Self {
        Self {
            schemas: parts(crd, "schema", "validation"),
            subresources: parts(crd, "subresources", "subresources"),
            columns: parts(crd, "additionalPrinterColumns", "additionalPrinterColumns"),
            fields: parts(crd, "selectableFields", "selectableFields"),
        }
    }

    /// What stands at the top.
    fn validate(&self, all: &[Value], before: Before<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(part) = self.schemas.shared() {
            let status = all.iter().any(versions::has_status);
            errors.extend(schema::validate(part, status, before));
        }
        if let Some(part) = self.subresources.shared() {
            errors.extend(versions::subresources(part.value, &part.path));
        }
        if let Some(part) = self.columns.shared() {
            errors.extend(versions::columns(part.value, &part.path));
        }
        if let Some(part) = self.fields.shared() {
            errors.extend(versions::selectable_fields(part, before));
        }
        errors
    }
}

fn each_version(all: &[Value], shared: &Shared<'_>, before: Before<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, version) in all.iter().enumerate() {
        let path = index("spec.versions", at);
        let name = meta::str_at(version, &["name"]);
        let why = dns1035_label(name);
        if !why.is_empty() {
            errors.push(FieldError::invalid(child(&path, "name"), name, why.join(",")));
        }
        errors.extend(versions::deprecation(version, &path));
        if let Some(part) = shared.schemas.of(at) {
            errors.extend(schema::validate(part, versions::has_status(version), before));
        }
        if let Some(part) = shared.subresources.of(at) {
            errors.extend(versions::subresources(part.value, &part.path));
        }
        if let Some(part) = shared.columns.of(at) {
            errors.extend(versions::columns(part.value, &part.path));
        }
        if let Some(part) = shared.fields.of(at) {
            errors.extend(versions::selectable_fields(part, before));
        }
    }
    errors
}

fn version_set(all: &[Value]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    let names = all.iter().map(|version| meta::str_at(version, &["name"]));
    if !names.clone().all(|name| seen.insert(name)) {
        let why = "must contain unique version names";
        errors.push(FieldError::invalid("spec.versions", all.to_vec(), why));
    }
    if all.iter().filter(|version| meta::bool_at(version, &["storage"])).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", all.to_vec(), why));
    }
    if let Some(first) = names.clone().next() {
        let why = dns1035_label(first);
        if !why.is_empty() {
            errors.push(FieldError::invalid("spec.version", first, why.join(",")));
        }
    }
    errors
}

/// What may not change; more of it once the names were accepted.
pub(super) fn immutable(crd: &Value, old: &Value, established: bool) -> Vec<FieldError> {
    let fields = [("scope", true), ("names.kind", true), ("group", false), ("names.plural", false)];
    let mut errors = Vec::new();
    for (field, later) in fields {
        let at: Vec<&str> = ["spec"].into_iter().chain(field.split('.')).collect();
        let value = meta::str_at(crd, &at);
        if value != meta::str_at(old, &at) && (established || !later) {
            let why = "field is immutable";
            errors.push(FieldError::invalid(child("spec", field), value, why));
        }
    }
    errors
}

/// Groups of the Kubernetes community need an approval.
pub(super) fn community(crd: &Value, old: Option<&Value>) -> Option<FieldError> {
    let group = meta::str_at(crd, &["spec", "group"]);
    let state = approval::state(crd);
    if !approval::is_protected(group) || old.is_some_and(|old| approval::state(old).0 == state.0) {
        return None;
    }
    let path = key("metadata.annotations", APPROVED);
    match state {
        (State::Approved | State::Bypassed, _) => None,
        (State::Missing, why) => Some(FieldError::required(path, why)),
        (State::Invalid, why) => {
            let value = crd["metadata"]["annotations"][APPROVED].clone();
            Some(FieldError::invalid(path, value, why))
        }
    }
}

/// The old way to keep unknown fields is gone.
pub(super) fn preserve_unknown(crd: &Value, old: Option<&Value>) -> Option<FieldError> {
    let set = |crd: &Value| meta::bool_at(crd, &["spec", "preserveUnknownFields"]);
    if !set(crd) || old.is_some_and(set) {
        return None;
    }
    let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
               spec.versions[*].schema instead";
    Some(FieldError::invalid("spec.preserveUnknownFields", true, why))
}
