//! Upstream's inner form: what all versions have alike stands at the top, once.

use hansa_api::field::{child, index};
use hansa_api::meta;
use serde_json::Value;

/// One thing to check, and where it stands.
pub(super) struct Part<'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
    /// The version that it is of; the first if they are all alike.
    pub(super) version: &'a Value,
}

/// The parts of every version under a field, or the one at the top (named `above`) that they all
/// share.
pub(super) fn parts<'a>(crd: &'a Value, field: &str, above: &str) -> Parts<'a> {
    let versions = meta::list_at(crd, &["spec", "versions"]);
    let shared = versions.windows(2).all(|pair| pair[0][field] == pair[1][field]);
    let part = |version: &'a Value, path: String| Part { value: &version[field], path, version };
    match (shared, versions.first()) {
        (true, Some(first)) => Parts::Shared(part(first, child("spec", above))),
        _ => Parts::Each(
            versions
                .iter()
                .enumerate()
                .map(|(at, version)| part(version, child(&index("spec.versions", at), field)))
                .collect(),
        ),
    }
}

/// See [`parts`].
pub(super) enum Parts<'a> {
    Shared(Part<'a>),
    Each(Vec<Part<'a>>),
}

impl<'a> Parts<'a> {
    /// The part at the top, if there is one that says anything.
    pub(super) fn shared(&self) -> Option<&Part<'a>> {
        match self {
            Self::Shared(part) if says(part.value) => Some(part),
            _ => None,
        }
    }

    /// A version's own part, if it has one that says anything.
    pub(super) fn of(&self, at: usize) -> Option<&Part<'a>> {
        match self {
            Self::Shared(_) => None,
            Self::Each(parts) => parts.get(at).filter(|part| says(part.value)),
        }
    }
}

fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}
