//! PodDisruptionBudgets.

use hansa_api::field::FieldError;
use hansa_api::meta::at;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
        .namespaced()
        .short(&["pdb"])
        .status()
}

/// The strategy of PodDisruptionBudgets.
pub(super) struct PodDisruptionBudgets;

impl Strategy for PodDisruptionBudgets {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            let spec = &obj["spec"];
            let (min, max) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
            if min.is_some() && max.is_some() {
                let why = "minAvailable and maxUnavailable cannot be both set";
                check.invalid("spec", spec.clone(), why);
            }
            check.int_or_percent("spec.minAvailable", min);
            check.int_or_percent("spec.maxUnavailable", max);
            if let Some(selector) = spec.get("selector") {
                check.label_selector("spec.selector", selector);
            }
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Min Available", "Pods that must stay."),
            Column::new("Max Unavailable", "Pods that may be missing."),
            Column::of("Allowed Disruptions", "integer", "Evictions allowed right now.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(obj),
            cells::scalar(at(obj, &["spec", "minAvailable"]), "N/A"),
            cells::scalar(at(obj, &["spec", "maxUnavailable"]), "N/A"),
            cells::int(obj, &["status", "disruptionsAllowed"]).into(),
            cells::age(obj, now),
        ]
    }
}
