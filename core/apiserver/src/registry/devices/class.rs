//! DeviceClasses.

use hansa_api::field::FieldError;
use hansa_api::meta::list_at;
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::{GROUP, MAX_CONFIGS, list, request};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};
use crate::registry::cells;
use crate::registry::check::Check;

pub(in crate::registry) fn resource() -> Resource {
    Resource::new(GROUP, "v1", "DeviceClass", "deviceclasses")
}

/// The strategy of DeviceClasses.
pub(in crate::registry) struct Classes;

impl Strategy for Classes {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"]))
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::age()]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), cells::age(obj, now)]
    }
}

fn validate(check: &mut Check, spec: &Value) {
    request::selectors(check, "spec.selectors", list_at(spec, &["selectors"]));
    let configs = list_at(spec, &["config"]);
    list(check, "spec.config", configs, MAX_CONFIGS, request::configuration);
    let name = spec["extendedResourceName"].as_str();
    if let Some(name) = name.filter(|name| !is_extended(name)) {
        let why = "must be a valid extended resource name";
        check.invalid("spec.extendedResourceName", name, why);
    }
}

/// Somebody's own resource: `example.com/gpu`.
fn is_extended(name: &str) -> bool {
    let quota = format!("requests.{name}");
    name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && names::qualified_name(&quota).is_empty()
}
