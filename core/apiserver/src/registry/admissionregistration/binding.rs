//! Bindings of admission policies: where they hold, and with which parameters.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{at, fields_mut, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::{CATEGORIES, GROUP, rules};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};
use crate::registry::cells;
use crate::registry::check::{Check, entries};
use crate::registry::pod::defaults::within;

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

pub(in crate::registry) fn validating() -> Resource {
    let plural = "validatingadmissionpolicybindings";
    Resource::new(GROUP, "v1", "ValidatingAdmissionPolicyBinding", plural).categories(CATEGORIES)
}

pub(in crate::registry) fn mutating() -> Resource {
    let plural = "mutatingadmissionpolicybindings";
    Resource::new(GROUP, "v1", "MutatingAdmissionPolicyBinding", plural).categories(CATEGORIES)
}

/// The strategy of both.
pub(in crate::registry) struct PolicyBindings {
    /// Whether their policies change objects.
    pub(in crate::registry) mutating: bool,
}

impl Strategy for PolicyBindings {
    fn default(&self, obj: &mut Value) {
        within(fields_mut(obj, &["spec"]), "matchResources", rules::default_match);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| self.validate(check, &obj["spec"]))
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("PolicyName", "The policy that it binds."),
            Column::new("ParamRef", "The policy's parameters."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let policy = str_at(obj, &["spec", "policyName"]);
        let params = at(obj, &["spec", "paramRef"]).map(params).filter(|text| !text.is_empty());
        vec![
            cells::name(obj),
            policy.into(),
            params.unwrap_or_else(|| cells::UNSET.into()).into(),
            cells::age(obj, now),
        ]
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

impl PolicyBindings {
    fn validate(&self, check: &mut Check, spec: &Value) {
        let policy = str_at(spec, &["policyName"]);
        check.required_text("spec.policyName", policy, names::dns1123_subdomain);
        if let Some(reference) = at(spec, &["paramRef"]) {
            param_ref(check, "spec.paramRef", reference);
        }
        if let Some(resources) = at(spec, &["matchResources"]) {
            rules::validate_match(check, "spec.matchResources", resources);
            if self.mutating {
                rules::validate_changing(check, "spec.matchResources", resources);
            }
        }
        if !self.mutating {
            actions(check, "spec.validationActions", list_at(spec, &["validationActions"]));
        }
    }
}

/// `namespace/name`, or the selector.
fn params(reference: &Value) -> String {
    let (namespace, name) = (str_at(reference, &["namespace"]), str_at(reference, &["name"]));
    match (namespace, name, at(reference, &["selector"])) {
        (_, "", None) => String::new(),
        (_, "", Some(selector)) => selector_text(selector),
        ("", name, _) => format!("*/{name}"),
        (namespace, name, _) => format!("{namespace}/{name}"),
    }
}

/// A selector as upstream's tables show it here.
fn selector_text(selector: &Value) -> String {
    let labels = entries(selector, &["matchLabels"]);
    let labels: String = labels
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    let expressions: String = list_at(selector, &["matchExpressions"])
        .iter()
        .map(|expression| {
            let values = list_at(expression, &["values"]).iter().filter_map(Value::as_str);
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                str_at(expression, &["key"]),
                str_at(expression, &["operator"]),
                values.collect::<Vec<_>>().join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

fn param_ref(check: &mut Check, path: &str, reference: &Value) {
    let (name_path, name) = (child(path, "name"), str_at(reference, &["name"]));
    let (selector_path, selector) = (child(path, "selector"), at(reference, &["selector"]));
    let exclusive = "name and selector are mutually exclusive";
    check.optional_text(&name_path, name, names::path_segment);
    if !name.is_empty() && selector.is_some() {
        check.forbidden(&name_path, exclusive);
    }
    if let Some(selector) = selector {
        check.label_selector(&selector_path, selector);
        if !name.is_empty() {
            check.forbidden(&selector_path, exclusive);
        }
    } else if name.is_empty() {
        check.required(path, "one of name or selector must be specified");
    }
    let action = str_at(reference, &["parameterNotFoundAction"]);
    check.one_of(&child(path, "parameterNotFoundAction"), action, &["Deny", "Allow"]);
}

fn actions(check: &mut Check, path: &str, actions: &[Value]) {
    let mut seen = HashSet::new();
    for (at, action) in actions.iter().enumerate() {
        let path = index(path, at);
        check.supported(&path, Some(action), &ACTIONS);
        if !seen.insert(action.as_str().unwrap_or_default()) {
            check.duplicate(&path, action.clone());
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure \
                   information in the API response and headers serves no purpose)";
        check.invalid(path, actions.to_vec(), why);
    }
    if seen.is_empty() {
        check.required(path, "at least one validation action is required");
    }
}
