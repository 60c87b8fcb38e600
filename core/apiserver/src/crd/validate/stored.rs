//! `status.storedVersions`: objects may still be stored in each of them.

use hansa_api::field::{FieldError, index};
use hansa_api::meta;
use serde_json::Value;

const PATH: &str = "status.storedVersions";

/// Every stored version has to be there still.
pub(super) fn validate(crd: &Value) -> Vec<FieldError> {
    let stored = meta::list_at(crd, &["status", "storedVersions"]);
    if stored.is_empty() {
        let value = crd["status"]["storedVersions"].clone();
        return vec![FieldError::invalid(PATH, value, "must have at least one stored version")];
    }
    let mut errors = Vec::new();
    let versions = meta::list_at(crd, &["spec", "versions"]);
    for version in versions.iter().filter(|version| meta::bool_at(version, &["storage"])) {
        if !stored.contains(&version["name"]) {
            let name = meta::str_at(version, &["name"]);
            let why = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(PATH, stored.to_vec(), why));
        }
    }
    for (at, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version["name"] == *name) {
            let text = name.as_str().unwrap_or_default();
            let why = format!(
                "missing from spec.versions; {text} was previously a storage version, and must \
                 remain in spec.versions until a storage migration ensures no data remains \
                 persisted in {text} and removes {text} from status.storedVersions"
            );
            errors.push(FieldError::invalid(index(PATH, at), text, why));
        }
    }
    errors
}
