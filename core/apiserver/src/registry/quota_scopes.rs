//! What a quota is limited to: the scopes of the pods and claims that it counts.

use hansa_api::meta::{list_at, str_at};
use serde_json::Value;

use super::check::{Check, entries};
use super::resource_names;

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];
const OPPOSITES: [[&str; 2]; 2] =
    [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
const CONFLICT: &str = "conflicting scopes";
const NOT_COUNTED: &str = "unsupported scope applied to resource";
const PATH: &str = "spec.scopes";
const SELECTOR_PATH: &str = "spec.scopeSelector.matchExpressions";

/// `spec.scopes` and `spec.scopeSelector`.
pub(super) fn validate(check: &mut Check, spec: &Value) {
    scopes(check, spec);
    if let Some(selector) = spec.get("scopeSelector") {
        scope_selector(check, spec, selector);
    }
}

fn scopes(check: &mut Check, spec: &Value) {
    let list = list_at(spec, &["scopes"]);
    let all = || spec["scopes"].clone();
    let names: Vec<_> = list.iter().map(|scope| scope.as_str().unwrap_or_default()).collect();
    for scope in &names {
        if !SCOPES.contains(scope) {
            check.invalid(PATH, all(), "unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            check.invalid(PATH, all(), NOT_COUNTED);
        }
    }
    for _ in 0..conflicts(&names) {
        check.invalid(PATH, all(), CONFLICT);
    }
}

fn scope_selector(check: &mut Check, spec: &Value, selector: &Value) {
    let mut names = Vec::new();
    for requirement in list_at(selector, &["matchExpressions"]) {
        let scope = str_at(requirement, &["scopeName"]);
        if !SCOPES.contains(&scope) {
            check.invalid(&format!("{SELECTOR_PATH}.scopeName"), scope, "unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            check.invalid(SELECTOR_PATH, selector.clone(), NOT_COUNTED);
        }
        operator(check, scope, requirement);
        names.push(scope);
    }
    for _ in 0..conflicts(&names) {
        check.invalid(SELECTOR_PATH, spec["scopes"].clone(), CONFLICT);
    }
}

fn operator(check: &mut Check, scope: &str, requirement: &Value) {
    let operator = str_at(requirement, &["operator"]);
    let at = format!("{SELECTOR_PATH}.operator");
    let valued = ["PriorityClass", "VolumeAttributesClass"];
    if SCOPES.contains(&scope) && !valued.contains(&scope) && operator != "Exists" {
        let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                   ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                   ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        check.invalid(&at, operator, why);
    }
    let values = format!("{SELECTOR_PATH}.values");
    match (operator, list_at(requirement, &["values"]).is_empty()) {
        ("In" | "NotIn", true) => {
            let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope \
                       selector";
            check.required(&values, why);
        }
        ("Exists" | "DoesNotExist", false) => {
            let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope \
                       selector";
            check.invalid(&values, requirement["values"].clone(), why);
        }
        ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
        _ => check.invalid(&at, operator, "not a valid selector operator"),
    }
}

/// How many resources of the quota the scope says nothing about.
fn misfits(spec: &Value, scope: &str) -> usize {
    let misfit = |name: &str| resource_names::is_quota(name) && !fits(scope, name);
    entries(spec, &["hard"]).filter(|(name, _)| misfit(name)).count()
}

fn fits(scope: &str, resource: &str) -> bool {
    const COMPUTE: [&str; 6] =
        ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            ["persistentvolumeclaims", "requests.storage"].contains(&resource)
        }
        scope if SCOPES.contains(&scope) => resource == "pods" || COMPUTE.contains(&resource),
        _ => true,
    }
}

fn conflicts(names: &[&str]) -> usize {
    OPPOSITES.iter().filter(|pair| pair.iter().all(|name| names.contains(name))).count()
}
