//! The table of autoscalers: what they scale, on what, and how far they are.

use hansa_api::meta::{at, int_at, list_at, str_at};
use jiff::Timestamp;
use serde_json::Value;

use crate::generic::strategy::Column;
use crate::registry::cells;

/// How many metrics a cell shows.
const SHOWN: usize = 2;
const UNKNOWN: &str = "<unknown>";

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Reference", "What it scales."),
        Column::new("Targets", "Its metrics, as they are and as they shall be."),
        Column::new("MinPods", "The fewest replicas."),
        Column::new("MaxPods", "The most replicas."),
        Column::new("Replicas", "How many there are."),
        Column::age(),
    ]
}

pub(super) fn row(obj: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &obj["spec"];
    let target = |field| str_at(spec, &["scaleTargetRef", field]);
    let least = int_at(spec, &["minReplicas"]).map(|least| least.to_string());
    vec![
        cells::name(obj),
        format!("{}/{}", target("kind"), target("name")).into(),
        metrics(obj).into(),
        least.unwrap_or_else(|| cells::UNSET.into()).into(),
        cells::int(spec, &["maxReplicas"]).into(),
        cells::int(obj, &["status", "currentReplicas"]).into(),
        cells::age(obj, now),
    ]
}

fn metrics(obj: &Value) -> String {
    let wanted = list_at(obj, &["spec", "metrics"]);
    let found = list_at(obj, &["status", "currentMetrics"]);
    let shown = wanted.iter().enumerate().take(SHOWN);
    let shown: Vec<_> =
        shown.map(|(at, spec)| metric(spec, found.get(at).unwrap_or(&Value::Null))).collect();
    match wanted.len() {
        0 => cells::NONE.into(),
        count if count > SHOWN => format!("{} + {} more...", shown.join(", "), count - SHOWN),
        _ => shown.join(", "),
    }
}

fn metric(spec: &Value, status: &Value) -> String {
    match str_at(spec, &["type"]) {
        "External" => plain(&spec["external"], &status["external"]),
        "Object" => plain(&spec["object"], &status["object"]),
        "Pods" => {
            let (spec, status) = (&spec["pods"], &status["pods"]);
            format!("{}/{}", current(status, "averageValue"), amount(spec, "averageValue"))
        }
        "Resource" => resource(&spec["resource"], &status["resource"]),
        "ContainerResource" => resource(&spec["containerResource"], &status["containerResource"]),
        _ => "<unknown type>".into(),
    }
}

/// A value, or one per pod.
fn plain(spec: &Value, status: &Value) -> String {
    if at(spec, &["target", "averageValue"]).is_some() {
        let wanted = amount(spec, "averageValue");
        return format!("{}/{wanted} (avg)", current(status, "averageValue"));
    }
    format!("{}/{}", current(status, "value"), amount(spec, "value"))
}

/// A resource's amount per pod, or the part of the request that is used.
fn resource(spec: &Value, status: &Value) -> String {
    let name = str_at(spec, &["name"]);
    if at(spec, &["target", "averageValue"]).is_some() {
        let wanted = amount(spec, "averageValue");
        return format!("{name}: {}/{wanted}", current(status, "averageValue"));
    }
    let percent = |object, path: &[&str], missing: &str| {
        int_at(object, path).map_or_else(|| missing.into(), |percent| format!("{percent}%"))
    };
    let found = percent(status, &["current", "averageUtilization"], UNKNOWN);
    format!("{name}: {found}/{}", percent(spec, &["target", "averageUtilization"], "<auto>"))
}

/// What the status says; nothing that is said counts as zero.
fn current(status: &Value, field: &str) -> String {
    match status.is_null() {
        true => UNKNOWN.into(),
        false => match str_at(status, &["current", field]) {
            "" => "0".into(),
            text => text.into(),
        },
    }
}

fn amount(spec: &Value, field: &str) -> String {
    match str_at(spec, &["target", field]) {
        "" => "0".into(),
        text => text.into(),
    }
}
