//! Validation of pod specs, shared by pods and the templates of workloads.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{bool_at, int_at, list_at, str_at};
use hansa_api::names;
use serde_json::Value;

use super::containers::{self, Pod};
use super::{security, volumes};
use crate::registry::check::{Check, entries};
use crate::registry::node_selector;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Everything that is wrong with a pod spec at `path`.
pub(crate) fn spec(check: &mut Check, path: &str, spec: &Value) {
    let volumes = volumes::validate_all(check, path, spec);
    let host_network = bool_at(spec, &["hostNetwork"]);
    let host_users = spec.get("hostUsers") != Some(&Value::Bool(false));
    let runs_once = str_at(spec, &["restartPolicy"]) == "Never";
    let pod = Pod { volumes, host_network, host_users, runs_once };
    containers::validate_all(check, path, spec, &pod);
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
    dns(check, &child(path, "dnsConfig"), spec);
    security::of_pod(check, &child(path, "securityContext"), &spec["securityContext"]);
    affinity(check, &child(path, "affinity"), &spec["affinity"]);
}

fn lists(check: &mut Check, path: &str, spec: &Value) {
    tolerations(check, &child(path, "tolerations"), list_at(spec, &["tolerations"]));
    for (at, alias) in list_at(spec, &["hostAliases"]).iter().enumerate() {
        let at = index(&child(path, "hostAliases"), at);
        let ip = str_at(alias, &["ip"]);
        check.text(&child(&at, "ip"), ip, names::ip(ip));
        for (number, name) in list_at(alias, &["hostnames"]).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            let at = index(&child(&at, "hostnames"), number);
            check.text(&at, name, names::dns1123_subdomain(name));
        }
    }
    gates(check, path, spec);
    for (at, constraint) in list_at(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        spread(check, &index(&child(path, "topologySpreadConstraints"), at), constraint);
    }
}

/// Gates, each told of by its number, and what makes a pod ready.
fn gates(check: &mut Check, path: &str, spec: &Value) {
    for (at, gate) in list_at(spec, &["readinessGates"]).iter().enumerate() {
        let at = child(&index(&child(path, "readinessGates"), at), "conditionType");
        let kind = str_at(gate, &["conditionType"]);
        check.text(&at, kind, names::qualified_name(kind));
    }
    let mut seen = HashSet::new();
    for (at, gate) in list_at(spec, &["schedulingGates"]).iter().enumerate() {
        let at = index(&child(path, "schedulingGates"), at);
        let name = str_at(gate, &["name"]);
        check.text(&at, name, names::qualified_name(name));
        if !seen.insert(name) {
            check.duplicate(&at, name);
        }
    }
}

/// Most name servers and most search paths, with all their characters.
const NAMESERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_TEXT: usize = 2048;

fn dns(check: &mut Check, path: &str, spec: &Value) {
    let config = spec.get("dnsConfig");
    let nothing = Value::Null;
    let list = |name: &str| list_at(config.unwrap_or(&nothing), &[name]);
    let (servers, searches) = (child(path, "nameservers"), child(path, "searches"));
    if str_at(spec, &["dnsPolicy"]) == "None" {
        if config.is_none() {
            return check.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if list("nameservers").is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return check.required(&servers, why);
        }
    }
    let mut at_most = |path: &str, items: &[Value], count: usize, max: usize, what: &str| {
        if count > max {
            check.invalid(path, items.to_vec(), &format!("must not have more than {max} {what}"));
        }
    };
    let names = list("searches");
    let text: usize = names.iter().filter_map(Value::as_str).map(|name| name.len() + 1).sum();
    at_most(&servers, list("nameservers"), list("nameservers").len(), NAMESERVERS, "nameservers");
    at_most(&searches, names, names.len(), SEARCHES, "search paths");
    let what = "characters (including spaces) in the search list";
    at_most(&searches, names, text.saturating_sub(1), SEARCH_TEXT, what);
    dns_entries(check, path, config.unwrap_or(&nothing));
}

