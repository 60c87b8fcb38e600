//! StorageClasses.

use std::collections::{BTreeMap, BTreeSet};

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{as_fields_mut, bool_at, default_field, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::{cells, node_labels, provisioner};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const OLD_DEFAULT_CLASS: &str = "storageclass.beta.kubernetes.io/is-default-class";

pub(super) fn resource() -> Resource {
    Resource::new("storage.k8s.io", "v1", "StorageClass", "storageclasses").short(&["sc"])
}

/// The strategy of StorageClasses.
pub(super) struct StorageClasses;

impl Strategy for StorageClasses {
    fn default(&self, obj: &mut Value) {
        let fields = as_fields_mut(obj);
        default_field(fields, "reclaimPolicy", "Delete");
        default_field(fields, "volumeBindingMode", "Immediate");
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, obj);
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                check.frozen(field, obj, old);
            }
        })
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (at, term) in list_at(obj, &["allowedTopologies"]).iter().enumerate() {
            let path = child(&index("allowedTopologies", at), "matchLabelExpressions");
            let expressions = list_at(term, &["matchLabelExpressions"]).iter().enumerate();
            warnings.extend(expressions.filter_map(|(at, expression)| {
                let advice = node_labels::advice(str_at(expression, &["key"]))?;
                Some(format!("{}.key: {advice}", index(&path, at)))
            }));
        }
        warnings
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Provisioner", "Who makes its volumes."),
            Column::new("ReclaimPolicy", "What becomes of them."),
            Column::new("VolumeBindingMode", "When they are made."),
            Column::new("AllowVolumeExpansion", "Whether they may grow."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let marked = [DEFAULT_CLASS, OLD_DEFAULT_CLASS];
        let marked = marked.iter().map(|mark| cells::name_or_default(obj, mark));
        let name = marked.max_by_key(|name| name.as_str().map_or(0, str::len));
        vec![
            name.unwrap_or_default(),
            str_at(obj, &["provisioner"]).into(),
            cells::text(obj, "reclaimPolicy", "Delete"),
            cells::text(obj, "volumeBindingMode", "Immediate"),
            bool_at(obj, &["allowVolumeExpansion"]).into(),
            cells::age(obj, now),
        ]
    }
}

fn validate(check: &mut Check, obj: &Value) {
    provisioner::driver(check, "provisioner", obj);
    provisioner::parameters(check, obj, false);
    let policy = str_at(obj, &["reclaimPolicy"]);
    check.optional_one_of("reclaimPolicy", policy, &["Delete", "Retain"]);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    match obj["volumeBindingMode"].as_str() {
        None => check.required("volumeBindingMode", ""),
        Some(mode) if modes.contains(&mode) => {}
        Some(mode) => check.add(FieldError::not_supported("volumeBindingMode", mode, &modes)),
    }
    topologies(check, list_at(obj, &["allowedTopologies"]));
}

fn topologies(check: &mut Check, terms: &[Value]) {
    let mut seen = BTreeSet::new();
    for (at, term) in terms.iter().enumerate() {
        let path = child(&index("allowedTopologies", at), "matchLabelExpressions");
        let values = topology(check, &path, term);
        if values.is_empty() || !seen.insert(values) {
            check.duplicate(&path, "");
        }
    }
}

/// One term; its values by key.
fn topology<'a>(
    check: &mut Check,
    path: &str,
    term: &'a Value,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut all = BTreeMap::new();
    for (at, expression) in list_at(term, &["matchLabelExpressions"]).iter().enumerate() {
        let path = index(path, at);
        let values_path = child(&path, "values");
        let mut values = BTreeSet::new();
        if list_at(expression, &["values"]).is_empty() {
            check.required(&values_path, "");
        }
        for (at, value) in list_at(expression, &["values"]).iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            if !values.insert(value) {
                check.duplicate(&index(&values_path, at), value);
            }
        }
        let key = str_at(expression, &["key"]);
        check.text(&child(&path, "key"), key, names::qualified_name(key));
        if all.insert(key, values).is_some() {
            check.duplicate(&child(&path, "key"), key);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn class(more: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "c"}, "provisioner": "acme.io/x"});
        obj.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        StorageClasses.default(&mut obj);
        obj
    }

    #[test]
    fn mistakes_are_named() {
        let topology = |values: Value| {
            let term = json!({"matchLabelExpressions": [{"key": "zone", "values": values}]});
            class(json!({"allowedTopologies": [term]}))
        };
        refuses(
            &StorageClasses,
            [
                (class(json!({"provisioner": ""})), "provisioner: Required value"),
                (
                    class(json!({"reclaimPolicy": "Recycle"})),
                    "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \
              \"Retain\"",
                ),
                (
                    class(json!({"volumeBindingMode": "Later"})),
                    "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \
              \"WaitForFirstConsumer\"",
                ),
                (
                    class(json!({"parameters": {"": "x"}})),
                    "parameters: Invalid value: \"\": field can not be empty.",
                ),
                (
                    topology(json!([])),
                    "allowedTopologies[0].matchLabelExpressions[0].values: Required value",
                ),
                (
                    topology(json!(["a", "a"])),
                    "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
                ),
            ],
        );
    }

    #[test]
    fn only_expansion_and_metadata_change() {
        let old = class(json!({"parameters": {"a": "1"}}));
        let new = class(json!({"parameters": {"a": "2"}, "allowVolumeExpansion": true}));
        assert_eq!(
            texts(&StorageClasses.validate_update(&new, &old)),
            ["parameters: Invalid value: {\"a\":\"2\"}: field is immutable"]
        );
    }

    #[test]
    fn rows_and_warnings() {
        let mut obj = class(json!({"allowedTopologies": [{"matchLabelExpressions":
            [{"key": "beta.kubernetes.io/os", "values": ["x"]}]}]}));
        obj["metadata"]["annotations"] = json!({OLD_DEFAULT_CLASS: "true"});
        let row = StorageClasses.row(&obj, Timestamp::now());
        assert_eq!(
            json!(row[..5]),
            json!(["c (default)", "acme.io/x", "Delete", "Immediate", false])
        );
        assert_eq!(
            StorageClasses.warnings(&obj, None),
            ["allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use \
              \"kubernetes.io/os\" instead"]
        );
    }
}
