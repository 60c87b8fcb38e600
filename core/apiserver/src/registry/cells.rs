//! What many kinds' tables have in common.

use hansa_api::meta::{self, list_at, str_at};
use hansa_api::selector::Selector;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::generic::table;

/// What an empty cell shows.
pub(crate) const NONE: &str = "<none>";
/// What a cell shows whose value is not known yet.
pub(crate) const UNSET: &str = "<unset>";

/// The name.
pub(crate) fn name(obj: &Value) -> Value {
    meta::name(obj).into()
}

/// The name, marked if an annotation says that the object is its kind's default.
pub(crate) fn name_or_default(obj: &Value, annotation: &str) -> Value {
    match meta::annotation(obj, annotation) {
        Some("true") => format!("{} (default)", meta::name(obj)).into(),
        _ => name(obj),
    }
}

/// The text of a field, as it is if it is there at all.
pub(crate) fn text(object: &Value, field: &str, missing: &str) -> Value {
    object[field].as_str().unwrap_or(missing).into()
}

/// Time since creation.
pub(crate) fn age(obj: &Value, now: Timestamp) -> Value {
    table::age(obj, now).into()
}

/// Creation time as RFC 3339.
pub(crate) fn created_at(obj: &Value) -> Value {
    meta::creation_timestamp(obj).unwrap_or("<unknown>").into()
}

/// A text, or what an empty one shows.
pub(crate) fn or(text: &str, empty: &str) -> Value {
    if text.is_empty() { empty.into() } else { text.into() }
}

/// An integer at a path, 0 if there is none.
pub(crate) fn int(obj: &Value, path: &[&str]) -> i64 {
    meta::int_at(obj, path).unwrap_or_default()
}

/// The names and the images of a pod spec's containers.
pub(crate) fn containers(pod_spec: &Value) -> [Value; 2] {
    let joined = |field: &str| {
        let all = list_at(pod_spec, &["containers"]).iter();
        let all: Vec<_> = all.map(|container| str_at(container, &[field])).collect();
        Value::from(all.join(","))
    };
    [joined("name"), joined("image")]
}

/// A map of labels: `a=b,c=d`.
pub(crate) fn labels(labels: Option<&Map<String, Value>>) -> Value {
    let pairs = labels.into_iter().flatten();
    let pairs: Vec<_> =
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    or(&pairs.join(","), NONE)
}

/// A LabelSelector object.
pub(crate) fn selector(selector: Option<&Value>) -> Value {
    match Selector::from_object(selector) {
        Ok(selector) => or(&selector.to_string(), NONE),
        Err(_) => "<error>".into(),
    }
}

/// Any JSON scalar as text.
pub(crate) fn scalar(value: Option<&Value>, empty: &str) -> Value {
    match value {
        None | Some(Value::Null) => empty.into(),
        Some(Value::String(text)) => or(text, empty),
        Some(other) => other.to_string().into(),
    }
}
