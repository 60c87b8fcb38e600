//! Deployments.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, default_field, default_text, fields_mut, str_at};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::Check;
use super::pod::defaults;
use super::{cells, workload};
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
        if let Some(template) = obj["spec"].get_mut("template") {
            defaults::template(template);
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

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| workload::status_counts(check, obj))
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
        (kind, _) => check.one_of("spec.strategy.type", kind, &["Recreate", "RollingUpdate"]),
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
    if workload::scaled(rolling.get("maxUnavailable"), 100, true) > 100
        && rolling["maxUnavailable"].is_string()
    {
        check.invalid(&path, rolling["maxUnavailable"].clone(), "must not be greater than 100%");
    }
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
