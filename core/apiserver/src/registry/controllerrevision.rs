//! ControllerRevisions: immutable snapshots of workloads' templates.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, str_at};
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("apps", "v1", "ControllerRevision", "controllerrevisions").namespaced()
}

/// The strategy of ControllerRevisions.
pub(super) struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            check.non_negative_field("", obj, "revision");
            match obj.get("data") {
                None | Some(Value::Null) => check.required("data", "data is mandatory"),
                Some(Value::Object(_)) => {}
                Some(_) => check.required("data", "data must be a valid JSON object"),
            }
        })
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            check.non_negative_field("", obj, "revision");
            check.immutable("data", obj.get("data"), old.get("data"));
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Controller", "Whose template it holds."),
            Column::of("Revision", "string", "Its place in the history.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let owner = meta::controller_of(obj).map(|owner| {
            let group =
                str_at(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
            let kind = str_at(owner, &["kind"]).to_lowercase();
            let dot = if group.is_empty() { "" } else { "." };
            format!("{kind}{dot}{group}/{}", str_at(owner, &["name"]))
        });
        vec![
            cells::name(obj),
            owner.as_deref().unwrap_or(cells::NONE).into(),
            cells::int(obj, &["revision"]).into(),
            cells::age(obj, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    #[test]
    fn data_is_an_object_that_stays() {
        let revision = |data: Value| json!({"data": data, "revision": 1});
        refuses(
            &ControllerRevisions,
            [
                (json!({}), "data: Required value: data is mandatory"),
                (revision(Value::Null), "data: Required value: data is mandatory"),
                (revision(json!([])), "data: Required value: data must be a valid JSON object"),
                (
                    json!({"data": {}, "revision": -1}),
                    "revision: Invalid value: -1: must be greater than or equal to 0",
                ),
            ],
        );
        let [old, new] = [json!({"a": 1}), json!({})].map(revision);
        assert_eq!(
            texts(&ControllerRevisions.validate_update(&new, &old)),
            ["data: Invalid value: {}: field is immutable"]
        );
    }
}
