//! What a claim asks for.

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{Fields, at, default_field, default_text, list_at, str_at};
use hansa_api::names as api_names;
use serde_json::Value;

use super::{MAX_CONFIGS, MAX_REQUESTS, MAX_SELECTORS, list, names, set};
use crate::registry::cells;
use crate::registry::check::Check;
use crate::registry::pod::defaults::{each, within};

const MAX_CONSTRAINTS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_EXPRESSION: usize = 10 << 10;
const MAX_PARAMETERS: usize = 10 << 10;
/// What a taint does, sorted.
pub(super) const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// One device per request, if it does not say how many.
pub(super) fn default_claim(devices: &mut Fields) {
    each(devices, "requests", |request| {
        within(request, "exactly", default_count);
        each(request, "firstAvailable", default_count);
    });
}

fn default_count(request: &mut Fields) {
    default_text(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" {
        if request.get("count").and_then(Value::as_i64) == Some(0) {
            request.remove("count");
        }
        default_field(request, "count", 1);
    }
}

/// `spec.devices` of a claim or template.
pub(super) fn validate_claim(check: &mut Check, path: &str, claim: &Value) {
    let name = |request: &Value| request["name"].clone();
    let field = |name: &str| (child(path, name), list_at(claim, &[name]));
    let (at_requests, requests) = field("requests");
    set(check, &at_requests, requests, MAX_REQUESTS, validate_request, name);
    let (at_constraints, constraints) = field("constraints");
    list(check, &at_constraints, constraints, MAX_CONSTRAINTS, |check, path, constraint| {
        validate_constraint(check, path, constraint, claim);
    });
    let (at_configs, configs) = field("config");
    list(check, &at_configs, configs, MAX_CONFIGS, |check, path, config| {
        references(check, path, config, claim);
        configuration(check, path, config);
    });
}

/// The requests that something is about.
pub(super) fn references(check: &mut Check, path: &str, holder: &Value, claim: &Value) {
    let (path, names) = (child(path, "requests"), list_at(holder, &["requests"]));
    let validate = |check: &mut Check, path: &str, name: &Value| {
        names::request_reference(check, path, name.as_str().unwrap_or_default(), claim);
    };
    set(check, &path, names, MAX_REQUESTS, validate, Value::clone);
}

fn validate_request(check: &mut Check, path: &str, request: &Value) {
    names::label(check, &child(path, "name"), str_at(request, &["name"]));
    let alternatives = list_at(request, &["firstAvailable"]);
    match (alternatives.is_empty(), at(request, &["exactly"])) {
        (true, None) => {
            check.required(path, "exactly one of `exactly` or `firstAvailable` is required");
        }
        (false, Some(_)) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple \
                       fields are set";
            check.invalid(path, Value::Null, why);
        }
        (true, Some(exactly)) => one_kind(check, &child(path, "exactly"), exactly),
        (false, None) => {
            let validate = |check: &mut Check, path: &str, request: &Value| {
                names::label(check, &child(path, "name"), str_at(request, &["name"]));
                one_kind(check, path, request);
            };
            let name = |request: &Value| request["name"].clone();
            let path = child(path, "firstAvailable");
            set(check, &path, alternatives, MAX_ALTERNATIVES, validate, name);
        }
    }
}

fn one_kind(check: &mut Check, path: &str, request: &Value) {
    let class = str_at(request, &["deviceClassName"]);
    check.required_text(&child(path, "deviceClassName"), class, api_names::dns1123_subdomain);
    selectors(check, &child(path, "selectors"), list_at(request, &["selectors"]));
    let count = cells::int(request, &["count"]);
    let count_path = child(path, "count");
    match str_at(request, &["allocationMode"]) {
        "All" if count != 0 => {
            let why = "must not be specified when allocationMode is 'All'";
            check.invalid(&count_path, count, why);
        }
        "ExactCount" if count <= 0 => {
            check.invalid(&count_path, count, "must be greater than zero");
        }
        "All" | "ExactCount" => {}
        other => {
            let path = child(path, "allocationMode");
            check.add(FieldError::not_supported(path, other, &["All", "ExactCount"]));
        }
    }
    for (at, toleration) in list_at(request, &["tolerations"]).iter().enumerate() {
        validate_toleration(check, &index(&child(path, "tolerations"), at), toleration);
    }
}

