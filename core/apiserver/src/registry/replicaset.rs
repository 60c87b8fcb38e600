//! ReplicaSets.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, default_field, fields_mut};
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::{cells, workload};
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, ScalePaths, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("apps", "v1", "ReplicaSet", "replicasets")
        .namespaced()
        .short(&["rs"])
        .categories(&["all"])
        .scale()
        .status()
}

/// The strategy of ReplicaSets.
pub(super) struct ReplicaSets;

/// Columns that ReplicaSets and ReplicationControllers share.
pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::of("Desired", "integer", "Pods wanted.", 0),
        Column::of("Current", "integer", "Pods there.", 0),
        Column::of("Ready", "integer", "Pods that are ready.", 0),
        Column::age(),
        Column::wide("Containers", "The template's containers."),
        Column::wide("Images", "The template's images."),
        Column::wide("Selector", "The labels of its pods."),
    ]
}

/// The cells of [`columns`]; `selector` is the last.
pub(super) fn row(obj: &Value, now: Timestamp, selector: Value) -> Vec<Value> {
    let [containers, images] = cells::containers(&obj["spec"]["template"]["spec"]);
    vec![
        cells::name(obj),
        cells::int(obj, &["spec", "replicas"]).into(),
        cells::int(obj, &["status", "replicas"]).into(),
        cells::int(obj, &["status", "readyReplicas"]).into(),
        cells::age(obj, now),
        containers,
        images,
        selector,
    ]
}

/// `status.replicas` is always there.
pub(super) fn default_status(obj: &mut Value) {
    default_field(fields_mut(obj, &["status"]), "replicas", 0);
}

impl Strategy for ReplicaSets {
    fn default(&self, obj: &mut Value) {
        default_field(fields_mut(obj, &["spec"]), "replicas", 1);
        default_status(obj);
        workload::default_template(obj);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"]))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, &obj["spec"]);
            workload::selector_immutable(check, obj, old);
        })
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| validate_status(check, obj))
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        workload::name_warning(obj).into_iter().filter(|_| old.is_none()).collect()
    }

    fn columns(&self) -> Vec<Column> {
        columns()
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        row(obj, now, cells::selector(meta::at(obj, &["spec", "selector"])))
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["status.replicas".into()]
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(ScalePaths::usual())
    }
}

/// The status of a ReplicaSet or of a ReplicationController.
pub(super) fn validate_status(check: &mut Check, obj: &Value) {
    const PARTS: [&str; 3] = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    workload::counts(check, obj, &["replicas"]);
    workload::counts(check, obj, &PARTS);
    workload::counts(check, obj, &["observedGeneration", "terminatingReplicas"]);
    workload::counts_fit(check, obj, &PARTS, "readyReplicas");
}

fn validate(check: &mut Check, spec: &Value) {
    check.non_negative_field("spec", spec, "replicas");
    check.non_negative_field("spec", spec, "minReadySeconds");
    workload::selector(check, spec, "deployment");
    workload::template(check, spec, "ReplicaSet");
}
