//! resource.k8s.io: devices, who wants them, and who has them.

mod allocation;
pub(super) mod claim;
pub(super) mod class;
mod device;
mod names;
mod request;
pub(super) mod slice;
pub(super) mod template;

use std::collections::HashSet;

use hansa_api::field::{FieldError, index};
use serde_json::Value;

use super::check::Check;

const GROUP: &str = "resource.k8s.io";
/// How many requests a claim has, and how many devices it gets.
const MAX_REQUESTS: usize = 32;
const MAX_CONFIGS: usize = 32;
const MAX_SELECTORS: usize = 32;

/// A list of at most so many items, each checked.
fn list(
    check: &mut Check,
    path: &str,
    items: &[Value],
    max: usize,
    mut validate: impl FnMut(&mut Check, &str, &Value),
) -> bool {
    if items.len() > max {
        check.add(FieldError::too_many(path, items.len(), max));
        return false;
    }
    for (at, item) in items.iter().enumerate() {
        validate(check, &index(path, at), item);
    }
    true
}

/// The same, and no two items have the same key.
fn set(
    check: &mut Check,
    path: &str,
    items: &[Value],
    max: usize,
    validate: impl FnMut(&mut Check, &str, &Value),
    key: impl Fn(&Value) -> Value,
) {
    if !list(check, path, items, max, validate) {
        return;
    }
    let mut seen = HashSet::new();
    for (at, item) in items.iter().enumerate() {
        let key = key(item);
        if !seen.insert(key.to_string()) {
            check.duplicate(&index(path, at), key);
        }
    }
}

#[cfg(test)]
mod tests;
