//! Leases.

use hansa_api::field::FieldError;
use hansa_api::meta::{as_fields_mut, at, int_at, str_at};
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use crate::generic::context::Context;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("coordination.k8s.io", "v1", "Lease", "leases").namespaced()
}

/// The strategy of Leases.
pub(super) struct Leases;

impl Strategy for Leases {
    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        drop_unused(obj, &Value::Null);
    }

    fn prepare_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        drop_unused(obj, old);
    }

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

/// Fields for leaders that agree on who leads, which is off in clusters of this version: only the
/// leases that have them keep them.
fn drop_unused(obj: &mut Value, old: &Value) {
    let Some(spec) = obj.get_mut("spec") else { return };
    for field in ["strategy", "preferredHolder"] {
        if at(old, &["spec", field]).is_none() {
            as_fields_mut(spec).remove(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::refuses;

    #[test]
    fn numbers_have_bounds() {
        let lease = |spec: Value| json!({"metadata": {"name": "l"}, "spec": spec});
        refuses(
            &Leases,
            [
                (
                    lease(json!({"leaseDurationSeconds": 0})),
                    "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                ),
                (
                    lease(json!({"leaseTransitions": -1})),
                    "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
                ),
            ],
        );
    }

    #[test]
    fn a_strategy_is_not_taken() {
        let mut obj =
            json!({"spec": {"strategy": "OldestEmulationVersion", "leaseTransitions": 1}});
        Leases.prepare_create(&Context::default(), &mut obj);
        assert_eq!(obj, json!({"spec": {"leaseTransitions": 1}}));
    }
}
