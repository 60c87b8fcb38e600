//! Conditions of the common form (meta.k8s.io/v1 `Condition`).

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{at, int_at, str_at};
use hansa_api::names;
use serde_json::Value;

use super::check::Check;

const MAX_REASON: usize = 1 << 10;
const MAX_MESSAGE: usize = 32 << 10;

/// A list of conditions, one per type.
pub(super) fn validate(check: &mut Check, path: &str, conditions: &[Value]) {
    let mut seen = HashSet::new();
    for (at, condition) in conditions.iter().enumerate() {
        let path = index(path, at);
        let kind = str_at(condition, &["type"]);
        if !seen.insert(kind) {
            check.duplicate(&child(&path, "type"), kind);
        }
        validate_one(check, &path, condition);
    }
}

fn validate_one(check: &mut Check, path: &str, condition: &Value) {
    let text = |field: &str| (child(path, field), str_at(condition, &[field]));
    let (at_type, kind) = text("type");
    check.text(&at_type, kind, names::qualified_name(kind));
    let (at_status, status) = text("status");
    let known = ["False", "True", "Unknown"];
    if !known.contains(&status) {
        check.add(FieldError::not_supported(at_status, status, &known));
    }
    let generation = int_at(condition, &["observedGeneration"]);
    if let Some(generation) = generation.filter(|generation| *generation < 0) {
        let path = child(path, "observedGeneration");
        check.invalid(&path, generation, "must be greater than or equal to zero");
    }
    if at(condition, &["lastTransitionTime"]).is_none() {
        check.required(&child(path, "lastTransitionTime"), "must be set");
    }
    let (at_reason, reason) = text("reason");
    match reason {
        "" => check.required(&at_reason, "must be set"),
        reason => check.text(&at_reason, reason, names::condition_reason(reason)),
    }
    if reason.len() > MAX_REASON {
        check.add(FieldError::too_long(at_reason, MAX_REASON));
    }
    let (at_message, message) = text("message");
    if message.len() > MAX_MESSAGE {
        check.add(FieldError::too_long(at_message, MAX_MESSAGE));
    }
}
