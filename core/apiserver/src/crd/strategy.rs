//! The strategy of CustomResourceDefinitions themselves.

use std::collections::BTreeSet;

use hansa_api::field::FieldError;
use hansa_api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CLEANUP, GROUP, PLURAL, conditions, status, validate};
use crate::generic::catalog::Served;
use crate::generic::context::Context;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

/// The formats that are checked.
const FORMATS: [&str; 34] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "date-time",
    "int32",
    "int64",
    "float",
    "double",
    "binary",
    "k8s-short-name",
    "k8s-long-name",
    "int-or-string",
    "quantity",
];

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
        let service = spec
            .get_mut("conversion")
            .and_then(|conversion| conversion.pointer_mut("/webhook/clientConfig/service"))
            .and_then(Value::as_object_mut);
        if let Some(service) = service {
            meta::default_field(service, "port", 443);
        }
        let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) else { return };
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_string();
        meta::default_text(names, "singular", &kind.to_lowercase());
        if !kind.is_empty() {
            meta::default_text(names, "listKind", &format!("{kind}List"));
        }
    }

    fn prepare_create(&self, _ctx: &Context, obj: &mut Value) {
        let names = json!({"plural": "", "kind": ""});
        obj["status"] = json!({"acceptedNames": names, "conditions": null, "storedVersions": []});
        status::remember_stored(obj);
    }

    fn prepare_update(&self, _ctx: &Context, obj: &mut Value, _old: &Value) {
        status::remember_stored(obj);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        validate::validate(obj)
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        validate::validate_update(obj, old)
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let known = old.map(unknown_formats).unwrap_or_default();
        let found = unknown_formats(obj);
        let fresh = found.difference(&known);
        fresh.map(|format| format!("unrecognized format {format:?}")).collect()
    }

    fn allow_unconditional_update(&self) -> bool {
        false
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
        let message =
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        status::terminating(obj, true, "InstanceDeletionPending", message);
    }

    fn held_back(&self, obj: &Value) -> bool {
        !conditions::has_reason(obj, "Terminating", "InstanceDeletionCompleted")
    }
}

/// The formats in a definition's schemas that nothing checks.
fn unknown_formats(crd: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for version in meta::list_at(crd, &["spec", "versions"]) {
        collect_formats(&version["schema"]["openAPIV3Schema"], &mut found);
    }
    found
}

fn collect_formats(schema: &Value, found: &mut BTreeSet<String>) {
    let Some(fields) = schema.as_object() else { return };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("format", Value::String(text)) if !FORMATS.contains(&text.as_str()) => {
                found.insert(text.clone());
            }
            ("properties", Value::Object(properties)) => {
                properties.values().for_each(|one| collect_formats(one, found));
            }
            ("items" | "additionalProperties" | "not", inner) => collect_formats(inner, found),
            ("allOf" | "anyOf" | "oneOf", Value::Array(all)) => {
                all.iter().for_each(|one| collect_formats(one, found));
            }
            _ => {}
        }
    }
}
