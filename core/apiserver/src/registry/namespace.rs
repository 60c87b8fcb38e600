//! Namespaces.

use hansa_api::field::{FieldError, index};
use hansa_api::meta::{self, default_field, default_text, fields_mut, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells;
use super::check::Check;
use crate::generic::context::Context;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};

/// The label that every namespace has: its own name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "Namespace", "namespaces")
        .short(&["ns"])
        .verbs(&["create", "delete", "get", "list", "patch", "update", "watch"])
        .sub("finalize", "", "v1", "Namespace", &["update"])
        .status()
}

/// The strategy of Namespaces.
pub(super) struct Namespaces;

impl Strategy for Namespaces {
    fn default(&self, obj: &mut Value) {
        let name = meta::name(obj).to_owned();
        if !name.is_empty() {
            meta::set_label(obj, NAME_LABEL, &name);
        }
        default_text(fields_mut(obj, &["status"]), "phase", "Active");
        fields_mut(obj, &["spec"]);
    }

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        obj["status"] = json!({"phase": "Active"});
        let spec = fields_mut(obj, &["spec"]);
        default_field(spec, "finalizers", json!(["kubernetes"]));
        if let Some(Value::Array(finalizers)) = spec.get_mut("finalizers")
            && !finalizers.iter().any(|name| name == "kubernetes")
        {
            finalizers.push("kubernetes".into());
        }
    }

    /// Finalizers of the spec change through `finalize` only.
    fn prepare_update(&self, ctx: &Context, obj: &mut Value, old: &Value) {
        if ctx.subresource != "finalize" {
            obj["spec"] = old["spec"].clone();
        }
        obj["status"] = old["status"].clone();
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for name in list_at(obj, &["spec", "finalizers"]) {
                finalizer(check, "spec.finalizers", name.as_str().unwrap_or_default());
            }
        })
    }

    fn validate_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for (at, name) in list_at(obj, &["spec", "finalizers"]).iter().enumerate() {
                let path = index("spec.finalizers", at);
                finalizer(check, &path, name.as_str().unwrap_or_default());
            }
        })
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        let phase = str_at(obj, &["status", "phase"]);
        let dying = meta::deletion_timestamp(obj).is_some();
        Check::run(|check| match (dying, phase) {
            (true, "Terminating") | (false, "Active") => {}
            (true, phase) => check.invalid(
                "status.Phase",
                phase,
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            ),
            (false, phase) => check.invalid(
                "status.Phase",
                phase,
                "may only be 'Active' if `deletionTimestamp` is empty",
            ),
        })
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::new("Status", "Its phase."), Column::age()]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), str_at(obj, &["status", "phase"]).into(), cells::age(obj, now)]
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["name".into(), "status.phase".into()]
    }

    fn field_value(&self, obj: &Value, path: &str) -> String {
        match path {
            "name" => meta::name(obj).into(),
            path => hansa_api::selector::field::field_text(obj, path),
        }
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn prepare_deletion(&self, obj: &mut Value) {
        fields_mut(obj, &["status"]).insert("phase".into(), "Terminating".into());
    }

    fn held_back(&self, obj: &Value) -> bool {
        !list_at(obj, &["spec", "finalizers"]).is_empty()
    }
}

fn finalizer(check: &mut Check, path: &str, name: &str) {
    check.text(path, name, names::qualified_name(name));
    let standard = ["kubernetes", "orphan", "foregroundDeletion"];
    if !name.contains('/') && !standard.contains(&name) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        check.invalid(path, name, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::refuses;

    #[test]
    fn finalizers_are_known_or_somebodys() {
        let namespace = |name: &str| json!({"spec": {"finalizers": [name]}});
        assert!(Namespaces.validate_create(&namespace("a.io/b")).is_empty());
        let error = "spec.finalizers: Invalid value: \"b\": name is neither a standard finalizer \
                     name nor is it fully qualified";
        refuses(&Namespaces, [(namespace("b"), error)]);
    }
}
