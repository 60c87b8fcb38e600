//! DaemonSets.

use hansa_api::field::{FieldError, child};
use hansa_api::meta::{self, default_field, default_text, fields_mut, str_at};
use hansa_api::selector::Selector;
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::{cells, workload};
use crate::generic::context::Context;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

/// In this version of the API a field of older ones lives on as an annotation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

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
        if template_generation(obj).is_none() {
            set_template_generation(obj, 0);
        }
        default_field(fields_mut(obj, &["spec"]), "revisionHistoryLimit", 10);
        let update = fields_mut(obj, &["spec", "updateStrategy"]);
        default_text(update, "type", "RollingUpdate");
        if update["type"] == "RollingUpdate" {
            let rolling = fields_mut(obj, &["spec", "updateStrategy", "rollingUpdate"]);
            default_field(rolling, "maxUnavailable", 1);
            default_field(rolling, "maxSurge", 0);
        }
        workload::default_template(obj);
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

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        let given = template_generation(obj).unwrap_or_default();
        set_template_generation(obj, given.max(1));
    }

    fn prepare_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        let changed = obj["spec"]["template"] != old["spec"]["template"];
        let given = template_generation(old).unwrap_or_default();
        set_template_generation(obj, given + i64::from(changed));
    }

    fn prepare_status_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        set_template_generation(obj, template_generation(old).unwrap_or_default());
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"]))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            workload::selector_immutable(check, obj, old);
            validate(check, &obj["spec"]);
        })
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        const COUNTS: [&str; 9] = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        Check::run(|check| {
            workload::counts(check, obj, &COUNTS);
            workload::collisions_grow(check, obj, old);
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

fn template_generation(obj: &Value) -> Option<i64> {
    meta::annotation(obj, TEMPLATE_GENERATION)?.parse().ok()
}

fn set_template_generation(obj: &mut Value, to: i64) {
    let annotations = fields_mut(obj, &["metadata", "annotations"]);
    annotations.insert(TEMPLATE_GENERATION.into(), to.to_string().into());
}

fn validate(check: &mut Check, spec: &Value) {
    if let Some(selector) = spec.get("selector") {
        check.label_selector("spec.selector", selector);
    }
    if let Ok(selector) = Selector::from_object(spec.get("selector")) {
        workload::template_labels(check, spec, &selector);
    }
    if let Some(selector) = spec.get("selector") {
        workload::selects_something(check, selector, "daemonset");
    }
    workload::template(check, spec, "DaemonSet");
    check.non_negative_field("spec", spec, "minReadySeconds");
    update_strategy(check, &spec["updateStrategy"]);
    check.non_negative_field("spec", spec, "revisionHistoryLimit");
}

fn update_strategy(check: &mut Check, update: &Value) {
    const PATH: &str = "spec.updateStrategy";
    match (str_at(update, &["type"]), update.get("rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => check.required(&child(PATH, "rollingUpdate"), ""),
        ("RollingUpdate", Some(rolling)) => {
            rolling_update(check, &child(PATH, "rollingUpdate"), rolling);
        }
        _ => {
            let known = ["RollingUpdate", "OnDelete"];
            check.add(FieldError::not_supported(PATH, update.clone(), &known));
        }
    }
}

fn rolling_update(check: &mut Check, path: &str, rolling: &Value) {
    const NAMES: [&str; 2] = ["maxUnavailable", "maxSurge"];
    for name in NAMES {
        check.int_or_percent(&child(path, name), rolling.get(name));
    }
    for name in NAMES {
        workload::at_most_all(check, &child(path, name), rolling.get(name));
    }
    match NAMES.map(|name| workload::scaled(rolling.get(name), 100, true) != 0) {
        [true, true] => {
            let why = "may not be set when maxUnavailable is non-zero";
            check.invalid(&child(path, "maxSurge"), rolling["maxSurge"].clone(), why);
        }
        [false, false] => {
            check.required(&child(path, "maxUnavailable"), "cannot be 0 when maxSurge is 0");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn agent(spec: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "agent"}, "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "a", "image": "b"}]}}}});
        for (field, value) in spec.as_object().unwrap() {
            obj["spec"][field] = value.clone();
        }
        DaemonSets.default(&mut obj);
        obj
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(texts(&DaemonSets.validate_create(&agent(json!({})))), [""; 0]);
        let rolling = |rolling: Value| json!({"updateStrategy": {"rollingUpdate": rolling}});
        let cases = [
            (
                rolling(json!({"maxUnavailable": 0})),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 \
                 when maxSurge is 0",
            ),
            (
                rolling(json!({"maxSurge": "10%"})),
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"10%\": may not be \
                 set when maxUnavailable is non-zero",
            ),
            (
                rolling(json!({"maxUnavailable": "101%"})),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must \
                 not be greater than 100%",
            ),
            (
                json!({"updateStrategy": {"type": "Never"}}),
                "spec.updateStrategy: Unsupported value: {\"type\":\"Never\"}: supported values: \
                 \"RollingUpdate\", \"OnDelete\"",
            ),
            (
                json!({"selector": {}}),
                "spec.selector: Invalid value: {}: empty selector is invalid for daemonset",
            ),
        ];
        refuses(&DaemonSets, cases.map(|(spec, error)| (agent(spec), error)));
    }

    #[test]
    fn the_template_has_its_own_generation() {
        let old = json!({"metadata": {"annotations": {TEMPLATE_GENERATION: "3"}},
            "spec": {"template": {"a": 1}}});
        let mut new = json!({"metadata": {}, "spec": {"template": {"a": 2}}});
        DaemonSets.prepare_update(&Context::default(), &mut new, &old);
        assert_eq!(new["metadata"]["annotations"][TEMPLATE_GENERATION], "4");
    }

    #[test]
    fn counts_are_not_negative() {
        let new = json!({"status": {"numberReady": -1}});
        assert_eq!(
            texts(&DaemonSets.validate_status_update(&new, &json!({}))),
            ["status.numberReady: Invalid value: -1: must be greater than or equal to 0"]
        );
    }
}
