//! Deployments.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, default_field, default_text, fields_mut, str_at};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::Check;
use super::{cells, workload};
use crate::generic::context::Context;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, ScalePaths, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("apps", "v1", "Deployment", "deployments")
        .namespaced()
        .short(&["deploy"])
        .categories(&["all"])
        .scale()
        .status()
}

/// The strategy of Deployments.
pub(super) struct Deployments;

impl Strategy for Deployments {
    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["metadata.labels"] } else { &[] }
    }

    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        default_field(spec, "replicas", 1);
        default_field(spec, "revisionHistoryLimit", 10);
        default_field(spec, "progressDeadlineSeconds", 600);
        let strategy = fields_mut(obj, &["spec", "strategy"]);
        default_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = fields_mut(obj, &["spec", "strategy", "rollingUpdate"]);
            default_field(rolling, "maxUnavailable", "25%");
            default_field(rolling, "maxSurge", "25%");
        }
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

    fn prepare_status_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        let metadata = meta::metadata_mut(obj);
        match old["metadata"].get("labels") {
            Some(labels) => metadata.insert("labels".into(), labels.clone()),
            None => metadata.remove("labels"),
        };
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        const PARTS: [&str; 3] = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        Check::run(|check| {
            workload::counts(check, obj, &["observedGeneration", "replicas"]);
            workload::counts(check, obj, &PARTS);
            let rest = ["unavailableReplicas", "terminatingReplicas", "collisionCount"];
            workload::counts(check, obj, &rest);
            workload::counts_fit(check, obj, &PARTS, "readyReplicas");
            workload::collisions_grow(check, obj, old);
        })
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        workload::name_warning(obj).into_iter().filter(|_| old.is_none()).collect()
    }

    fn metadata_is_desired(&self) -> &'static [&'static str] {
        &["annotations"]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Ready", "Pods that are ready, of those wanted."),
            Column::new("Up-to-date", "Pods of the newest template."),
            Column::new("Available", "Pods that have been ready for long enough."),
            Column::age(),
            Column::wide("Containers", "The template's containers."),
            Column::wide("Images", "The template's images."),
            Column::wide("Selector", "The labels of its pods."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let status = |field| cells::int(obj, &["status", field]);
        let ready =
            format!("{}/{}", status("readyReplicas"), cells::int(obj, &["spec", "replicas"]));
        let [containers, images] = cells::containers(&obj["spec"]["template"]["spec"]);
        vec![
            cells::name(obj),
            ready.into(),
            status("updatedReplicas").into(),
            status("availableReplicas").into(),
            cells::age(obj, now),
            containers,
            images,
            cells::selector(meta::at(obj, &["spec", "selector"])),
        ]
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(ScalePaths::usual())
    }
}

fn validate(check: &mut Check, spec: &Value) {
    check.non_negative_field("spec", spec, "replicas");
    workload::selector(check, spec, "deployment");
    workload::template(check, spec, "ReplicaSet");
    strategy(check, &spec["strategy"]);
    for name in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        check.non_negative_field("spec", spec, name);
    }
    let deadline = spec["progressDeadlineSeconds"].as_i64();
    let ready = spec["minReadySeconds"].as_i64().unwrap_or_default();
    if let Some(deadline) = deadline.filter(|deadline| *deadline <= ready) {
        let why = "must be greater than minReadySeconds";
        check.invalid("spec.progressDeadlineSeconds", deadline, why);
    }
}

fn strategy(check: &mut Check, strategy: &Value) {
    let path = "spec.strategy.rollingUpdate";
    let rolling = strategy.get("rollingUpdate");
    match (str_at(strategy, &["type"]), rolling) {
        ("Recreate", Some(_)) => {
            check.forbidden(path, "may not be specified when strategy `type` is 'Recreate'");
        }
        ("RollingUpdate", None) => {
            check.required(path, "this should be defaulted and never be nil");
        }
        ("RollingUpdate", Some(rolling)) => rolling_update(check, path, rolling),
        ("Recreate", None) => {}
        _ => {
            let known = ["Recreate", "RollingUpdate"];
            check.add(FieldError::not_supported("spec.strategy", strategy.clone(), &known));
        }
    }
}

