//! A definition's status: what follows from its names and its spec.

use hansa_api::meta;
use serde_json::{Value, json};

use super::CLEANUP;
use super::approval::{self, State};
use super::conditions::{self, Condition};
use super::definition::{self, Names};
use super::names::Verdict;

/// The definition with the status that follows from the verdict on its names.
pub(super) fn with_status(crd: &Value, verdict: &Verdict) -> Value {
    let mut crd = crd.clone();
    meta::fields_mut(&mut crd, &["status"])
        .insert("acceptedNames".into(), verdict.accepted.to_json());
    let names = match &verdict.conflict {
        None => Condition {
            kind: "NamesAccepted",
            status: true,
            reason: "NoConflicts",
            message: "no conflicts found",
        },
        Some(conflict) => Condition {
            kind: "NamesAccepted",
            status: false,
            reason: conflict.reason,
            message: &conflict.message,
        },
    };
    conditions::set(&mut crd, &names);
    if !conditions::is_true(&crd, "Established") {
        let established = names.status;
        let (reason, message) = match established {
            true => ("InitialNamesAccepted", "the initial names have been accepted"),
            false => ("NotAccepted", "not all names are accepted"),
        };
        let condition = Condition { kind: "Established", status: established, reason, message };
        conditions::set(&mut crd, &condition);
    }
    approve(&mut crd);
    remember_stored(&mut crd);
    crd
}

/// Whether the community's groups are used with its approval.
fn approve(crd: &mut Value) {
    if !approval::is_protected(definition::group(crd)) {
        conditions::remove(crd, "KubernetesAPIApprovalPolicyConformant");
        return;
    }
    let (state, message) = approval::state(crd);
    let (status, reason) = match state {
        State::Approved => (true, "ApprovedAnnotation"),
        State::Bypassed => (false, "UnapprovedAnnotation"),
        State::Missing => (false, "MissingAnnotation"),
        State::Invalid => (false, "InvalidAnnotation"),
    };
    let kind = "KubernetesAPIApprovalPolicyConformant";
    conditions::set(crd, &Condition { kind, status, reason, message: &message });
}

/// Adds the storage version to those that objects may be stored in.
pub(super) fn remember_stored(crd: &mut Value) {
    let storage = definition::storage_version(crd).to_string();
    let stored = meta::fields_mut(crd, &["status"]).entry("storedVersions");
    let stored = stored.or_insert_with(|| json!([]));
    if !stored.is_array() {
        *stored = json!([]);
    }
    if let Some(list) = stored.as_array_mut()
        && !storage.is_empty()
        && !list.iter().any(|version| *version == storage.as_str())
    {
        list.push(storage.into());
    }
}

/// The definition whose objects are being deleted.
pub(super) fn deleting(crd: &Value) -> Value {
    let mut crd = crd.clone();
    terminating(
        &mut crd,
        true,
        "InstanceDeletionInProgress",
        "CustomResource deletion is in progress",
    );
    crd
}

/// The definition whose objects are gone: free to go itself.
pub(super) fn cleaned(crd: &Value) -> Value {
    let mut crd = crd.clone();
    terminating(&mut crd, false, "InstanceDeletionCompleted", "removed all instances");
    let left: Vec<Value> =
        meta::finalizers(&crd).filter(|name| *name != CLEANUP).map(Value::from).collect();
    meta::metadata_mut(&mut crd).insert("finalizers".into(), left.into());
    crd
}

/// Sets the condition that says how far the deletion is.
pub(super) fn terminating(crd: &mut Value, status: bool, reason: &str, message: &str) {
    conditions::set(crd, &Condition { kind: "Terminating", status, reason, message });
}

impl Names {
    /// As `status.acceptedNames` has them.
    fn to_json(&self) -> Value {
        let mut names = json!({"plural": self.plural, "kind": self.kind});
        for (field, text) in [("singular", &self.singular), ("listKind", &self.list_kind)] {
            if !text.is_empty() {
                names[field] = text.as_str().into();
            }
        }
        for (field, list) in [("shortNames", &self.short), ("categories", &self.categories)] {
            if !list.is_empty() {
                names[field] = list.clone().into();
            }
        }
        names
    }
}
