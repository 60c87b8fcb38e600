//! RuntimeClasses.

use std::collections::HashSet;

use hansa_api::field::FieldError;
use hansa_api::meta::{at, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::{Check, entries};
use super::pod::{containers, validate as pod_validate};
use super::{cells, node_labels};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
}

/// The strategy of RuntimeClasses.
pub(super) struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, obj);
            check.frozen_text("handler", obj, old);
        })
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        let labels = entries(obj, &["scheduling", "nodeSelector"]);
        let advice = labels.filter_map(|(key, _)| node_labels::advice(key));
        advice.map(|advice| format!("scheduling.nodeSelector: {advice}")).collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Handler", "The runtime's own name for it."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), str_at(obj, &["handler"]).into(), cells::age(obj, now)]
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn validate(check: &mut Check, obj: &Value) {
    check.required_text("handler", str_at(obj, &["handler"]), names::dns1123_label);
    if let Some(fixed) = at(obj, &["overhead", "podFixed"]) {
        containers::resources(check, "overhead", &json!({"limits": fixed}));
    }
    check.labels("scheduling.nodeSelector", at(obj, &["scheduling", "nodeSelector"]));
    let path = "scheduling.tolerations";
    let tolerations = list_at(obj, &["scheduling", "tolerations"]);
    pod_validate::tolerations(check, path, tolerations);
    let mut seen = HashSet::new();
    for (at, toleration) in tolerations.iter().enumerate() {
        let key = ["key", "operator", "value", "effect"].map(|field| str_at(toleration, &[field]));
        if !seen.insert(key) {
            check.duplicate(&format!("{path}[{at}]"), toleration.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::{refuses, texts};

    #[test]
    fn a_class_has_a_handler_and_keeps_it() {
        refuses(
            &RuntimeClasses,
            [
                (json!({}), "handler: Required value"),
                (
                    json!({"handler": "a", "overhead": {"podFixed": {"cpu": "-1"}}}),
                    "overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                ),
            ],
        );
        let (old, new) = (json!({"handler": "a"}), json!({"handler": "b"}));
        assert_eq!(
            texts(&RuntimeClasses.validate_update(&new, &old)),
            ["handler: Invalid value: \"b\": field is immutable"]
        );
        let obj = json!({"scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "x"}}});
        assert_eq!(
            RuntimeClasses.warnings(&obj, None),
            ["scheduling.nodeSelector: deprecated since v1.14; use \"kubernetes.io/os\" instead"]
        );
    }
}
