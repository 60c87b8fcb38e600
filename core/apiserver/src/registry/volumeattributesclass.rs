//! VolumeAttributesClasses.

use hansa_api::field::FieldError;
use hansa_api::meta::{at, str_at};
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::{cells, provisioner};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses")
        .short(&["vac"])
}

/// The strategy of VolumeAttributesClasses.
pub(super) struct VolumeAttributesClasses;

impl Strategy for VolumeAttributesClasses {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for field in ["driverName", "parameters"] {
                if at(obj, &[field]) != at(old, &[field]) {
                    check.forbidden(field, &format!("updates to {field} are forbidden."));
                }
            }
            validate(check, obj);
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::new("DriverName", "Who applies it."), Column::age()]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), str_at(obj, &["driverName"]).into(), cells::age(obj, now)]
    }
}

fn validate(check: &mut Check, obj: &Value) {
    provisioner::driver(check, "driverName", obj);
    provisioner::parameters(check, obj, true);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    #[test]
    fn a_class_has_a_driver_and_parameters_and_keeps_them() {
        let old = json!({"driverName": "a.io", "parameters": {"iops": "9"}});
        refuses(
            &VolumeAttributesClasses,
            [
                (
                    json!({"driverName": "a.io"}),
                    "parameters: Required value: must contain at least one key/value pair",
                ),
                (json!({"parameters": {"a": "b"}}), "driverName: Required value"),
            ],
        );
        let new = json!({"driverName": "b.io", "parameters": {"iops": "8"}});
        assert_eq!(
            texts(&VolumeAttributesClasses.validate_update(&new, &old)),
            [
                "driverName: Forbidden: updates to driverName are forbidden.",
                "parameters: Forbidden: updates to parameters are forbidden.",
            ]
        );
    }
}
