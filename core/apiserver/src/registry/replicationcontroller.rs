//! ReplicationControllers.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, default_field, fields_mut, map_at};
use hansa_api::selector::Selector;
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::pod::defaults;
use super::{cells, replicaset, workload};
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, ScalePaths, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "ReplicationController", "replicationcontrollers")
        .namespaced()
        .short(&["rc"])
        .categories(&["all"])
        .scale()
        .status()
}

/// The strategy of ReplicationControllers.
pub(super) struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    fn default(&self, obj: &mut Value) {
        let labels = map_at(obj, &["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
            default_field(fields_mut(obj, &["spec"]), "selector", labels.clone());
            default_field(meta::metadata_mut(obj), "labels", labels);
        }
        default_field(fields_mut(obj, &["spec"]), "replicas", 1);
        replicaset::default_status(obj);
        if let Some(template) = obj["spec"].get_mut("template") {
            defaults::template(template);
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"]))
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| replicaset::validate_status(check, obj))
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        workload::name_warning(obj).into_iter().filter(|_| old.is_none()).collect()
    }

    /// As it always was: whoever deletes one and does not say how keeps its pods.
    fn default_orphans(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        replicaset::columns()
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        replicaset::row(obj, now, cells::labels(map_at(obj, &["spec", "selector"])))
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["status.replicas".into()]
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(ScalePaths::usual())
    }
}

fn validate(check: &mut Check, spec: &Value) {
    check.non_negative_field("spec", spec, "minReadySeconds");
    let selector = map_at(spec, &["selector"]).filter(|selector| !selector.is_empty());
    if selector.is_none() {
        check.required("spec.selector", "");
    }
    check.non_negative_field("spec", spec, "replicas");
    if let Some(selector) = selector.filter(|_| spec["template"].is_object()) {
        workload::template_labels(check, spec, &Selector::from_map(selector));
    }
    workload::template(check, spec, "ReplicationController");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::texts;

    fn made(spec: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "web"}, "spec": spec});
        ReplicationControllers.default(&mut obj);
        obj
    }

    #[test]
    fn selector_and_labels_are_the_templates() {
        let template = json!({"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "a", "image": "b"}]}});
        let obj = made(json!({"template": template}));
        assert_eq!(obj["spec"]["selector"], json!({"a": "b"}));
        assert_eq!(obj["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(texts(&ReplicationControllers.validate_create(&obj)), [""; 0]);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            texts(&ReplicationControllers.validate_create(&made(json!({"replicas": -1})))),
            [
                "spec.selector: Required value",
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.template: Required value",
            ]
        );
    }
}
