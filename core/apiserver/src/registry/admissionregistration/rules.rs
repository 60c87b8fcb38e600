//! Which writes a webhook or policy is asked about.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{Fields, at, default_field, list_at, str_at};
use hansa_api::names;
use hansa_cel::Env;
use serde_json::{Map, Value};

use super::MATCH_POLICIES;
use super::expressions::{self, Wanted};
use crate::registry::check::Check;
use crate::registry::pod::defaults::each;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// What can be changed on its way in.
const CHANGING: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const MAX_CONDITIONS: usize = 64;

/// Every scope, unless a rule says which.
pub(super) fn default_rules(holder: &mut Fields, list: &str) {
    each(holder, list, |rule| default_field(rule, "scope", "*"));
}

/// Defaults of what a policy or binding matches.
pub(super) fn default_match(resources: &mut Fields) {
    default_field(resources, "matchPolicy", "Equivalent");
    for selector in ["namespaceSelector", "objectSelector"] {
        default_field(resources, selector, Map::new());
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        default_rules(resources, list);
    }
}

fn has_wildcard(list: &[Value]) -> bool {
    list.iter().any(|one| one == "*")
}

/// One rule: operations, groups, versions, resources, scope.
pub(super) fn validate(check: &mut Check, path: &str, rule: &Value) {
    for (field, others) in
        [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")]
    {
        let (path, list) = (child(path, field), list_at(rule, &[field]));
        if list.is_empty() {
            check.required(&path, "");
        }
        if list.len() > 1 && has_wildcard(list) {
            let why = format!("if '*' is present, must not specify other {others}");
            check.invalid(&path, list.to_vec(), &why);
        }
        for (at, one) in list.iter().enumerate() {
            match field {
                "operations" => check.supported(&index(&path, at), Some(one), &OPERATIONS),
                "apiVersions" if one == "" => check.required(&index(&path, at), ""),
                _ => {}
            }
        }
    }
    validate_resources(check, &child(path, "resources"), list_at(rule, &["resources"]));
    check.supported(&child(path, "scope"), at(rule, &["scope"]), &SCOPES);
}

fn validate_resources(check: &mut Check, path: &str, resources: &[Value]) {
    if resources.is_empty() {
        check.required(path, "");
    }
    let (mut all_of, mut everywhere) = (HashSet::new(), HashSet::new());
    let mut plain = false;
    for (at, text) in resources.iter().enumerate() {
        let text = text.as_str().unwrap_or_default();
        let path = index(path, at);
        if text.is_empty() {
            check.required(&path, "");
            continue;
        }
        let Some((resource, sub)) = text.split_once('/') else {
            plain = text != "*";
            continue;
        };
        let covers = [
            (all_of.contains(resource), format!("{resource}/*")),
            (everywhere.contains(sub), format!("*/{sub}")),
        ];
        for (_, wide) in covers.iter().filter(|(covered, _)| *covered) {
            check.invalid(&path, text, &format!("if '{wide}' is present, must not specify {text}"));
        }
        if sub == "*" {
            all_of.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(sub);
        }
    }
    let has = |wanted: &str| resources.iter().any(|one| one == wanted);
    if resources.len() > 1 && has("*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        check.invalid(path, resources.to_vec(), why);
    }
    if plain && has("*") {
        let why = "if '*' is present, must not specify other resources without subresources";
        check.invalid(path, resources.to_vec(), why);
    }
}

/// What a policy or binding matches.
pub(super) fn validate_match(check: &mut Check, path: &str, resources: &Value) {
    let policy_path = child(path, "matchPolicy");
    match at(resources, &["matchPolicy"]) {
        None => check.required(&policy_path, ""),
        policy => check.supported(&policy_path, policy, &MATCH_POLICIES),
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        let path = child(path, selector);
        match at(resources, &[selector]) {
            None => check.required(&path, ""),
            Some(selector) => check.label_selector(&path, selector),
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (at, rule) in list_at(resources, &[list]).iter().enumerate() {
            let path = index(&child(path, list), at);
            named(check, &child(&path, "resourceNames"), list_at(rule, &["resourceNames"]));
            validate(check, &path, rule);
        }
    }
}

/// Deletions have nothing to change.
pub(super) fn validate_changing(check: &mut Check, path: &str, resources: &Value) {
    let path = child(path, "resourceRules.operations");
    for rule in list_at(resources, &["resourceRules"]) {
        for operation in list_at(rule, &["operations"]) {
            check.supported(&path, Some(operation), &CHANGING);
        }
    }
}

fn named(check: &mut Check, path: &str, names_: &[Value]) {
    let mut seen = HashSet::new();
    for (at, name) in names_.iter().enumerate() {
        let (path, name) = (index(path, at), name.as_str().unwrap_or_default());
        check.text(&path, name, names::path_segment(name));
        if !seen.insert(name) {
            check.duplicate(&path, name);
        }
    }
}

/// Expressions that must be true before anything else is looked at.
pub(super) fn validate_conditions(check: &mut Check, path: &str, conditions: &[Value], env: &Env) {
    if conditions.len() > MAX_CONDITIONS {
        check.add(FieldError::too_many(path, conditions.len(), MAX_CONDITIONS));
    }
    let mut seen = HashSet::new();
    for (at, condition) in conditions.iter().enumerate() {
        let path = index(path, at);
        let wanted = Wanted::bool(env);
        expressions::required(check, &path, condition, ("expression", ""), wanted);
        let name = str_at(condition, &["name"]);
        check.required_text(&child(&path, "name"), name, names::qualified_name);
        if !name.is_empty() && !seen.insert(name) {
            check.duplicate(&child(&path, "name"), name);
        }
    }
}
