//! The strategy of CustomResourceDefinitions themselves.

use hansa_api::field::FieldError;
use hansa_api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::validate::{validate_names, validate_versions};
use super::{CLEANUP, GROUP, PLURAL};
use crate::generic::catalog::Served;
use crate::generic::context::Context;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

/// CustomResourceDefinitions.
pub struct Definitions;

/// Their line in the table of built-in kinds.
pub fn served() -> Served {
    let resource = Resource::new(GROUP, "v1", "CustomResourceDefinition", PLURAL)
        .short(&["crd", "crds"])
        .categories(&["api-extensions"])
        .status();
    Served::builtin(resource, Definitions)
}

impl Strategy for Definitions {
    fn status_may_change_metadata(&self) -> bool {
        false
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = obj.get_mut("spec").and_then(Value::as_object_mut) else { return };
        if !spec.contains_key("conversion") {
            spec.insert("conversion".into(), json!({"strategy": "None"}));
        }
        let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) else { return };
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_string();
        meta::default_text(names, "singular", &kind.to_lowercase());
        meta::default_text(names, "listKind", &format!("{kind}List"));
    }

    fn prepare_create(&self, _ctx: &Context, obj: &mut Value) {
        let stored: Vec<&str> = vec![super::definition::storage_version(obj)];
        let status = json!({
            "acceptedNames": {"plural": "", "kind": ""}, "conditions": [], "storedVersions": stored,
        });
        obj["status"] = status;
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = validate_names(obj);
        errors.extend(validate_versions(obj));
        let strategy = meta::str_at(obj, &["spec", "conversion", "strategy"]);
        if !matches!(strategy, "" | "None") {
            let at = "spec.conversion.strategy";
            errors.push(FieldError::not_supported(at, strategy, &["None"]));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(obj);
        for path in [["spec", "group"].as_slice(), &["spec", "scope"], &["spec", "names", "plural"]]
        {
            if meta::str_at(obj, path) != meta::str_at(old, path) {
                let value = meta::str_at(obj, path);
                let why = "field is immutable";
                errors.push(FieldError::invalid(path.join("."), value, why));
            }
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        let created = "CreationTimestamp is a timestamp representing the server time when this \
                       object was created.";
        vec![Column::name(), Column::of("Created At", "date", created, 0)]
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        let created = meta::creation_timestamp(obj).unwrap_or_default();
        vec![meta::name(obj).into(), created.into()]
    }

    fn prepare_deletion(&self, obj: &mut Value) {
        let metadata = meta::metadata_mut(obj);
        let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = finalizers.as_array_mut()
            && !list.iter().any(|name| name == CLEANUP)
        {
            list.push(CLEANUP.into());
        }
        super::controller::set_condition(
            obj,
            "Terminating",
            true,
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        );
    }

    fn held_back(&self, obj: &Value) -> bool {
        !super::controller::has_condition(obj, "Terminating", "InstanceDeletionCompleted")
    }
}