fn rolling_update(check: &mut Check, path: &str, rolling: &Value) {
    for name in ["maxUnavailable", "maxSurge"] {
        check.int_or_percent(&format!("{path}.{name}"), rolling.get(name));
    }
    let zero = |name: &str| workload::scaled(rolling.get(name), 100, true) == 0;
    let path = format!("{path}.maxUnavailable");
    if zero("maxUnavailable") && zero("maxSurge") {
        let value = rolling.get("maxUnavailable").cloned().unwrap_or(json!(0));
        check.invalid(&path, value, "may not be 0 when `maxSurge` is 0");
    }
    workload::at_most_all(check, &path, rolling.get("maxUnavailable"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::texts;

    fn web() -> Value {
        let mut obj = json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "a", "image": "b"}]}}}});
        Deployments.default(&mut obj);
        obj
    }

    #[test]
    fn defaults_are_upstreams() {
        let spec = &web()["spec"];
        assert_eq!(spec["replicas"], 1);
        assert_eq!(spec["progressDeadlineSeconds"], 600);
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
        assert!(spec["template"]["spec"].get("enableServiceLinks").is_none());
    }

    #[test]
    fn mistakes_are_named() {
        let change = |pointer: &str, value: Value| {
            let mut obj = web();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            obj.pointer_mut(parent).unwrap()[field] = value;
            texts(&Deployments.validate_create(&obj))
        };
        let cases = [
            (
                change("/spec/replicas", json!(-1)),
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                change("/spec/selector", json!({})),
                "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
            ),
            (
                change("/spec/template/metadata/labels", json!({"app": "db"})),
                "spec.template.metadata.labels: Invalid value: {\"app\":\"db\"}: `selector` does \
                 not match template `labels`",
            ),
            (
                change("/spec/template/spec/restartPolicy", json!("Never")),
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported \
                 values: \"Always\"",
            ),
            (
                change("/spec/strategy/rollingUpdate", json!({"maxSurge": 0, "maxUnavailable": 0})),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when \
                 `maxSurge` is 0",
            ),
            (
                change("/spec/minReadySeconds", json!(700)),
                "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than \
                 minReadySeconds",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, [expected]);
        }
        assert_eq!(texts(&Deployments.validate_create(&web())), [""; 0]);
    }

    #[test]
    fn counts_fit_one_another() {
        let new = json!({"status": {"replicas": 1, "updatedReplicas": 2, "readyReplicas": -1}});
        let old = json!({"status": {"collisionCount": 1}});
        assert_eq!(
            texts(&Deployments.validate_status_update(&new, &old)),
            [
                "status.readyReplicas: Invalid value: -1: must be greater than or equal to 0",
                "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 0: cannot be greater than readyReplicas",
                "status.collisionCount: Invalid value: 0: cannot be decremented",
            ]
        );
    }

    #[test]
    fn without_a_selector_nothing_fits() {
        let mut obj = web();
        obj["spec"].as_object_mut().unwrap().remove("selector");
        assert_eq!(
            texts(&Deployments.validate_create(&obj)),
            [
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does \
                 not match template `labels`",
            ]
        );
    }

    #[test]
    fn the_selector_stays() {
        let mut other = web();
        other["spec"]["selector"]["matchLabels"] = json!({"app": "web", "b": "c"});
        other["spec"]["template"]["metadata"]["labels"] = json!({"app": "web", "b": "c"});
        let errors = texts(&Deployments.validate_update(&other, &web()));
        assert_eq!(
            errors,
            ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"b\":\"c\"}}: \
                 field is immutable"]
        );
    }
}
