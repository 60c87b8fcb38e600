//! What workloads have in common: a selector that must fit a template.

use hansa_api::field::{FieldError, child};
use hansa_api::meta::{self, bool_at, fields_mut, str_at};
use hansa_api::names;
use hansa_api::selector::Selector;
use serde_json::Value;

use super::check::Check;
use super::pod::{defaults, validate as pod_validate};

/// A LabelSelector that must be there, select something, and match the template's labels.
pub(super) fn selector(check: &mut Check, spec: &Value, kind: &str) {
    match spec.get("selector") {
        None => check.required("spec.selector", ""),
        Some(selector) => {
            check.label_selector("spec.selector", selector);
            selects_something(check, selector, kind);
        }
    }
    match Selector::from_object(spec.get("selector")) {
        Ok(parsed) => template_labels(check, spec, &parsed),
        Err(_) => {
            let why = if kind == "statefulset" { "" } else { "invalid label selector" };
            check.invalid("spec.selector", spec["selector"].clone(), why);
        }
    }
}

/// A selector that selects everything is a mistake.
pub(super) fn selects_something(check: &mut Check, selector: &Value, kind: &str) {
    let parts = ["matchLabels", "matchExpressions"];
    let empty = |part: &Value| match part {
        Value::Object(labels) => labels.is_empty(),
        Value::Array(expressions) => expressions.is_empty(),
        _ => true,
    };
    if parts.iter().all(|part| empty(&selector[part])) {
        let why = format!("empty selector is invalid for {kind}");
        check.invalid("spec.selector", selector.clone(), &why);
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
    if policy != "Always" {
        let at = child(&pod_spec, "restartPolicy");
        check.add(FieldError::not_supported(at, policy, &["Always"]));
    }
    if template["spec"].get("activeDeadlineSeconds").is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        check.forbidden(&child(&pod_spec, "activeDeadlineSeconds"), &why);
    }
}

/// `spec.selector` may not change.
pub(super) fn selector_immutable(check: &mut Check, new: &Value, old: &Value) {
    check.immutable("spec.selector", new["spec"].get("selector"), old["spec"].get("selector"));
}

/// Counts in a status may not be negative.
pub(super) fn counts(check: &mut Check, obj: &Value, names: &[&str]) {
    for name in names {
        check.non_negative_field("status", &obj["status"], name);
    }
}

/// Of the pods there are, no more can be of some sort, nor can more be available than are ready;
/// `ready` is what the message calls those.
pub(super) fn counts_fit(check: &mut Check, obj: &Value, parts: &[&str], ready: &str) {
    let count = |name: &str| obj["status"][name].as_i64().unwrap_or_default();
    let mut at_most = |part: &str, whole: &str, called: &str| {
        if count(part) > count(whole) {
            let why = format!("cannot be greater than {called}");
            check.invalid(&child("status", part), count(part), &why);
        }
    };
    for part in parts {
        at_most(part, "replicas", "status.replicas");
    }
    at_most("availableReplicas", "readyReplicas", ready);
}

/// The count of hash collisions only grows.
pub(super) fn collisions_grow(check: &mut Check, obj: &Value, old: &Value) {
    let [new, old] = [obj, old].map(|obj| obj["status"]["collisionCount"].as_i64());
    if old.is_some_and(|old| new.is_none_or(|new| new < old)) {
        let why = "cannot be decremented";
        check.invalid("status.collisionCount", new.unwrap_or_default(), why);
    }
}

/// A percentage is at most the whole.
pub(super) fn at_most_all(check: &mut Check, path: &str, value: Option<&Value>) {
    let text = value.and_then(Value::as_str).filter(|text| names::percent(text).is_empty());
    if let Some(text) = text.filter(|_| scaled(value, 100, true) > 100) {
        check.invalid(path, text, "must not be greater than 100%");
    }
}

/// A template is always there, and its pod spec has its defaults.
pub(super) fn default_template(obj: &mut Value) {
    fields_mut(obj, &["spec", "template"]);
    defaults::template(&mut obj["spec"]["template"]);
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

/// An object without labels gets those of its template.
pub(super) fn labels_of_template(obj: &mut Value) {
    let none = meta::labels(obj).is_none_or(serde_json::Map::is_empty);
    let labels = meta::at(obj, &["spec", "template", "metadata", "labels"]).cloned();
    if let Some(labels) = labels.filter(|labels| none && labels.is_object()) {
        meta::metadata_mut(obj).insert("labels".into(), labels);
    }
}

/// Upstream's word on names that do not fit in a pod's host name.
pub(super) fn name_warning(obj: &Value) -> Option<String> {
    let why = names::dns1123_label(meta::name(obj));
    (!why.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in \
             surprising behavior; a DNS label is recommended: [{}]",
            why.join(" ")
        )
    })
}
