//! Validation of pod specs, shared by pods and the templates of workloads.

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{bool_at, int_at, list_at, str_at};
use hansa_api::names;
use serde_json::Value;

use super::containers::{self, Pod};
use super::volumes;
use crate::registry::check::Check;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Everything that is wrong with a pod spec at `path`.
pub(crate) fn spec(check: &mut Check, path: &str, spec: &Value) {
    let volumes = volumes::validate_all(check, path, spec);
    let host_network = bool_at(spec, &["hostNetwork"]);
    containers::validate_all(check, path, spec, &Pod { volumes, host_network });
    let text = |field: &str| str_at(spec, &[field]);
    check.one_of(&child(path, "restartPolicy"), text("restartPolicy"), RESTART_POLICIES);
    check.one_of(&child(path, "dnsPolicy"), text("dnsPolicy"), DNS_POLICIES);
    let grace = int_at(spec, &["terminationGracePeriodSeconds"]);
    check.non_negative(&child(path, "terminationGracePeriodSeconds"), grace);
    let deadline = int_at(spec, &["activeDeadlineSeconds"]);
    check.range(&child(path, "activeDeadlineSeconds"), deadline, 1, i64::from(i32::MAX));
    check.labels(&child(path, "nodeSelector"), spec.get("nodeSelector"));
    for field in ["nodeName", "serviceAccountName", "priorityClassName"] {
        check.optional_text(&child(path, field), text(field), names::dns1123_subdomain);
    }
    for field in ["hostname", "subdomain"] {
        check.optional_text(&child(path, field), text(field), names::dns1123_label);
    }
    check.optional_text(
        &child(path, "schedulerName"),
        text("schedulerName"),
        names::qualified_name,
    );
    lists(check, path, spec);
    security(check, &child(path, "securityContext"), &spec["securityContext"]);
    affinity(check, &child(path, "affinity"), &spec["affinity"]);
}

fn lists(check: &mut Check, path: &str, spec: &Value) {
    tolerations(check, &child(path, "tolerations"), list_at(spec, &["tolerations"]));
    for (at, secret) in list_at(spec, &["imagePullSecrets"]).iter().enumerate() {
        if str_at(secret, &["name"]).is_empty() {
            let at = index(&child(path, "imagePullSecrets"), at);
            check.required(&child(&at, "name"), "");
        }
    }
    for (at, alias) in list_at(spec, &["hostAliases"]).iter().enumerate() {
        let at = index(&child(path, "hostAliases"), at);
        let ip = str_at(alias, &["ip"]);
        check.text(&child(&at, "ip"), ip, names::ip(ip));
    }
    for (at, gate) in list_at(spec, &["schedulingGates"]).iter().enumerate() {
        let at = child(&index(&child(path, "schedulingGates"), at), "name");
        check.required_text(&at, str_at(gate, &["name"]), names::qualified_name);
    }
    for (at, constraint) in list_at(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        spread(check, &index(&child(path, "topologySpreadConstraints"), at), constraint);
    }
}

fn spread(check: &mut Check, path: &str, constraint: &Value) {
    let skew = int_at(constraint, &["maxSkew"]).unwrap_or_default();
    if skew <= 0 {
        check.invalid(&child(path, "maxSkew"), skew, "must be greater than zero");
    }
    if str_at(constraint, &["topologyKey"]).is_empty() {
        check.required(&child(path, "topologyKey"), "can not be empty");
    }
    check.one_of(
        &child(path, "whenUnsatisfiable"),
        str_at(constraint, &["whenUnsatisfiable"]),
        &["DoNotSchedule", "ScheduleAnyway"],
    );
    if let Some(selector) = constraint.get("labelSelector") {
        check.label_selector(&child(path, "labelSelector"), selector);
    }
}