fn dns_entries(check: &mut Check, path: &str, config: &Value) {
    for (at, server) in list_at(config, &["nameservers"]).iter().enumerate() {
        let server = server.as_str().unwrap_or_default();
        check.text(&index(&child(path, "nameservers"), at), server, names::ip(server));
    }
    for (at, search) in list_at(config, &["searches"]).iter().enumerate() {
        let search = search.as_str().unwrap_or_default();
        let name = search.strip_suffix('.').unwrap_or(search);
        if search != "." {
            let why = names::dns1123_subdomain_with_underscore(name);
            check.text(&index(&child(path, "searches"), at), name, why);
        }
    }
    for (at, option) in list_at(config, &["options"]).iter().enumerate() {
        if str_at(option, &["name"]).is_empty() {
            check.required(&index(&child(path, "options"), at), "must not be empty");
        }
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
    let action = str_at(constraint, &["whenUnsatisfiable"]);
    let actions = ["DoNotSchedule", "ScheduleAnyway"];
    check.supported(&child(path, "whenUnsatisfiable"), Some(&action.into()), &actions);
    if let Some(least) = int_at(constraint, &["minDomains"]) {
        min_domains(check, &child(path, "minDomains"), least, action);
    }
    for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        check.supported(&child(path, field), constraint.get(field), &["Honor", "Ignore"]);
    }
    label_keys(check, path, constraint);
    if let Some(selector) = constraint.get("labelSelector") {
        check.label_selector(&child(path, "labelSelector"), selector);
    }
}

fn min_domains(check: &mut Check, path: &str, least: i64, action: &str) {
    if least <= 0 {
        check.invalid(path, least, "must be greater than zero");
    }
    if action != "DoNotSchedule" {
        let why =
            format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        check.invalid(path, least, &why);
    }
}

/// Labels of the pod that select others with it need a selector to become part of.
fn label_keys(check: &mut Check, path: &str, term: &Value) {
    let keys = |field: &str| list_at(term, &[field]);
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let path = child(path, field);
        if !keys(field).is_empty() && term.get("labelSelector").is_none() {
            check.forbidden(&path, "must not be specified when labelSelector is not set");
            continue;
        }
        for (at, key) in keys(field).iter().enumerate() {
            let key = key.as_str().unwrap_or_default();
            check.text(&index(&path, at), key, names::qualified_name(key));
        }
    }
    let twice = keys("matchLabelKeys").iter().enumerate();
    for (at, key) in twice.filter(|(_, key)| keys("mismatchLabelKeys").contains(key)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        check.invalid(&index(&child(path, "matchLabelKeys"), at), key.clone(), why);
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
                check.optional_one_of(&at, other, &["Equal", "Exists"]);
            }
        }
        check.optional_one_of(&child(&path, "effect"), text("effect"), EFFECTS);
    }
}

fn affinity(check: &mut Check, path: &str, affinity: &Value) {
    let node = child(path, "nodeAffinity");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    if let Some(selector) = affinity["nodeAffinity"].get(required) {
        node_selector::validate(check, &child(&node, required), selector);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (at, term) in list_at(affinity, &["nodeAffinity", preferred]).iter().enumerate() {
        let path = index(&child(&node, preferred), at);
        weight(check, &path, term);
        node_selector::term(check, &child(&path, "preference"), &term["preference"]);
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

fn pod_term(check: &mut Check, path: &str, term: &Value) {
    let key = str_at(term, &["topologyKey"]);
    let key_path = child(path, "topologyKey");
    if key.is_empty() {
        check.required(&key_path, "can not be empty");
    }
    check.text(&key_path, key, names::qualified_name(key));
    for field in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = term.get(field) {
            check.label_selector(&child(path, field), selector);
        }
    }
    for name in list_at(term, &["namespaces"]).iter().filter_map(Value::as_str) {
        check.text(&child(path, "namespace"), name, names::dns1123_label(name));
    }
    label_keys(check, path, term);
}

/// A workload's template: its labels and its spec.
pub(crate) fn template(check: &mut Check, path: &str, template: &Value) {
    check.labels(&child(path, "labels"), template["metadata"].get("labels"));
    for key in entries(template, &["metadata", "annotations"]).map(|(key, _)| key) {
        let why = names::qualified_name(&key.to_lowercase());
        check.text(&child(path, "annotations"), key, why);
    }
    spec(check, &child(path, "spec"), &template["spec"]);
}

/// A new pod.
pub(crate) fn pod(obj: &Value) -> Vec<FieldError> {
    Check::run(|check| spec(check, "spec", &obj["spec"]))
}
