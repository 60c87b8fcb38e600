//! NodeSelectors: which nodes a volume or a device is on.

use hansa_api::field::{child, index};
use hansa_api::meta::{list_at, str_at};
use hansa_api::names;
use serde_json::Value;

use super::check::Check;

const NO_OPERATOR: &str = "not a valid selector operator";

/// A selector, which has a term.
pub(super) fn validate(check: &mut Check, path: &str, selector: &Value) {
    let path = child(path, "nodeSelectorTerms");
    let terms = list_at(selector, &["nodeSelectorTerms"]);
    if terms.is_empty() {
        check.required(&path, "must have at least one node selector term");
    }
    for (at, term) in terms.iter().enumerate() {
        self::term(check, &index(&path, at), term);
    }
}

/// One term: of nodes' labels and of their names.
pub(super) fn term(check: &mut Check, path: &str, term: &Value) {
    for (at, expression) in list_at(term, &["matchExpressions"]).iter().enumerate() {
        by_label(check, &index(&child(path, "matchExpressions"), at), expression);
    }
    for (at, expression) in list_at(term, &["matchFields"]).iter().enumerate() {
        by_field(check, &index(&child(path, "matchFields"), at), expression);
    }
}

fn by_label(check: &mut Check, path: &str, expression: &Value) {
    let values = list_at(expression, &["values"]);
    let values_path = child(path, "values");
    match str_at(expression, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            check.required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            check.forbidden(&values_path, why);
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            check.required(&values_path, why);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => check.invalid(&child(path, "operator"), other, NO_OPERATOR),
    }
    let key = str_at(expression, &["key"]);
    check.text(&child(path, "key"), key, names::qualified_name(key));
    for (at, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        check.text(&index(&values_path, at), value, names::label_value(value));
    }
}

fn by_field(check: &mut Check, path: &str, expression: &Value) {
    let values = list_at(expression, &["values"]);
    match str_at(expression, &["operator"]) {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field \
                       selector";
            check.required(&child(path, "values"), why);
        }
        other => check.invalid(&child(path, "operator"), other, NO_OPERATOR),
    }
    match str_at(expression, &["key"]) {
        "metadata.name" => {
            for (at, value) in values.iter().enumerate() {
                let value = value.as_str().unwrap_or_default();
                let path = index(&child(path, "values"), at);
                check.text(&path, value, names::dns1123_subdomain(value));
            }
        }
        other => check.invalid(&child(path, "key"), other, "not a valid field selector key"),
    }
}
