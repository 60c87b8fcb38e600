//! CSINodes: which CSI drivers a node has.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{int_at, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::{cells, provisioner};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const MAX_ID: usize = 256;

pub(super) fn resource() -> Resource {
    Resource::new("storage.k8s.io", "v1", "CSINode", "csinodes")
}

/// The strategy of CSINodes.
pub(super) struct CsiNodes;

impl Strategy for CsiNodes {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, obj);
            for old in drivers(old) {
                for new in drivers(obj).iter().filter(|new| new["name"] == old["name"]) {
                    let (new, old) = (identity(new), identity(old));
                    check.immutable("spec.drivers", Some(&new), Some(&old));
                }
            }
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::of("Drivers", "integer", "How many drivers the node has.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), drivers(obj).len().into(), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn drivers(obj: &Value) -> &[Value] {
    list_at(obj, &["spec", "drivers"])
}

/// What of a driver may not change: all but how many volumes fit.
fn identity(driver: &Value) -> Value {
    let mut driver = driver.clone();
    driver.as_object_mut().and_then(|fields| fields.remove("allocatable"));
    driver
}

fn validate(check: &mut Check, obj: &Value) {
    let mut seen = HashSet::new();
    for (at, driver) in drivers(obj).iter().enumerate() {
        let path = index("spec.drivers", at);
        let name = str_at(driver, &["name"]);
        provisioner::csi_driver(check, &child(&path, "name"), name);
        validate_id(check, &child(&path, "nodeID"), str_at(driver, &["nodeID"]));
        let count = int_at(driver, &["allocatable", "count"]);
        check.non_negative(&child(&path, "allocatable.count"), count);
        if !seen.insert(name) {
            check.duplicate(&child(&path, "name"), name);
        }
        topology_keys(check, &path, list_at(driver, &["topologyKeys"]));
    }
}

fn validate_id(check: &mut Check, path: &str, id: &str) {
    if id.is_empty() {
        check.required(path, "");
    }
    if id.len() > MAX_ID {
        check.invalid(path, id, &format!("must be {MAX_ID} characters or less"));
    }
}

fn topology_keys(check: &mut Check, path: &str, keys: &[Value]) {
    let mut seen = HashSet::new();
    for key in keys.iter().map(|key| key.as_str().unwrap_or_default()) {
        if key.is_empty() {
            check.required(path, "");
        }
        if !seen.insert(key) {
            check.duplicate(path, key);
        }
        check.text(path, key, names::qualified_name(key));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn node(driver: Value) -> Value {
        json!({"metadata": {"name": "n"}, "spec": {"drivers": [driver]}})
    }

    #[test]
    fn mistakes_are_named() {
        let twice = json!({"spec": {"drivers": [
            {"name": "a.io", "nodeID": "1"}, {"name": "a.io", "nodeID": "1"}]}});
        refuses(
            &CsiNodes,
            [
                (node(json!({"name": "a.io"})), "spec.drivers[0].nodeID: Required value"),
                (
                    node(json!({"name": "a.io", "nodeID": "1", "allocatable": {"count": -1}})),
                    "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or \
              equal to 0",
                ),
                (
                    node(json!({"name": "a.io", "nodeID": "1", "topologyKeys": ["a", "a"]})),
                    "spec.drivers[0]: Duplicate value: \"a\"",
                ),
                (twice, "spec.drivers[1].name: Duplicate value: \"a.io\""),
            ],
        );
    }

    #[test]
    fn only_capacity_changes() {
        let old = node(json!({"name": "a.io", "nodeID": "1", "allocatable": {"count": 1}}));
        let more = node(json!({"name": "a.io", "nodeID": "1", "allocatable": {"count": 2}}));
        assert_eq!(texts(&CsiNodes.validate_update(&more, &old)), [""; 0]);
        let other = node(json!({"name": "a.io", "nodeID": "2"}));
        let errors = texts(&CsiNodes.validate_update(&other, &old));
        assert!(errors[0].starts_with("spec.drivers: Invalid value: {"), "{errors:?}");
        assert_eq!(CsiNodes.row(&old, Timestamp::now())[1], 1);
    }
}
