//! Labels of nodes that have a newer name, and who must be told.

use hansa_api::field::{child, index};
use hansa_api::meta::{list_at, str_at};
use serde_json::Value;

use super::check::entries;

const RENAMED: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// What to say about a label, if it is an old one.
pub(super) fn advice(key: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _)| *old == key).map(|(_, advice)| *advice)
}

/// Warnings for a LabelSelector over nodes.
pub(super) fn selector_warnings(path: &str, selector: &Value) -> Vec<String> {
    let mut warnings = expression_warnings(path, selector);
    for (label, _) in entries(selector, &["matchLabels"]) {
        let path = child(&child(path, "matchLabels"), label);
        warnings.extend(advice(label).map(|advice| format!("{path}: {advice}")));
    }
    warnings
}

/// Warnings for a list of `matchExpressions`: of LabelSelectors and of node selectors' terms.
pub(super) fn expression_warnings(path: &str, selector: &Value) -> Vec<String> {
    let expressions = list_at(selector, &["matchExpressions"]).iter().enumerate();
    let warning = |(at, expression)| {
        let key = str_at(expression, &["key"]);
        let path = child(&index(&child(path, "matchExpressions"), at), "key");
        Some(format!("{path}: {key} is {}", advice(key)?))
    };
    expressions.filter_map(warning).collect()
}