/// CEL expressions that select devices.
pub(super) fn selectors(check: &mut Check, path: &str, selectors: &[Value]) {
    list(check, path, selectors, MAX_SELECTORS, |check, path, selector| {
        match at(selector, &["cel"]) {
            None => check.required(&child(path, "cel"), ""),
            Some(cel) if str_at(cel, &["expression"]).len() > MAX_EXPRESSION => {
                let path = child(path, "cel.expression");
                check.add(FieldError::too_long(path, MAX_EXPRESSION));
            }
            Some(_) => {}
        }
    });
}

fn validate_toleration(check: &mut Check, path: &str, toleration: &Value) {
    let text = |field: &str| (child(path, field), str_at(toleration, &[field]));
    let (at_key, key) = text("key");
    check.optional_text(&at_key, key, api_names::qualified_name);
    let (at_value, value) = text("value");
    match text("operator") {
        (_, "Exists") if !value.is_empty() => {
            check.invalid(&at_value, value, "must be empty for operator `Exists`");
        }
        (_, "Exists") => {}
        (_, "Equal") => check.text(&at_value, value, api_names::label_value(value)),
        (path, "") => check.required(&path, ""),
        (path, other) => {
            check.add(FieldError::not_supported(path, other, &["Equal", "Exists"]));
        }
    }
    let (at_effect, effect) = text("effect");
    check.optional_one_of(&at_effect, effect, &EFFECTS);
}

fn validate_constraint(check: &mut Check, path: &str, constraint: &Value, claim: &Value) {
    references(check, path, constraint, claim);
    let attribute = ["matchAttribute", "distinctAttribute"]
        .into_iter()
        .find_map(|field| Some((field, constraint[field].as_str()?)));
    match attribute {
        Some((field, name)) => names::fully_qualified(check, &child(path, field), name),
        None => {
            let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, \
                       but multiple fields are set";
            check.required(path, why);
        }
    }
}

/// Parameters that only the driver understands.
pub(super) fn configuration(check: &mut Check, path: &str, config: &Value) {
    let path = child(path, "opaque");
    let Some(opaque) = at(config, &["opaque"]) else { return check.required(&path, "") };
    names::driver(check, &child(&path, "driver"), str_at(opaque, &["driver"]));
    raw(check, &child(&path, "parameters"), at(opaque, &["parameters"]), MAX_PARAMETERS);
}

/// Any JSON object that is not too large.
pub(super) fn raw(check: &mut Check, path: &str, value: Option<&Value>, max: usize) {
    match value {
        None => check.required(path, ""),
        Some(value) if value.to_string().len() > max => {
            check.add(FieldError::too_long(path, max));
        }
        Some(value) if !value.is_object() => {
            check.invalid(path, "<value omitted>", "must be a valid JSON object");
        }
        Some(_) => {}
    }
}

/// The path of the first request for a device that others use already.
pub(super) fn admin_access(requests: &[Value]) -> Option<String> {
    let asks = |request: &Value| request["exactly"]["adminAccess"] == true;
    let at = requests.iter().position(asks)?;
    Some(format!("spec.devices.requests[{at}].adminAccess"))
}

/// How many of something a result has; kept here because requests and results share it.
pub(super) fn binding_conditions(check: &mut Check, path: &str, holder: &Value) {
    const MAX: usize = 4;
    let fields = ["bindingConditions", "bindingFailureConditions"];
    let lists = fields.map(|field| list_at(holder, &[field]));
    for (field, all) in fields.into_iter().zip(lists) {
        let validate = |check: &mut Check, path: &str, name: &Value| {
            let name = name.as_str().unwrap_or_default();
            check.text(path, name, api_names::qualified_name(name));
        };
        set(check, &child(path, field), all, MAX, validate, Value::clone);
    }
    let [conditions, failures] = lists;
    for (at, name) in failures.iter().enumerate().filter(|(_, name)| conditions.contains(name)) {
        let path = index(&child(path, fields[1]), at);
        let why = "bindingFailureConditions must not overlap with bindingConditions";
        check.invalid(&path, name.clone(), why);
    }
    for (own, other, missing) in
        [(fields[0], fields[1], lists[0].is_empty()), (fields[1], fields[0], lists[1].is_empty())]
    {
        if missing && !(conditions.is_empty() && failures.is_empty()) {
            let why = format!("{own} are required to use {other}");
            check.invalid(&child(path, own), Value::Null, &why);
        }
    }
}
