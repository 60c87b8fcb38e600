//! Leases.

use hansa_api::field::FieldError;
use hansa_api::meta::{int_at, str_at};
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("coordination.k8s.io", "v1", "Lease", "leases").namespaced()
}

/// The strategy of Leases.
pub(super) struct Leases;

impl Strategy for Leases {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            let seconds = int_at(obj, &["spec", "leaseDurationSeconds"]);
            if let Some(seconds) = seconds.filter(|seconds| *seconds <= 0) {
                check.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0");
            }
            check.non_negative("spec.leaseTransitions", int_at(obj, &["spec", "leaseTransitions"]));
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::new("Holder", "Who holds it."), Column::age()]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let holder = str_at(obj, &["spec", "holderIdentity"]);
        vec![cells::name(obj), holder.into(), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
