//! PodDisruptionBudgets.

use hansa_api::field::FieldError;
use hansa_api::meta::{at, list_at};
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::{cells, conditions, workload};
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
            for (path, value) in [("spec.minAvailable", min), ("spec.maxUnavailable", max)] {
                check.int_or_percent(path, value);
                workload::at_most_all(check, path, value);
            }
            if let Some(selector) = spec.get("selector") {
                check.label_selector("spec.selector", selector);
            }
            let policy = spec.get("unhealthyPodEvictionPolicy");
            let known = ["AlwaysAllow", "IfHealthyBudget"];
            check.supported("spec.unhealthyPodEvictionPolicy", policy, &known);
        })
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            let all = list_at(obj, &["status", "conditions"]);
            conditions::validate(check, "status.conditions", all);
            let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
            workload::counts(check, obj, &counts);
        })
    }

    fn allow_unconditional_update(&self) -> bool {
        false
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    #[test]
    fn mistakes_are_named() {
        let budget = |spec: Value| json!({"metadata": {"name": "b"}, "spec": spec});
        let cases = [
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and \
                 maxUnavailable cannot be both set",
            ),
            (
                json!({"maxUnavailable": "101%"}),
                "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                json!({"minAvailable": -1}),
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                json!({"unhealthyPodEvictionPolicy": ""}),
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"\": supported values: \
                 \"AlwaysAllow\", \"IfHealthyBudget\"",
            ),
        ];
        refuses(&PodDisruptionBudgets, cases.map(|(spec, error)| (budget(spec), error)));
        let status = json!({"status": {"expectedPods": -1}});
        assert_eq!(
            texts(&PodDisruptionBudgets.validate_status_update(&status, &status)),
            ["status.expectedPods: Invalid value: -1: must be greater than or equal to 0"]
        );
    }
}
