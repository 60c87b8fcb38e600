//! What an autoscaler may say.

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{at, int_at, list_at, str_at};
use hansa_api::names;
use serde_json::Value;

use crate::registry::cells;
use crate::registry::check::Check;
use crate::registry::pod::containers::resource_name;

const MAX_PERIOD: i64 = 1800;
const MAX_WINDOW: i64 = 3600;
/// Metric source types and the fields that hold them, in the order in which they are looked at.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

/// What about references and counts an object may keep from older releases.
#[derive(Clone, Copy)]
struct Rules {
    fewest: i64,
    /// The target's API version: any, one with a group, one that may lack a group.
    target: ApiVersion,
    /// The same for the objects that metrics describe.
    described: ApiVersion,
}

#[derive(Clone, Copy, PartialEq)]
enum ApiVersion {
    Any,
    WithGroup,
    WithOrWithoutGroup,
}

/// A new autoscaler.
pub(super) fn create(check: &mut Check, spec: &Value) {
    validate(check, spec, rules(spec, None));
}

/// A changed autoscaler.
pub(super) fn update(check: &mut Check, spec: &Value, old: &Value) {
    validate(check, spec, rules(spec, Some(old)));
}

fn rules(spec: &Value, old: Option<&Value>) -> Rules {
    let target = |spec: &Value, field: &str| at(spec, &["scaleTargetRef", field]).cloned();
    let same = old.is_some_and(|old| {
        ["apiVersion", "kind"].iter().all(|field| target(spec, field) == target(old, field))
    });
    let zero = old.is_some_and(|old| int_at(old, &["minReplicas"]) == Some(0));
    let described =
        |metric: &Value| str_at(metric, &["object", "describedObject", "apiVersion"]).to_owned();
    let tolerated = old.is_some_and(|old| {
        list_at(old, &["metrics"])
            .iter()
            .filter(|metric| metric["object"].is_object())
            .any(|metric| api_version(&described(metric), ApiVersion::WithOrWithoutGroup).is_some())
    });
    Rules {
        fewest: if zero { 0 } else { 1 },
        target: if same {
            ApiVersion::Any
        } else if str_at(spec, &["scaleTargetRef", "kind"]) == "ReplicationController" {
            ApiVersion::WithOrWithoutGroup
        } else {
            ApiVersion::WithGroup
        },
        described: if tolerated { ApiVersion::Any } else { ApiVersion::WithOrWithoutGroup },
    }
}

fn validate(check: &mut Check, spec: &Value, rules: Rules) {
    let (least, most) = (int_at(spec, &["minReplicas"]), cells::int(spec, &["maxReplicas"]));
    if let Some(least) = least.filter(|least| *least < rules.fewest) {
        let why = format!("must be greater than or equal to {}", rules.fewest);
        check.invalid("spec.minReplicas", least, &why);
    }
    if most == 0 {
        check.required("spec.maxReplicas", "must be set and greater than 0");
    } else if most < 0 {
        check.invalid("spec.maxReplicas", most, "must be greater than or equal to 1");
    }
    if least.is_some_and(|least| most < least) {
        let why = "must be greater than or equal to `minReplicas`";
        check.invalid("spec.maxReplicas", most, why);
    }
    reference(check, "spec.scaleTargetRef", &spec["scaleTargetRef"], rules.target);
    let metrics = list_at(spec, &["metrics"]);
    for (at, metric) in metrics.iter().enumerate() {
        validate_metric(check, &index("spec.metrics", at), metric, rules.described);
    }
    let outside = |metric: &Value| matches!(str_at(metric, &["type"]), "Object" | "External");
    if least == Some(0) && !metrics.iter().any(outside) {
        let why = "must specify at least one Object or External metric to support scaling to \
                   zero replicas";
        check.forbidden("spec.metrics", why);
    }
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = at(spec, &["behavior", direction]) {
            scaling_rules(check, &child("spec.behavior", direction), rules);
        }
    }
}

fn reference(check: &mut Check, path: &str, reference: &Value, accepted: ApiVersion) {
    for field in ["kind", "name"] {
        let text = str_at(reference, &[field]);
        check.required_text(&child(path, field), text, names::path_segment);
    }
    let version = str_at(reference, &["apiVersion"]);
    if let Some(why) = api_version(version, accepted) {
        check.invalid(&child(path, "apiVersion"), version, &why);
    }
}

/// What is wrong with an API version.
fn api_version(text: &str, accepted: ApiVersion) -> Option<String> {
    match (accepted, text.matches('/').count()) {
        (ApiVersion::Any, _) | (ApiVersion::WithOrWithoutGroup, 0 | 1) => None,
        (ApiVersion::WithGroup, 1) if !text.starts_with('/') => None,
        (ApiVersion::WithGroup, 0 | 1) => Some("apiVersion must specify API group".into()),
        _ => Some(format!("unexpected GroupVersion string: {text}")),
    }
}

