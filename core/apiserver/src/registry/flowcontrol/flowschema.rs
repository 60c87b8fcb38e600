//! FlowSchemas: which requests belong to which priority level.

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{self, at, bool_at, default_field, fields_mut, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::{GROUP, bootstrap, conditions};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};
use crate::registry::cells;
use crate::registry::check::Check;

const EXEMPT: &str = "exempt";
const MAX_PRECEDENCE: i64 = 10_000;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Kinds of subjects and the fields that hold them.
const SUBJECTS: [(&str, &str); 3] =
    [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

pub(in crate::registry) fn resource() -> Resource {
    Resource::new(GROUP, "v1", "FlowSchema", "flowschemas").status()
}

/// The strategy of FlowSchemas.
pub(in crate::registry) struct FlowSchemas;

impl Strategy for FlowSchemas {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        if spec.get("matchingPrecedence").and_then(Value::as_i64) == Some(0) {
            spec.remove("matchingPrecedence");
        }
        default_field(spec, "matchingPrecedence", 1000);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, meta::name(obj), &obj["spec"]);
            let fixed = bootstrap::mandatory_schema(meta::name(obj));
            if let Some(fixed) = fixed.filter(|fixed| fixed["spec"] != obj["spec"]) {
                let why = format!("spec of '{}' must equal the fixed value", meta::name(&fixed));
                check.invalid("spec", obj["spec"].clone(), &why);
            }
            conditions(check, obj);
        })
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| conditions(check, obj))
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("PriorityLevel", "Where its requests go."),
            Column::new("MatchingPrecedence", "Lower ones are tried first."),
            Column::new("DistinguisherMethod", "What tells its flows apart."),
            Column::age(),
            Column::new("MissingPL", "Whether its priority level is missing."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &obj["spec"];
        let mut conditions = list_at(obj, &["status", "conditions"]).iter();
        let dangling = conditions.find(|one| str_at(one, &["type"]) == "Dangling");
        let method = spec["distinguisherMethod"]["type"].as_str().unwrap_or(cells::NONE);
        vec![
            cells::name(obj),
            str_at(spec, &["priorityLevelConfiguration", "name"]).into(),
            cells::int(spec, &["matchingPrecedence"]).into(),
            method.into(),
            cells::age(obj, now),
            dangling.map_or("?", |one| str_at(one, &["status"])).into(),
        ]
    }

    fn status_may_change_metadata(&self) -> bool {
        false
    }
}

fn validate(check: &mut Check, name: &str, spec: &Value) {
    let precedence = cells::int(spec, &["matchingPrecedence"]);
    let path = "spec.matchingPrecedence";
    if precedence <= 0 {
        check.invalid(path, precedence, "must be a positive value");
    }
    if precedence > MAX_PRECEDENCE {
        let why = format!("must not be greater than {MAX_PRECEDENCE}");
        check.invalid(path, precedence, &why);
    }
    if precedence == 1 && name != EXEMPT {
        let why = "only the schema named 'exempt' may have matchingPrecedence 1";
        check.invalid(path, precedence, why);
    }
    if let Some(method) = at(spec, &["distinguisherMethod"]) {
        let known = ["ByNamespace", "ByUser"];
        if !known.contains(&str_at(method, &["type"])) {
            let path = "spec.distinguisherMethod.type";
            check.add(FieldError::not_supported(path, method.clone(), &known));
        }
    }
    let path = "spec.priorityLevelConfiguration.name";
    match str_at(spec, &["priorityLevelConfiguration", "name"]) {
        "" => check.required(path, "must reference a priority level"),
        level => check.text(path, level, names::dns1123_subdomain(level)),
    }
    for (at, rule) in list_at(spec, &["rules"]).iter().enumerate() {
        validate_rule(check, &index("spec.rules", at), rule);
    }
}

fn validate_rule(check: &mut Check, path: &str, rule: &Value) {
    let subjects = list_at(rule, &["subjects"]);
    let subjects_path = child(path, "subjects");
    if subjects.is_empty() {
        check.required(&subjects_path, "subjects must contain at least one value");
    }
    for (at, subject) in subjects.iter().enumerate() {
        validate_subject(check, &index(&subjects_path, at), subject);
    }
    let [resources, paths] =
        ["resourceRules", "nonResourceRules"].map(|field| list_at(rule, &[field]));
    if resources.is_empty() && paths.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        check.required(path, why);
    }
    for (at, rule) in resources.iter().enumerate() {
        resource_rule(check, &index(&child(path, "resourceRules"), at), rule);
    }
    for (at, rule) in paths.iter().enumerate() {
        path_rule(check, &index(&child(path, "nonResourceRules"), at), rule);
    }
}

