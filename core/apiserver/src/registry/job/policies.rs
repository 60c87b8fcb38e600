//! When a Job counts as failed or as done before all its pods are.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{at, int_at, list_at, str_at};
use hansa_api::names;
use serde_json::Value;

use super::indexes;
use crate::registry::cells;
use crate::registry::check::Check;

const MAX_RULES: usize = 20;
const MAX_CODES: usize = 255;
const MAX_INDEXES: usize = 64 << 10;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// `podFailurePolicy`.
pub(super) fn failure(check: &mut Check, path: &str, spec: &Value) {
    let Some(policy) = at(spec, &["podFailurePolicy"]) else { return };
    let path = child(path, "podFailurePolicy.rules");
    let rules = list_at(policy, &["rules"]);
    if rules.len() > MAX_RULES {
        check.add(FieldError::too_many(&path, rules.len(), MAX_RULES));
    }
    for (at, rule) in rules.iter().enumerate() {
        failure_rule(check, &index(&path, at), rule, spec);
    }
}

/// `Required value: valid values: ["A" "B"]`.
fn required_of(check: &mut Check, path: &str, text: &str, known: &[&str]) {
    if text.is_empty() {
        let quoted: Vec<_> = known.iter().map(|one| format!("{one:?}")).collect();
        check.required(path, &format!("valid values: [{}]", quoted.join(" ")));
    } else {
        check.optional_one_of(path, text, known);
    }
}

fn failure_rule(check: &mut Check, path: &str, rule: &Value, spec: &Value) {
    let (action_path, action) = (child(path, "action"), str_at(rule, &["action"]));
    required_of(check, &action_path, action, &ACTIONS);
    if action == "FailIndex" && at(spec, &["backoffLimitPerIndex"]).is_none() {
        check.invalid(&action_path, action, "requires the backoffLimitPerIndex to be set");
    }
    let (codes, patterns) = (at(rule, &["onExitCodes"]), list_at(rule, &["onPodConditions"]));
    if let Some(codes) = codes {
        exit_codes(check, &child(path, "onExitCodes"), codes, spec);
    }
    pod_conditions(check, &child(path, "onPodConditions"), patterns);
    let why = match (codes.is_some(), patterns.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    check.add(FieldError::invalid_omitted(path, why));
}

fn pod_conditions(check: &mut Check, path: &str, patterns: &[Value]) {
    if patterns.len() > MAX_RULES {
        check.add(FieldError::too_many(path, patterns.len(), MAX_RULES));
    }
    for (at, pattern) in patterns.iter().enumerate() {
        let path = index(path, at);
        let kind = str_at(pattern, &["type"]);
        check.text(&child(&path, "type"), kind, names::qualified_name(kind));
        required_of(check, &child(&path, "status"), str_at(pattern, &["status"]), &STATUSES);
    }
}

fn exit_codes(check: &mut Check, path: &str, codes: &Value, spec: &Value) {
    let operator = str_at(codes, &["operator"]);
    required_of(check, &child(path, "operator"), operator, &["In", "NotIn"]);
    let named =
        ["containers", "initContainers"].map(|list| list_at(spec, &["template", "spec", list]));
    let name = codes["containerName"].as_str();
    let known = |name: &str| named.iter().any(|all| all.iter().any(|one| one["name"] == name));
    if let Some(name) = name.filter(|name| !known(name)) {
        let why = "must be one of the container or initContainer names in the pod template";
        check.invalid(&child(path, "containerName"), name, why);
    }
    let (path, values) = (child(path, "values"), list_at(codes, &["values"]));
    if values.is_empty() {
        check.invalid(&path, values.to_vec(), "at least one value is required");
    } else if values.len() > MAX_CODES {
        check.add(FieldError::too_many(&path, values.len(), MAX_CODES));
    }
    let numbers: Vec<_> = values.iter().map(|value| value.as_i64().unwrap_or_default()).collect();
    let mut seen = HashSet::new();
    for (at, number) in numbers.iter().enumerate() {
        if operator == "In" && *number == 0 {
            check.invalid(&index(&path, at), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(number) {
            check.duplicate(&index(&path, at), *number);
        }
    }
    if !numbers.is_sorted() {
        check.invalid(&path, values.to_vec(), "must be ordered");
    }
}

/// `successPolicy`.
pub(super) fn success(check: &mut Check, path: &str, spec: &Value, indexed: bool) {
    let Some(policy) = at(spec, &["successPolicy"]) else { return };
    let path = child(path, "successPolicy");
    if !indexed {
        return check.invalid(&path, policy.clone(), "requires indexed completion mode");
    }
    let (path, rules) = (child(&path, "rules"), list_at(policy, &["rules"]));
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        check.required(&path, why);
    }
    if rules.len() > MAX_RULES {
        check.add(FieldError::too_many(&path, rules.len(), MAX_RULES));
    }
    for (at, rule) in rules.iter().enumerate() {
        success_rule(check, &index(&path, at), rule, cells::int(spec, &["completions"]));
    }
}

fn success_rule(check: &mut Check, path: &str, rule: &Value, completions: i64) {
    let (count, list) = (int_at(rule, &["succeededCount"]), rule["succeededIndexes"].as_str());
    if count.is_none() && list.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        check.required(path, why);
    }
    let mut total = None;
    if let Some(list) = list {
        let path = child(path, "succeededIndexes");
        if list.len() > MAX_INDEXES {
            check.add(FieldError::too_long(&path, MAX_INDEXES));
        }
        total = Some(indexes::count(list, completions).unwrap_or_else(|why| {
            check.invalid(&path, list, &format!("error parsing succeededIndexes: {why}"));
            0
        }));
    }
    let Some(count) = count else { return };
    let path = child(path, "succeededCount");
    check.non_negative(&path, Some(count));
    for (limit, what) in [
        (Some(completions), "the number of specified completions"),
        (total, "the number of indexes in the specified succeededIndexes field"),
    ] {
        if let Some(limit) = limit.filter(|limit| count > *limit) {
            let why = format!("must be less than or equal to {limit} ({what})");
            check.invalid(&path, count, &why);
        }
    }
}