fn validate_metric(check: &mut Check, path: &str, metric: &Value, described: ApiVersion) {
    let kind = str_at(metric, &["type"]);
    let type_path = child(path, "type");
    if kind.is_empty() {
        check.required(&type_path, "must specify a metric source type");
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    if expected.is_none() {
        check.add(FieldError::not_supported(&type_path, kind, &TYPES));
    }
    let present = SOURCES.iter().map(|(_, field)| *field);
    let present: Vec<_> = present.filter(|field| at(metric, &[field]).is_some()).collect();
    if let Some(field) = present.first() {
        validate_source(check, &child(path, field), field, &metric[field], described);
    }
    match expected {
        None => check.add(FieldError::not_supported(&type_path, kind, &TYPES)),
        Some(field) if !present.contains(&field) => {
            let why = "must populate information for the given metric source";
            check.required(&child(path, field), why);
        }
        Some(_) => {}
    }
    if present.len() != 1 {
        for field in present.iter().filter(|field| Some(**field) != expected) {
            let why = "must populate the given metric source only";
            check.forbidden(&child(path, field), why);
        }
    }
}

fn validate_source(
    check: &mut Check,
    path: &str,
    kind: &str,
    source: &Value,
    described: ApiVersion,
) {
    let field = |name: &str| child(path, name);
    if kind == "object" {
        reference(check, &field("describedObject"), &source["describedObject"], described);
    }
    match kind {
        "resource" => named_resource(check, path, source),
        "containerResource" => container_resource(check, path, source),
        _ => match str_at(source, &["metric", "name"]) {
            "" => check.required(&field("metric.name"), "must specify a metric name"),
            name => check.text(&field("metric.name"), name, names::path_segment(name)),
        },
    }
    validate_target(check, &field("target"), &source["target"]);
    which_target(check, &field("target"), kind, &source["target"]);
}

fn named_resource(check: &mut Check, path: &str, source: &Value) {
    if str_at(source, &["name"]).is_empty() {
        check.required(&child(path, "name"), "must specify a resource name");
    }
}

fn container_resource(check: &mut Check, path: &str, source: &Value) {
    named_resource(check, path, source);
    match str_at(source, &["name"]) {
        "" => {}
        name => resource_name(check, &child(path, "name"), name),
    }
    match str_at(source, &["container"]) {
        "" => check.required(&child(path, "container"), "must specify a container"),
        name => check.text(&child(path, "container"), name, names::dns1123_label(name)),
    }
}

fn validate_target(check: &mut Check, path: &str, target: &Value) {
    let kind = str_at(target, &["type"]);
    let type_path = child(path, "type");
    if kind.is_empty() {
        check.required(&type_path, "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        check.invalid(&type_path, kind, why);
    }
    for field in ["value", "averageValue"] {
        check.quantity(&child(path, field), at(target, &[field]), "must be positive", |amount| {
            !amount.is_negative() && !amount.is_zero()
        });
    }
    let percent = int_at(target, &["averageUtilization"]);
    if let Some(percent) = percent.filter(|percent| *percent < 1) {
        check.invalid(&child(path, "averageUtilization"), percent, "must be greater than 0");
    }
}

/// Which of its targets a kind of source must and may have.
fn which_target(check: &mut Check, path: &str, kind: &str, target: &Value) {
    let has = |field: &str| at(target, &[field]).is_some();
    let (value, average, utilization) =
        (has("value"), has("averageValue"), has("averageUtilization"));
    let field = |name: &str| child(path, name);
    match kind {
        "object" if !value && !average => {
            let why = "must set either a target value or averageValue";
            check.required(&field("averageValue"), why);
        }
        "external" if !value && !average => {
            let why = "must set either a target value for metric or a per-pod target";
            check.required(&field("averageValue"), why);
        }
        "external" if value && average => {
            let why = "may not set both a target value for metric and a per-pod target";
            check.forbidden(&field("value"), why);
        }
        "pods" if !average => {
            check.required(&field("averageValue"), "must specify a positive target averageValue");
        }
        "resource" | "containerResource" if !utilization && !average => {
            let why = "must set either a target raw value or a target utilization";
            check.required(&field("averageUtilization"), why);
        }
        "resource" | "containerResource" if utilization && average => {
            let why = "may not set both a target raw value and a target utilization";
            check.forbidden(&field("averageValue"), why);
        }
        _ => {}
    }
}

fn scaling_rules(check: &mut Check, path: &str, rules: &Value) {
    let window_path = child(path, "stabilizationWindowSeconds");
    match int_at(rules, &["stabilizationWindowSeconds"]) {
        Some(window) if window < 0 => {
            check.invalid(&window_path, window, "must be greater than or equal to zero");
        }
        Some(window) if window > MAX_WINDOW => {
            let why = format!("must be less than or equal to {MAX_WINDOW}");
            check.invalid(&window_path, window, &why);
        }
        _ => {}
    }
    let select = at(rules, &["selectPolicy"]);
    check.supported(&child(path, "selectPolicy"), select, &["Disabled", "Max", "Min"]);
    let policies = list_at(rules, &["policies"]);
    let policies_path = child(path, "policies");
    if policies.is_empty() {
        check.required(&policies_path, "must specify at least one Policy");
    }
    for (at, policy) in policies.iter().enumerate() {
        scaling_policy(check, &index(&policies_path, at), policy);
    }
    check.non_negative_quantity(&child(path, "tolerance"), at(rules, &["tolerance"]));
}

fn scaling_policy(check: &mut Check, path: &str, policy: &Value) {
    let kind = str_at(policy, &["type"]);
    if !matches!(kind, "Pods" | "Percent") {
        let path = child(path, "type");
        check.add(FieldError::not_supported(path, kind, &["Percent", "Pods"]));
    }
    for field in ["value", "periodSeconds"] {
        let number = cells::int(policy, &[field]);
        if number <= 0 {
            check.invalid(&child(path, field), number, "must be greater than zero");
        }
        if field == "periodSeconds" && number > MAX_PERIOD {
            let why = format!("must be less than or equal to {MAX_PERIOD}");
            check.invalid(&child(path, field), number, &why);
        }
    }
}
