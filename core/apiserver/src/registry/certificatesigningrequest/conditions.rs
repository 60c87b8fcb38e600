//! Conditions of requests: when they came, and which of them a signer may not touch.

use hansa_api::meta::{at, list_at, str_at};
use hansa_api::time;
use serde_json::Value;

/// Approvals and denials stay as they were, unless one is added or taken away, which is an error
/// that validation names.
pub(super) fn keep(obj: &mut Value, old: &Value) {
    for kind in ["Approved", "Denied"] {
        let before: Vec<Value> = of(old, kind).cloned().collect();
        if of(obj, kind).count() != before.len() {
            continue;
        }
        let now = obj["status"]["conditions"].as_array_mut().into_iter().flatten();
        let same = now.filter(|condition| str_at(condition, &["type"]) == kind);
        same.zip(before).for_each(|(condition, before)| *condition = before);
    }
}

/// Fills in the times that a client leaves out.
pub(super) fn stamp(obj: &mut Value, old: &Value) {
    let now = time::now();
    for condition in obj["status"]["conditions"].as_array_mut().into_iter().flatten() {
        if !condition.is_object() {
            continue;
        }
        if at(condition, &["lastUpdateTime"]).is_none() {
            condition["lastUpdateTime"] = now.clone().into();
        }
        if at(condition, &["lastTransitionTime"]).is_none() {
            let before = list_at(old, &["status", "conditions"]).iter().find(|before| {
                ["type", "status"].iter().all(|field| before[field] == condition[field])
                    && at(before, &["lastTransitionTime"]).is_some()
            });
            let since = before.map(|before| before["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = since.unwrap_or_else(|| now.clone().into());
        }
    }
}

/// The conditions of one type.
pub(super) fn of<'a>(obj: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = list_at(obj, &["status", "conditions"]).iter();
    all.filter(move |condition| str_at(condition, &["type"]) == kind)
}
