//! CSIStorageCapacities: how much room a driver has where.

use hansa_api::field::FieldError;
use hansa_api::meta::{at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::{cells, node_labels};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities").namespaced()
}

/// The strategy of CSIStorageCapacities.
pub(super) struct CsiStorageCapacities;

impl Strategy for CsiStorageCapacities {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, obj);
            check.frozen("nodeTopology", obj, old);
            check.frozen_text("storageClassName", obj, old);
        })
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        node_labels::selector_warnings("nodeTopology", &obj["nodeTopology"])
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("StorageClassName", "The class of the volumes that fit."),
            Column::new("Capacity", "How much room there is."),
        ]
    }

    fn row(&self, obj: &Value, _: Timestamp) -> Vec<Value> {
        vec![
            cells::name(obj),
            str_at(obj, &["storageClassName"]).into(),
            cells::text(obj, "capacity", cells::UNSET),
        ]
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn validate(check: &mut Check, obj: &Value) {
    if let Some(topology) = at(obj, &["nodeTopology"]) {
        check.label_selector("nodeTopology", topology);
    }
    let class = str_at(obj, &["storageClassName"]);
    check.text("storageClassName", class, names::dns1123_subdomain(class));
    check.non_negative_quantity("capacity", at(obj, &["capacity"]));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    #[test]
    fn a_capacity_belongs_to_a_class_for_ever() {
        let old = json!({"metadata": {"name": "c"}, "storageClassName": "a", "capacity": "1Gi"});
        refuses(
            &CsiStorageCapacities,
            [(
                json!({"storageClassName": "a", "capacity": "-1"}),
                "capacity: Invalid value: \"-1\": must be greater than or equal to 0",
            )],
        );
        let mut new = old.clone();
        new["storageClassName"] = "b".into();
        assert_eq!(
            texts(&CsiStorageCapacities.validate_update(&new, &old)),
            ["storageClassName: Invalid value: \"b\": field is immutable"]
        );
        let row = CsiStorageCapacities.row(&old, Timestamp::now());
        assert_eq!(json!(row), json!(["c", "a", "1Gi"]));
    }
}
