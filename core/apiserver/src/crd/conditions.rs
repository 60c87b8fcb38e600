//! A definition's conditions.

use hansa_api::meta;
use serde_json::{Map, Value, json};

/// One condition without its time.
pub(super) struct Condition<'a> {
    pub(super) kind: &'static str,
    pub(super) status: bool,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

/// Sets a condition; its transition time moves only with its status.
pub(super) fn set(crd: &mut Value, condition: &Condition<'_>) {
    let status = if condition.status { "True" } else { "False" };
    let fields: &mut Map<String, Value> = meta::fields_mut(crd, &["status"]);
    let conditions = fields.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(list) = conditions.as_array_mut() else { return };
    let before = list.iter().position(|known| known["type"] == condition.kind);
    let unmoved = before.map(|at| &list[at]).filter(|known| known["status"] == status);
    let since = unmoved.map(|known| known["lastTransitionTime"].clone());
    let value = json!({
        "type": condition.kind,
        "status": status,
        "lastTransitionTime": since.unwrap_or_else(|| hansa_api::time::now().into()),
        "reason": condition.reason,
        "message": condition.message,
    });
    match before {
        Some(at) => list[at] = value,
        None => list.push(value),
    }
}

/// Takes a condition away.
pub(super) fn remove(crd: &mut Value, kind: &str) {
    if let Some(list) = crd["status"]["conditions"].as_array_mut() {
        list.retain(|condition| condition["type"] != kind);
    }
}

fn find<'a>(crd: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = meta::list_at(crd, &["status", "conditions"]);
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// Whether a condition is there and true.
pub(super) fn is_true(crd: &Value, kind: &str) -> bool {
    find(crd, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Whether a condition stands for this reason.
pub(super) fn has_reason(crd: &Value, kind: &str, reason: &str) -> bool {
    find(crd, kind).is_some_and(|condition| condition["reason"] == reason)
}
