//! flowcontrol.apiserver.k8s.io: which requests wait for which others.

pub(crate) mod bootstrap;
pub(super) mod flowschema;
pub(super) mod prioritylevel;

use std::collections::HashSet;

use hansa_api::field::{child, index};
use hansa_api::meta::{list_at, str_at};
use serde_json::Value;

use super::check::Check;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Conditions have types, each its own.
fn conditions(check: &mut Check, obj: &Value) {
    let mut seen = HashSet::new();
    for (at, condition) in list_at(obj, &["status", "conditions"]).iter().enumerate() {
        let path = child(&index("status.conditions", at), "type");
        let kind = str_at(condition, &["type"]);
        if !seen.insert(kind) {
            check.duplicate(&path, kind);
        }
        if kind.is_empty() {
            check.required(&path, "");
        }
    }
}

#[cfg(test)]
mod tests;