/// Tolerations of a pod (or of anything that has such a list).
pub(crate) fn tolerations(check: &mut Check, path: &str, tolerations: &[Value]) {
    for (at, toleration) in tolerations.iter().enumerate() {
        let path = index(path, at);
        let text = |field: &str| str_at(toleration, &[field]);
        check.optional_text(&child(&path, "key"), text("key"), names::qualified_name);
        let operator = text("operator");
        if text("key").is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all \
                       values and all keys\"";
            check.invalid(&child(&path, "operator"), operator, why);
        }
        if toleration.get("tolerationSeconds").is_some() && text("effect") != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            check.invalid(&child(&path, "effect"), text("effect"), why);
        }
        match operator {
            "Equal" | "" => {
                let value = text("value");
                check.text(&child(&path, "operator"), value, names::label_value(value));
            }
            "Exists" if !text("value").is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                check.invalid(&child(&path, "operator"), text("value"), why);
            }
            "Exists" | "Lt" | "Gt" => {}
            other => {
                let at = child(&path, "operator");
                check.optional_one_of(&at, other, &["Equal", "Exists", "Lt", "Gt"]);
            }
        }
        check.optional_one_of(&child(&path, "effect"), text("effect"), EFFECTS);
    }
}

fn security(check: &mut Check, path: &str, context: &Value) {
    for name in ["runAsUser", "runAsGroup", "fsGroup"] {
        check.range(&child(path, name), context[name].as_i64(), 0, i64::from(i32::MAX));
    }
}

fn affinity(check: &mut Check, path: &str, affinity: &Value) {
    let node = child(path, "nodeAffinity");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    if let Some(selector) = affinity["nodeAffinity"].get(required) {
        let path = format!("{node}.{required}.nodeSelectorTerms");
        let terms = list_at(selector, &["nodeSelectorTerms"]);
        if terms.is_empty() {
            check.required(&path, "must have at least one node selector term");
        }
        for (at, term) in terms.iter().enumerate() {
            node_term(check, &index(&path, at), term);
        }
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (at, term) in list_at(affinity, &["nodeAffinity", preferred]).iter().enumerate() {
        let path = index(&child(&node, preferred), at);
        weight(check, &path, term);
        node_term(check, &child(&path, "preference"), &term["preference"]);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = child(path, kind);
        for (at, term) in list_at(affinity, &[kind, required]).iter().enumerate() {
            pod_term(check, &index(&child(&path, required), at), term);
        }
        for (at, term) in list_at(affinity, &[kind, preferred]).iter().enumerate() {
            let path = index(&child(&path, preferred), at);
            weight(check, &path, term);
            pod_term(check, &child(&path, "podAffinityTerm"), &term["podAffinityTerm"]);
        }
    }
}

fn weight(check: &mut Check, path: &str, term: &Value) {
    let weight = int_at(term, &["weight"]).unwrap_or_default();
    if !(1..=100).contains(&weight) {
        check.invalid(&child(path, "weight"), weight, "must be in the range 1-100");
    }
}

fn node_term(check: &mut Check, path: &str, term: &Value) {
    for (at, expression) in list_at(term, &["matchExpressions"]).iter().enumerate() {
        let path = index(&child(path, "matchExpressions"), at);
        let count = list_at(expression, &["values"]).len();
        let values = child(&path, "values");
        match str_at(expression, &["operator"]) {
            "In" | "NotIn" if count == 0 => {
                check.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                check.forbidden(&values, why);
            }
            "Gt" | "Lt" if count != 1 => {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                check.required(&values, why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                check.invalid(&child(&path, "operator"), other, "not a valid selector operator")
            }
        }
        let key = str_at(expression, &["key"]);
        check.text(&child(&path, "key"), key, names::qualified_name(key));
    }
}

fn pod_term(check: &mut Check, path: &str, term: &Value) {
    match str_at(term, &["topologyKey"]) {
        "" => check.required(&child(path, "topologyKey"), "can not be empty"),
        key => check.text(&child(path, "topologyKey"), key, names::qualified_name(key)),
    }
    if let Some(selector) = term.get("labelSelector") {
        check.label_selector(&child(path, "labelSelector"), selector);
    }
}

/// A workload's template: its labels and its spec.
pub(crate) fn template(check: &mut Check, path: &str, template: &Value) {
    check.labels(&format!("{path}.metadata.labels"), template["metadata"].get("labels"));
    spec(check, &child(path, "spec"), &template["spec"]);
}

/// A new pod.
pub(crate) fn pod(obj: &Value) -> Vec<FieldError> {
    Check::run(|check| spec(check, "spec", &obj["spec"]))
}
