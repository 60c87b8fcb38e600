//! ResourceQuotas.

use std::collections::BTreeSet;

use hansa_api::field::{FieldError, child, key};
use hansa_api::meta::{list_at, map_at, str_at};
use hansa_api::quantity::Quantity;
use jiff::Timestamp;
use serde_json::Value;

use super::check::{Check, entries};
use super::{cells, quota_scopes, resource_names};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "ResourceQuota", "resourcequotas")
        .namespaced()
        .short(&["quota"])
        .status()
}

/// The strategy of ResourceQuotas.
pub(super) struct ResourceQuotas;

impl Strategy for ResourceQuotas {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            amounts(check, "spec", &obj["spec"], "hard");
            quota_scopes::validate(check, &obj["spec"]);
        })
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(obj);
        if scopes(obj) != scopes(old) {
            let new = obj["spec"]["scopes"].clone();
            errors.push(FieldError::invalid("spec.scopes", new, "field is immutable"));
        }
        errors
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for list in ["hard", "used"] {
                amounts(check, "status", &obj["status"], list);
            }
        })
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        ["cpu", "memory", "storage", "ephemeral-storage"]
            .iter()
            .filter_map(|name| lopsided(obj, name))
            .collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Request", "Requests and counts used, of those allowed."),
            Column::new("Limit", "Limits used, of those allowed."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let used = map_at(obj, &["status", "used"]);
        for (name, hard) in entries(obj, &["status", "hard"]) {
            let used = used.and_then(|used| used.get(name)).and_then(Value::as_str).unwrap_or("0");
            let text = format!("{name}: {used}/{}", hard.as_str().unwrap_or_default());
            match name.starts_with("limits.") {
                true => limits.push(text),
                false => requests.push(text),
            }
        }
        let joined = |texts: Vec<String>| Value::from(texts.join(", "));
        vec![cells::name(obj), joined(requests), joined(limits), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

fn amounts(check: &mut Check, path: &str, object: &Value, list: &str) {
    for (name, amount) in entries(object, &[list]) {
        let path = key(&child(path, list), name);
        resource_names::quota(check, &path, name);
        resource_names::amount(check, &path, name, amount);
    }
}

fn scopes(obj: &Value) -> BTreeSet<&str> {
    list_at(obj, &["spec", "scopes"]).iter().filter_map(Value::as_str).collect()
}

/// Upstream's word on a quota that allows more to be requested than to be the limit.
fn lopsided(obj: &Value, name: &str) -> Option<String> {
    let amount =
        |name: &str| -> Option<Quantity> { str_at(obj, &["spec", "hard", name]).parse().ok() };
    let [asked, limit] = ["requests", "limits"].map(|list| format!("{list}.{name}"));
    let (asked, request) = match amount(&asked) {
        Some(request) => (asked, request),
        None if ["cpu", "memory"].contains(&name) => (name.to_owned(), amount(name)?),
        None => return None,
    };
    let most = amount(&limit)?;
    (request > most)
        .then(|| format!("ResourceQuota {asked} ({request}) should be less than {limit} ({most})"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn quota(spec: Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": spec})
    }

    #[test]
    fn mistakes_are_named() {
        let good = quota(json!({"hard": {"pods": "3", "requests.cpu": "500m"},
            "scopes": ["NotBestEffort"]}));
        assert_eq!(texts(&ResourceQuotas.validate_create(&good)), [""; 0]);
        let expression = |expression: Value| {
            let selector = json!({"matchExpressions": [expression]});
            json!({"hard": {"pods": "1"}, "scopeSelector": selector})
        };
        let cases = [
            (
                json!({"hard": {"storage": "1Gi"}}),
                "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for \
                 quota",
            ),
            (
                json!({"hard": {"pods": "1500m"}}),
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            ),
            (
                json!({"hard": {"cpu": "-1"}}),
                "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ),
            (
                json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}),
                "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to \
                 resource",
            ),
            (
                json!({"scopes": ["Terminating", "NotTerminating"]}),
                "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting \
                 scopes",
            ),
            (
                expression(json!({"scopeName": "PriorityClass", "operator": "In"})),
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one \
                 value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            (
                expression(json!({"scopeName": "Other", "operator": "Exists"})),
                "spec.scopeSelector.matchExpressions.scopeName: Invalid value: \"Other\": \
                 unsupported scope",
            ),
        ];
        refuses(&ResourceQuotas, cases.map(|(spec, error)| (quota(spec), error)));
    }

    #[test]
    fn scopes_stay() {
        let [old, new] = ["BestEffort", "NotBestEffort"].map(|s| quota(json!({"scopes": [s]})));
        assert_eq!(
            texts(&ResourceQuotas.validate_update(&new, &old)),
            ["spec.scopes: Invalid value: [\"NotBestEffort\"]: field is immutable"]
        );
    }

    #[test]
    fn more_requests_than_limits_are_odd() {
        let odd = quota(json!({"hard": {"cpu": "2", "limits.cpu": "1", "limits.memory": "1"}}));
        assert_eq!(
            ResourceQuotas.warnings(&odd, None),
            ["ResourceQuota cpu (2) should be less than limits.cpu (1)"]
        );
    }
}
