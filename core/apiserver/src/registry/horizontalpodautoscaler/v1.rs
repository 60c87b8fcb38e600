//! autoscaling/v1: one CPU target; all else is in annotations.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, at, default_field, fields_mut, int_at, list_at, str_at};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::convert::{Side, from_v1, to_v1};
use super::{Autoscalers, PLURAL, cpu, printer, served};
use crate::generic::context::Context;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const STATUSES: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const TOLERANCES: [&str; 2] = [
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

pub(in crate::registry) fn resource() -> Resource {
    served("v1").stored_as(format!("/registry/autoscaling/{PLURAL}/"), "autoscaling/v2")
}

/// The strategy of autoscaling/v1: v2's, on the converted object.
pub(in crate::registry) struct AutoscalersV1;

impl Strategy for AutoscalersV1 {
    fn default(&self, obj: &mut Value) {
        default_field(fields_mut(obj, &["spec"]), "minReplicas", 1);
        let others = read_list(obj, METRICS).is_some_and(|list| !list.is_empty());
        if !others {
            let spec = fields_mut(obj, &["spec"]);
            default_field(spec, "targetCPUUtilizationPercentage", 80);
        }
    }

    fn prepare_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        keep(obj, old, &[STATUSES, CONDITIONS]);
    }

    fn prepare_status_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        keep(obj, old, &[METRICS, BEHAVIOR]);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Autoscalers.validate_create(&hub(obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Autoscalers.validate_update(&hub(obj), &hub(old))
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Autoscalers.validate_status_update(obj, old)
    }

    fn columns(&self) -> Vec<Column> {
        printer::columns()
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        printer::row(&hub(obj), now)
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn to_hub(&self, obj: &mut Value) {
        metrics_to_hub(obj);
        behavior_to_hub(obj);
        status_to_hub(obj);
        let metadata = meta::metadata_mut(obj);
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.retain(|key, _| !is_ours(key));
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }

    fn from_hub(&self, obj: &mut Value) {
        metrics_from_hub(obj);
        behavior_from_hub(obj);
        status_from_hub(obj);
    }
}

fn hub(obj: &Value) -> Value {
    let mut hub = obj.clone();
    AutoscalersV1.to_hub(&mut hub);
    hub
}

fn is_ours(key: &str) -> bool {
    [METRICS, BEHAVIOR, STATUSES, CONDITIONS].contains(&key) || TOLERANCES.contains(&key)
}

/// Takes annotations from the old object: a client may not change them in this way.
fn keep(obj: &mut Value, old: &Value, keys: &[&str]) {
    for key in keys {
        match meta::annotation(old, key) {
            Some(text) => meta::set_annotation(obj, key, text),
            None => {
                let metadata = meta::metadata_mut(obj);
                if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                    annotations.remove(*key);
                }
            }
        }
    }
}

fn read_list(obj: &Value, key: &str) -> Option<Vec<Value>> {
    serde_json::from_str(meta::annotation(obj, key)?).ok()
}

fn write(obj: &mut Value, key: &str, value: &Value) {
    meta::set_annotation(obj, key, &value.to_string());
}

fn metrics_to_hub(obj: &mut Value) {
    let others = read_list(obj, METRICS).unwrap_or_default();
    let mut metrics: Vec<_> = others.iter().map(|metric| from_v1(metric, Side::Spec)).collect();
    let spec = fields_mut(obj, &["spec"]);
    let percent = spec.remove("targetCPUUtilizationPercentage").and_then(|value| value.as_i64());
    metrics.extend(percent.map(cpu));
    if metrics.is_empty() {
        metrics.push(cpu(80));
    }
    spec.insert("metrics".into(), metrics.into());
}

fn metrics_from_hub(obj: &mut Value) {
    let spec = fields_mut(obj, &["spec"]);
    let metrics = spec.remove("metrics").unwrap_or_default();
    let (mut others, mut percent) = (Vec::new(), None);
    for metric in metrics.as_array().into_iter().flatten() {
        match utilization(metric, "target") {
            Some(found) => percent = percent.or(Some(found)),
            None => others.push(to_v1(metric, Side::Spec)),
        }
    }
    if let Some(percent) = percent {
        spec.insert("targetCPUUtilizationPercentage".into(), percent.into());
    }
    if !others.is_empty() {
        write(obj, METRICS, &others.into());
    }
}

/// The CPU utilization that a metric is about, wanted or found.
fn utilization(metric: &Value, side: &str) -> Option<i64> {
    let cpu =
        str_at(metric, &["type"]) == "Resource" && str_at(metric, &["resource", "name"]) == "cpu";
    int_at(metric, &["resource", side, "averageUtilization"]).filter(|_| cpu)
}

fn behavior_to_hub(obj: &mut Value) {
    let text = meta::annotation(obj, BEHAVIOR);
    let behavior: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
    let behavior = behavior.map(|behavior| recase(&behavior, |first| first.to_ascii_lowercase()));
    if let Some(behavior) = behavior.filter(|behavior| behavior.as_object().is_some_and(some)) {
        fields_mut(obj, &["spec"]).insert("behavior".into(), behavior);
    }
}

fn some(fields: &Map<String, Value>) -> bool {
    !fields.is_empty()
}

fn behavior_from_hub(obj: &mut Value) {
    if let Some(behavior) = fields_mut(obj, &["spec"]).remove("behavior") {
        let behavior = recase(&behavior, |first| first.to_ascii_uppercase());
        write(obj, BEHAVIOR, &behavior);
    }
}

/// The annotation has the fields' names as Go has them, with a capital.
fn recase(value: &Value, change: fn(&char) -> char) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let rename = |(name, value): (&String, &Value)| {
                let first = name.chars().next().iter().map(change).collect::<String>();
                let rest: String = name.chars().skip(1).collect();
                (first + &rest, recase(value, change))
            };
            Value::Object(fields.map(rename).collect())
        }
        Value::Array(items) => items.iter().map(|item| recase(item, change)).collect(),
        other => other.clone(),
    }
}

fn status_to_hub(obj: &mut Value) {
    let metrics = read_list(obj, STATUSES);
    let metrics = metrics.map(|list| list.iter().map(|one| from_v1(one, Side::Status)).collect());
    let conditions = read_list(obj, CONDITIONS);
    let Some(Value::Object(status)) = obj.get_mut("status") else { return };
    let percent = status.remove("currentCPUUtilizationPercentage");
    let cpu = percent.map(|percent| {
        json!([{"type": "Resource", "resource": {
            "name": "cpu", "current": {"averageUtilization": percent}}}])
    });
    if let Some(metrics) = metrics.or(cpu) {
        status.insert("currentMetrics".into(), metrics);
    }
    if let Some(conditions) = conditions {
        status.insert("conditions".into(), conditions.into());
    }
}

fn status_from_hub(obj: &mut Value) {
    let found = list_at(obj, &["status", "currentMetrics"]).to_vec();
    let conditions = at(obj, &["status", "conditions"]).cloned();
    if let Some(Value::Object(status)) = obj.get_mut("status") {
        status.remove("currentMetrics");
        status.remove("conditions");
        if let Some(percent) = found.iter().rev().find_map(|one| utilization(one, "current")) {
            status.insert("currentCPUUtilizationPercentage".into(), percent.into());
        }
    }
    if !found.is_empty() {
        let metrics: Vec<_> = found.iter().map(|one| to_v1(one, Side::Status)).collect();
        write(obj, STATUSES, &metrics.into());
    }
    if let Some(conditions) =
        conditions.filter(|list| list.as_array().is_some_and(|l| !l.is_empty()))
    {
        write(obj, CONDITIONS, &conditions);
    }
}
