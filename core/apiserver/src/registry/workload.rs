//! What workloads have in common: a selector that must fit a template.

use hansa_api::field::child;
use hansa_api::meta::{self, bool_at, str_at};
use hansa_api::selector::Selector;
use serde_json::Value;

use super::check::Check;
use super::pod::validate as pod_validate;

/// A LabelSelector that must be there, select something, and match the template's labels.
pub(super) fn selector(check: &mut Check, spec: &Value, kind: &str) {
    let Some(selector) = spec.get("selector") else {
        return check.required("spec.selector", "");
    };
    check.label_selector("spec.selector", selector);
    match Selector::from_object(Some(selector)) {
        Ok(parsed) if parsed.is_everything() => {
            let why = format!("empty selector is invalid for {kind}");
            check.invalid("spec.selector", selector.clone(), &why);
        }
        Ok(parsed) => template_labels(check, spec, &parsed),
        Err(_) => check.invalid("spec.selector", selector.clone(), "invalid label selector"),
    }
}

/// The template's labels must be selected.
pub(super) fn template_labels(check: &mut Check, spec: &Value, selector: &Selector) {
    let labels = meta::map_at(spec, &["template", "metadata", "labels"]);
    if !selector.matches_map(labels) {
        let value = labels.cloned().map_or(Value::Null, Value::Object);
        let why = "`selector` does not match template `labels`";
        check.invalid("spec.template.metadata.labels", value, why);
    }
}

/// A template whose pods run for ever.
pub(super) fn template(check: &mut Check, spec: &Value, kind: &str) {
    let path = "spec.template";
    let Some(template) = spec.get("template").filter(|template| template.is_object()) else {
        return check.required(path, "");
    };
    pod_validate::template(check, path, template);
    let pod_spec = child(path, "spec");
    let policy = str_at(template, &["spec", "restartPolicy"]);
    check.optional_one_of(&child(&pod_spec, "restartPolicy"), policy, &["Always"]);
    if template["spec"].get("activeDeadlineSeconds").is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        check.forbidden(&child(&pod_spec, "activeDeadlineSeconds"), &why);
    }
}

/// `spec.selector` may not change.
pub(super) fn selector_immutable(check: &mut Check, new: &Value, old: &Value) {
    check.immutable("spec.selector", new["spec"].get("selector"), old["spec"].get("selector"));
}

/// Counts in a status may not be negative, nor may fewer pods be counted than of them are ready.
pub(super) fn status_counts(check: &mut Check, obj: &Value) {
    let status = &obj["status"];
    const COUNTS: [&str; 7] = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    ];
    for name in COUNTS {
        check.non_negative_field("status", status, name);
    }
    let count = |name: &str| status[name].as_i64().unwrap_or_default();
    for (part, whole, why) in [
        ("updatedReplicas", "replicas", "cannot be greater than status.replicas"),
        ("readyReplicas", "replicas", "cannot be greater than status.replicas"),
        ("availableReplicas", "replicas", "cannot be greater than status.replicas"),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ] {
        if count(part) > count(whole) {
            check.invalid(&child("status", part), count(part), why);
        }
    }
}

/// The value of a number or percentage, of `total`, percentages rounded up or down.
pub(super) fn scaled(value: Option<&Value>, total: i64, up: bool) -> i64 {
    match value {
        Some(Value::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            let product = percent * total;
            if up { (product + 99) / 100 } else { product / 100 }
        }
        Some(value) => value.as_i64().unwrap_or_default(),
        None => 0,
    }
}

/// Whether a flag of the spec is set.
pub(super) fn flag(obj: &Value, field: &str) -> bool {
    bool_at(obj, &["spec", field])
}
