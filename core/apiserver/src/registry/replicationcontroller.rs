//! ReplicationControllers.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, default_field, fields_mut, map_at};
use hansa_api::selector::Selector;
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::pod::defaults;
use super::{cells, replicaset, workload};
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, ScalePaths, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "ReplicationController", "replicationcontrollers")
        .namespaced()
        .short(&["rc"])
        .categories(&["all"])
        .scale()
        .status()
}

/// The strategy of ReplicationControllers.
pub(super) struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    fn default(&self, obj: &mut Value) {
        let labels = map_at(obj, &["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
            default_field(fields_mut(obj, &["spec"]), "selector", labels.clone());
            default_field(meta::metadata_mut(obj), "labels", labels);
        }
        default_field(fields_mut(obj, &["spec"]), "replicas", 1);
        replicaset::default_status(obj);
        if let Some(template) = obj["spec"].get_mut("template") {
            defaults::template(template);
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"]))
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| workload::status_counts(check, obj))
    }

    fn columns(&self) -> Vec<Column> {
        replicaset::columns()
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        replicaset::row(obj, now, cells::labels(map_at(obj, &["spec", "selector"])))
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["status.replicas".into()]
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(ScalePaths::usual())
    }
}

fn validate(check: &mut Check, spec: &Value) {
    check.non_negative_field("spec", spec, "replicas");
    check.non_negative_field("spec", spec, "minReadySeconds");
    match map_at(spec, &["selector"]).filter(|selector| !selector.is_empty()) {
        None => check.required("spec.selector", ""),
        Some(selector) => {
            workload::template_labels(check, spec, &Selector::from_map(selector));
        }
    }
    workload::template(check, spec, "ReplicationController");
}