fn validate_subject(check: &mut Check, path: &str, subject: &Value) {
    let kind = str_at(subject, &["kind"]);
    let Some((_, own)) = SUBJECTS.iter().find(|(name, _)| *name == kind) else {
        let known = ["Group", "ServiceAccount", "User"];
        return check.add(FieldError::not_supported(child(path, "kind"), kind, &known));
    };
    let own_path = child(path, own);
    match at(subject, &[own]) {
        None => {
            let why = format!("{own} is required when subject kind is '{kind}'");
            check.required(&own_path, &why);
        }
        Some(account) if kind == "ServiceAccount" => {
            validate_account(check, &own_path, account);
        }
        Some(named) if str_at(named, &["name"]).is_empty() => {
            check.required(&child(&own_path, "name"), "");
        }
        Some(_) => {}
    }
    for (kind, field) in SUBJECTS.iter().filter(|(_, field)| field != own) {
        if at(subject, &[field]).is_some() {
            let why = format!("{field} is forbidden when subject kind is not '{kind}'");
            check.forbidden(&child(path, field), &why);
        }
    }
}

fn validate_account(check: &mut Check, path: &str, account: &Value) {
    let text = |field| (child(path, field), str_at(account, &[field]));
    match text("name") {
        (path, "") => check.required(&path, ""),
        (_, "*") => {}
        (path, name) => check.text(&path, name, names::dns1123_subdomain(name)),
    }
    match text("namespace") {
        (path, "") => check.required(&path, "must specify namespace for service account"),
        (path, name) => check.text(&path, name, names::dns1123_label(name)),
    }
}

/// A list that may be `*` alone; true if its members must be looked at one by one.
fn wildcard(check: &mut Check, path: &str, list: &[Value], missing: &str, others: &str) -> bool {
    if list.is_empty() {
        check.required(path, missing);
    } else if list.len() > 1 && list.iter().any(|one| one == "*") {
        let why = format!("if '*' is present, must not specify other {others}");
        check.invalid(path, list.to_vec(), &why);
    }
    !list.iter().any(|one| one == "*")
}

fn verbs(check: &mut Check, path: &str, rule: &Value) {
    let (path, list) = (child(path, "verbs"), list_at(rule, &["verbs"]));
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if wildcard(check, &path, list, "verbs must contain at least one value", "verbs")
        && !list.iter().all(known)
    {
        check.add(FieldError::not_supported(path, list.to_vec(), &VERBS));
    }
}

fn resource_rule(check: &mut Check, path: &str, rule: &Value) {
    verbs(check, path, rule);
    for (field, what, others) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let missing = format!("resource rules must supply at least one {what}");
        wildcard(check, &child(path, field), list_at(rule, &[field]), &missing, others);
    }
    let (path, list) = (child(path, "namespaces"), list_at(rule, &["namespaces"]));
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    let cluster = list.is_empty() && bool_at(rule, &["clusterScope"]);
    if cluster || !wildcard(check, &path, list, missing, "namespaces") {
        return;
    }
    for (at, namespace) in list.iter().enumerate() {
        let namespace = namespace.as_str().unwrap_or_default();
        for why in names::dns1123_label(namespace) {
            let why = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
            check.invalid(&index(&path, at), namespace, &why);
        }
    }
}

fn path_rule(check: &mut Check, path: &str, rule: &Value) {
    verbs(check, path, rule);
    let (path, list) = (child(path, "nonResourceURLs"), list_at(rule, &["nonResourceURLs"]));
    let missing = "nonResourceURLs must contain at least one value";
    if !wildcard(check, &path, list, missing, "non-resource URLs") {
        return;
    }
    for (at, url) in list.iter().enumerate() {
        let url = url.as_str().unwrap_or_default();
        let stars = url.matches('*').count();
        let why = match url {
            "" => "must not be empty",
            "/" => continue,
            url if !url.starts_with('/') => "must start with slash",
            url if url.contains(' ') => "must not contain white-space",
            url if url.contains("//") => "must not contain double slash",
            url if stars > 1 || (stars == 1 && !url.ends_with("/*")) => {
                "wildcard can only do suffix matching"
            }
            _ => continue,
        };
        check.invalid(&index(&path, at), url, why);
    }
}
