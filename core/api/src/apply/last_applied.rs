//! The configuration that client-side apply left in an annotation: how `kubectl apply` finds its
//! fields again when it turns to server-side apply.

use serde_json::Value;

use super::compare::compare;
use super::extract::field_set;
use super::go;
use super::set::Set;
use super::tracker::Versions;
use super::validate::validate;
use crate::meta;

/// The manager to whom this applies.
pub(super) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
const ANNOTATIONS_MAX: usize = 256 << 10;

/// The fields that client-side apply set and nobody changed since; `None` if there is no telling.
pub(super) fn unchanged_since(versions: &dyn Versions, live: &Value) -> Option<Set> {
    let text = meta::annotation(live, ANNOTATION).filter(|text| !text.is_empty())?;
    let applied: Value = serde_json::from_str(text).ok()?;
    if meta::api_version(&applied) != versions.api_version() {
        return None;
    }
    let kind = versions.own();
    validate(kind, live).ok()?;
    validate(kind, &applied).ok()?;
    let changes = compare(kind, &applied, live).ok()?;
    let set = field_set(kind, &applied);
    let set = set.difference(&changes.modified).difference(&changes.added);
    Some(set.difference(&changes.removed))
}

/// Keeps the annotation in step with what is applied now, so that client-side apply may come back.
pub(super) fn refresh(object: &mut Value, part: &Value) {
    if meta::annotation(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut applied = part.clone();
    if meta::annotations(&applied).is_some() {
        meta::fields_mut(&mut applied, &["metadata", "annotations"]).remove(ANNOTATION);
    }
    meta::set_annotation(object, ANNOTATION, &(go::json(&applied) + "\n"));
    let sizes = meta::annotations(object).into_iter().flatten();
    let size: usize =
        sizes.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_MAX {
        meta::fields_mut(object, &["metadata", "annotations"]).remove(ANNOTATION);
    }
}
