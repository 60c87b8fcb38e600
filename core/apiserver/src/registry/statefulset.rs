//! StatefulSets.

use hansa_api::field::FieldError;
use hansa_api::meta::{default_field, default_text, fields_mut, str_at};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::Check;
use super::pod::defaults;
use super::{cells, replicaset, workload};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, ScalePaths, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("apps", "v1", "StatefulSet", "statefulsets")
        .namespaced()
        .short(&["sts"])
        .categories(&["all"])
        .scale()
        .status()
}

/// The strategy of StatefulSets.
pub(super) struct StatefulSets;

impl Strategy for StatefulSets {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        default_text(spec, "podManagementPolicy", "OrderedReady");
        default_field(spec, "replicas", 1);
        default_field(spec, "revisionHistoryLimit", 10);
        default_field(
            spec,
            "persistentVolumeClaimRetentionPolicy",
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
        );
        let update = fields_mut(obj, &["spec", "updateStrategy"]);
        default_text(update, "type", "RollingUpdate");
        if update["type"] == "RollingUpdate" {
            let rolling = fields_mut(obj, &["spec", "updateStrategy", "rollingUpdate"]);
            default_field(rolling, "partition", 0);
        }
        let spec = fields_mut(obj, &["spec"]);
        defaults::each(spec, "volumeClaimTemplates", |claim| {
            default_text(claim, "apiVersion", "v1");
            default_text(claim, "kind", "PersistentVolumeClaim");
            defaults::within(claim, "spec", |spec| {
                default_text(spec, "volumeMode", "Filesystem");
            });
            default_field(claim, "status", json!({"phase": "Pending"}));
        });
        if let Some(template) = spec.get_mut("template") {
            defaults::template(template);
        }
        replicaset::default_status(obj);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"]))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, &obj["spec"]);
            if frozen(obj) != frozen(old) {
                let why = "updates to statefulset spec for fields other than 'replicas', \
                           'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', \
                           'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
                           forbidden";
                check.forbidden("spec", why);
            }
        })
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| workload::status_counts(check, obj))
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Ready", "Pods that are ready, of those wanted."),
            Column::age(),
            Column::wide("Containers", "The template's containers."),
            Column::wide("Images", "The template's images."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let ready = cells::int(obj, &["status", "readyReplicas"]);
        let wanted = cells::int(obj, &["spec", "replicas"]);
        let [containers, images] = cells::containers(&obj["spec"]["template"]["spec"]);
        vec![
            cells::name(obj),
            format!("{ready}/{wanted}").into(),
            cells::age(obj, now),
            containers,
            images,
        ]
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(ScalePaths::usual())
    }
}

fn frozen(obj: &Value) -> Value {
    const FREE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let mut spec = obj["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|name, _| !FREE.contains(&name.as_str()));
    }
    spec
}

fn validate(check: &mut Check, spec: &Value) {
    check.one_of(
        "spec.podManagementPolicy",
        str_at(spec, &["podManagementPolicy"]),
        &["OrderedReady", "Parallel"],
    );
    let kind = str_at(spec, &["updateStrategy", "type"]);
    check.one_of("spec.updateStrategy.type", kind, &["OnDelete", "RollingUpdate"]);
    for name in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        check.non_negative_field("spec", spec, name);
    }
    workload::selector(check, spec, "statefulset");
    workload::template(check, spec, "StatefulSet");
}
