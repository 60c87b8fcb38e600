//! PodTemplates: templates that nobody makes pods of.

use hansa_api::field::FieldError;
use hansa_api::meta::{at, map_at};
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use super::pod::{defaults, validate};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "PodTemplate", "podtemplates").namespaced()
}

/// The strategy of PodTemplates.
pub(super) struct PodTemplates;

impl Strategy for PodTemplates {
    fn default(&self, obj: &mut Value) {
        if let Some(template) = obj.get_mut("template") {
            defaults::template(template);
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate::template(check, "template", &obj["template"]))
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Containers", "The template's containers."),
            Column::new("Images", "Their images."),
            Column::new("Pod Labels", "The template's labels."),
        ]
    }

    fn row(&self, obj: &Value, _: Timestamp) -> Vec<Value> {
        let spec = at(obj, &["template", "spec"]).unwrap_or(&Value::Null);
        let [containers, images] = cells::containers(spec);
        let labels = cells::labels(map_at(obj, &["template", "metadata", "labels"]));
        vec![cells::name(obj), containers, images, labels]
    }

    fn has_generation(&self, _: &Value) -> bool {
        true
    }
}
