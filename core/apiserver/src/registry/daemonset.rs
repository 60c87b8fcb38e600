//! DaemonSets.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, default_field, default_text, fields_mut, str_at};
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::pod::defaults;
use super::{cells, workload};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("apps", "v1", "DaemonSet", "daemonsets")
        .namespaced()
        .short(&["ds"])
        .categories(&["all"])
        .status()
}

/// The strategy of DaemonSets.
pub(super) struct DaemonSets;

impl Strategy for DaemonSets {
    fn default(&self, obj: &mut Value) {
        default_field(fields_mut(obj, &["spec"]), "revisionHistoryLimit", 10);
        let update = fields_mut(obj, &["spec", "updateStrategy"]);
        default_text(update, "type", "RollingUpdate");
        if update["type"] == "RollingUpdate" {
            let rolling = fields_mut(obj, &["spec", "updateStrategy", "rollingUpdate"]);
            default_field(rolling, "maxUnavailable", 1);
            default_field(rolling, "maxSurge", 0);
        }
        if let Some(template) = obj["spec"].get_mut("template") {
            defaults::template(template);
        }
        let status = fields_mut(obj, &["status"]);
        for count in [
            "currentNumberScheduled",
            "desiredNumberScheduled",
            "numberMisscheduled",
            "numberReady",
        ] {
            default_field(status, count, 0);
        }
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

    fn columns(&self) -> Vec<Column> {
        let count = |name, what| Column::of(name, "integer", what, 0);
        vec![
            Column::name(),
            count("Desired", "Nodes that should run a pod."),
            count("Current", "Nodes that run at least one."),
            count("Ready", "Nodes whose pod is ready."),
            count("Up-to-date", "Nodes whose pod is of the newest template."),
            count("Available", "Nodes whose pod has been ready for long enough."),
            Column::new("Node Selector", "The labels of the nodes it runs on."),
            Column::age(),
            Column::wide("Containers", "The template's containers."),
            Column::wide("Images", "The template's images."),
            Column::wide("Selector", "The labels of its pods."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let status = |field| Value::from(cells::int(obj, &["status", field]));
        let [containers, images] = cells::containers(&obj["spec"]["template"]["spec"]);
        vec![
            cells::name(obj),
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            cells::labels(meta::map_at(obj, &["spec", "template", "spec", "nodeSelector"])),
            cells::age(obj, now),
            containers,
            images,
            cells::selector(meta::at(obj, &["spec", "selector"])),
        ]
    }
}

fn validate(check: &mut Check, spec: &Value) {
    workload::selector(check, spec, "daemonset");
    workload::template(check, spec, "DaemonSet");
    check.non_negative_field("spec", spec, "minReadySeconds");
    check.non_negative_field("spec", spec, "revisionHistoryLimit");
    let kind = str_at(spec, &["updateStrategy", "type"]);
    check.one_of("spec.updateStrategy.type", kind, &["OnDelete", "RollingUpdate"]);
    let rolling = &spec["updateStrategy"]["rollingUpdate"];
    for name in ["maxUnavailable", "maxSurge"] {
        check.int_or_percent(
            &format!("spec.updateStrategy.rollingUpdate.{name}"),
            rolling.get(name),
        );
    }
}
