//! What a CustomResourceDefinition must say, in upstream's words.
//!
//! Upstream checks a form in which what all versions have in common stands once, at the top: so
//! with one version, or several alike, errors point at `spec.validation`, `spec.subresources` and
//! the like. [`shared`] makes that form; [`spec`] checks it, with one file for each part.

mod conversion;
mod defaults;
mod lists;
mod names;
mod rules;
mod schema;
mod shared;
mod spec;
mod stored;
#[cfg(test)]
mod tests;
mod versions;

use hansa_api::field::FieldError;
use hansa_api::meta;
use serde_json::Value;

use super::conditions::is_true;

/// What an update may leave as it was.
#[derive(Clone, Copy, Default)]
pub(super) struct Before<'a> {
    /// The definition as it was; none on creation.
    old: Option<&'a Value>,
}

impl<'a> Before<'a> {
    fn established(self) -> bool {
        self.old.is_some_and(|old| is_true(old, "Established"))
    }

    /// A version of the old definition.
    fn version(self, name: &str) -> Option<&'a Value> {
        let versions = meta::list_at(self.old?, &["spec", "versions"]);
        versions.iter().find(|version| meta::str_at(version, &["name"]) == name)
    }

    /// Whether a version's schema is what it was, so that its rules' costs were accepted once.
    fn schema_unchanged(self, version: &Value) -> bool {
        let old = self.version(meta::str_at(version, &["name"]));
        old.is_some_and(|old| old["schema"] == version["schema"])
    }
}

/// What is wrong with a new definition.
pub(super) fn validate(crd: &Value) -> Vec<FieldError> {
    check(crd, Before::default())
}

/// What is wrong with a changed definition.
pub(super) fn validate_update(crd: &Value, old: &Value) -> Vec<FieldError> {
    let before = Before { old: Some(old) };
    let mut errors = check(crd, before);
    errors.extend(spec::immutable(crd, old, before.established()));
    errors
}

fn check(crd: &Value, before: Before<'_>) -> Vec<FieldError> {
    let mut errors = names::validate_name(crd);
    errors.extend(spec::validate(crd, before));
    errors.extend(stored::validate(crd));
    errors.extend(spec::community(crd, before.old));
    errors.extend(spec::preserve_unknown(crd, before.old));
    errors
}
