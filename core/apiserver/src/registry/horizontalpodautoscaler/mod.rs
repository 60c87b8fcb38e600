//! HorizontalPodAutoscalers: stored as autoscaling/v2 (here), served as v1, too ([`v1`]).

mod convert;
mod printer;
pub(super) mod v1;
mod validate;

use hansa_api::field::FieldError;
use hansa_api::meta::{Fields, default_field, fields_mut};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::Check;
use super::pod::defaults::within;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const PLURAL: &str = "horizontalpodautoscalers";

pub(super) fn resource() -> Resource {
    served("v2")
}

fn served(version: &'static str) -> Resource {
    Resource::new("autoscaling", version, "HorizontalPodAutoscaler", PLURAL)
        .namespaced()
        .short(&["hpa"])
        .categories(&["all"])
        .status()
}

/// The strategy of autoscaling/v2.
pub(super) struct Autoscalers;

impl Strategy for Autoscalers {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        default_field(spec, "minReplicas", 1);
        if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            spec.insert("metrics".into(), json!([cpu(80)]));
        }
        within(spec, "behavior", default_behavior);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate::create(check, &obj["spec"]))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| validate::update(check, &obj["spec"], &old["spec"]))
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for field in ["currentReplicas", "desiredReplicas"] {
                check.non_negative_field("status", &obj["status"], field);
            }
        })
    }

    fn columns(&self) -> Vec<Column> {
        printer::columns()
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        printer::row(obj, now)
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

/// The metric that is there if no other is: how busy the pods are.
fn cpu(percent: i64) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

/// Up: four pods or twice as many every 15 seconds, whichever is more. Down: all in 15 seconds.
fn default_behavior(behavior: &mut Fields) {
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let up = fields_of(behavior, "scaleUp");
    default_field(up, "stabilizationWindowSeconds", 0);
    default_field(up, "selectPolicy", "Max");
    default_field(up, "policies", json!([pods, percent]));
    let down = fields_of(behavior, "scaleDown");
    default_field(down, "selectPolicy", "Max");
    default_field(down, "policies", json!([percent]));
}

fn fields_of<'a>(fields: &'a mut Fields, name: &str) -> &'a mut Fields {
    let value = fields.entry(name).or_insert_with(|| json!({}));
    hansa_api::meta::as_fields_mut(value)
}

#[cfg(test)]
mod tests;
