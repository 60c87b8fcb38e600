//! Metrics as autoscaling/v1 writes them into annotations, and as v2 has them.

use hansa_api::meta::{at, fields_mut};
use hansa_api::quantity::Quantity;
use serde_json::{Map, Value};

/// Pairs of paths: in v1, in v2.
type Paths = &'static [(&'static str, &'static str)];

/// A kind of metric: the field that holds it, its paths, the amounts that v1 always writes.
struct Kind {
    field: &'static str,
    spec: Paths,
    status: Paths,
    always: [&'static str; 2],
}

const KINDS: [Kind; 5] = [
    Kind {
        field: "object",
        spec: &[
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("targetValue", "target.value"),
            ("averageValue", "target.averageValue"),
        ],
        status: &[
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("currentValue", "current.value"),
            ("averageValue", "current.averageValue"),
        ],
        always: ["targetValue", "currentValue"],
    },
    Kind {
        field: "pods",
        spec: &[
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("targetAverageValue", "target.averageValue"),
        ],
        status: &[
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("currentAverageValue", "current.averageValue"),
        ],
        always: ["targetAverageValue", "currentAverageValue"],
    },
    Kind {
        field: "resource",
        spec: RESOURCE_SPEC,
        status: RESOURCE_STATUS,
        always: ["", "currentAverageValue"],
    },
    Kind {
        field: "containerResource",
        spec: RESOURCE_SPEC,
        status: RESOURCE_STATUS,
        always: ["", "currentAverageValue"],
    },
    Kind {
        field: "external",
        spec: &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("targetValue", "target.value"),
            ("targetAverageValue", "target.averageValue"),
        ],
        status: &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("currentValue", "current.value"),
            ("currentAverageValue", "current.averageValue"),
        ],
        always: ["", "currentValue"],
    },
];

const RESOURCE_SPEC: Paths = &[
    ("name", "name"),
    ("container", "container"),
    ("targetAverageUtilization", "target.averageUtilization"),
    ("targetAverageValue", "target.averageValue"),
];
const RESOURCE_STATUS: Paths = &[
    ("name", "name"),
    ("container", "container"),
    ("currentAverageUtilization", "current.averageUtilization"),
    ("currentAverageValue", "current.averageValue"),
];

/// Which of the two lists a metric is in.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    /// `spec.metrics`.
    Spec,
    /// `status.currentMetrics`.
    Status,
}

/// A metric as v1 writes it.
pub(super) fn to_v1(metric: &Value, side: Side) -> Value {
    convert(metric, side, |kind, source| {
        let mut out = Value::Object(Map::new());
        for (old, new) in paths(kind, side) {
            copy(source, new, &mut out, old);
        }
        let always = kind.always[side as usize];
        if !always.is_empty() && at(&out, &[always]).is_none() {
            out[always] = "0".into();
        }
        out
    })
}

/// A metric as v2 has it.
pub(super) fn from_v1(metric: &Value, side: Side) -> Value {
    convert(metric, side, |kind, source| {
        let mut out = Value::Object(Map::new());
        for (old, new) in paths(kind, side) {
            copy(source, old, &mut out, new);
        }
        if side == Side::Spec {
            target_type(kind.field, &mut out);
        }
        out
    })
}

fn convert(metric: &Value, _: Side, change: impl Fn(&Kind, &Value) -> Value) -> Value {
    let mut out = Map::new();
    if let Some(kind) = at(metric, &["type"]) {
        out.insert("type".into(), kind.clone());
    }
    for kind in &KINDS {
        if let Some(source) = at(metric, &[kind.field]) {
            out.insert(kind.field.into(), change(kind, source));
        }
    }
    Value::Object(out)
}

fn paths(kind: &Kind, side: Side) -> Paths {
    if side == Side::Spec { kind.spec } else { kind.status }
}

fn copy(from: &Value, from_path: &str, to: &mut Value, to_path: &str) {
    let steps: Vec<_> = from_path.split('.').collect();
    let Some(value) = at(from, &steps) else { return };
    let mut steps: Vec<_> = to_path.split('.').collect();
    let last = steps.pop().unwrap_or_default();
    fields_mut(to, &steps).insert(last.into(), value.clone());
}

/// v1 says by its fields what kind of target it means.
fn target_type(field: &str, source: &mut Value) {
    let has = |path: &str| at(source, &["target", path]).is_some();
    let kind = match field {
        "resource" | "containerResource" if has("averageUtilization") => "Utilization",
        "object" if !has("averageValue") => "Value",
        "external" if has("value") => "Value",
        _ => "AverageValue",
    };
    let target = fields_mut(source, &["target"]);
    let zero = |value: &Value| {
        value.as_str().is_some_and(|text| text.parse().is_ok_and(|q: Quantity| q.is_zero()))
    };
    if field == "object" && kind == "AverageValue" && target.get("value").is_some_and(zero) {
        target.remove("value");
    }
    target.insert("type".into(), kind.into());
}
