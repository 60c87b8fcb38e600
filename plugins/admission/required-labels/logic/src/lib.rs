//! The policy that demands labels: every object that it is asked about has all of them, and where
//! values are listed, one of those. What goes away may go as it is.
//!
//! Settings: `{"labels": {"team": ["shop", "web"], "owner": []}}`; no values is any value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::admission::{
    Interests, Operation, Policy, Request, VALIDATES, Verdict, allow, deny, read,
};
use serde::Deserialize;

/// The policy with its settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredLabels {
    /// Label by label, the values that it may have.
    labels: BTreeMap<String, Vec<String>>,
}

/// What is read of an object.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Policy for RequiredLabels {
    const NAME: &'static str = "required-labels";
    const INTERESTS: Interests = VALIDATES;

    fn configure(settings: &Settings) -> Result<Self, String> {
        let policy: Self = settings.read()?;
        match policy.labels.is_empty() {
            true => Err("labels: name at least one".into()),
            false => Ok(policy),
        }
    }

    fn validate(&mut self, request: &Request) -> Verdict {
        if matches!(request.operation, Operation::Delete | Operation::Connect) {
            return allow();
        }
        let object: Object = match read(request) {
            Ok(object) => object,
            Err(refusal) => return refusal,
        };
        let there = object.metadata.labels.unwrap_or_default();
        let wrong = self.labels.iter().filter_map(|(label, values)| {
            complaint(label, values, there.get(label).map(String::as_str))
        });
        match wrong.reduce(|all, one| format!("{all}, {one}").into()) {
            None => allow(),
            Some(all) => deny(all),
        }
    }
}

/// What is wrong with a label, if anything is.
fn complaint<'a>(label: &str, values: &[String], have: Option<&str>) -> Option<Cow<'a, str>> {
    let Some(have) = have.filter(|have| !have.is_empty()) else {
        return Some(format!("label {label:?} is required").into());
    };
    let fits = values.is_empty() || values.iter().any(|value| value == have);
    let wanted = || format!("label {label:?} must be one of {}, not {have}", values.join(", "));
    (!fits).then(|| wanted().into())
}

#[cfg(test)]
mod tests {
    use hansa_plugin_sdk::admission::request;
    use serde_json::{Value, json};

    use super::*;

    fn verdict(labels: Value) -> String {
        let config = json!({"labels": {"team": ["shop", "web"], "owner": []}});
        let mut policy = RequiredLabels::configure(&config.into()).unwrap();
        let object = json!({"metadata": {"labels": labels}, "data": {"k": "v"}});
        let object = Some(object.to_string().into_bytes());
        policy.validate(&Request { object, ..request(Operation::Create) }).message
    }

    #[test]
    fn labels_are_demanded_with_their_values() {
        assert_eq!(verdict(json!({"team": "web", "owner": "ann", "other": "x"})), "");
        assert_eq!(
            verdict(json!({"team": "x"})),
            "label \"owner\" is required, label \"team\" must be one of shop, web, not x"
        );
        let neither = "label \"owner\" is required, label \"team\" is required";
        assert_eq!(verdict(json!({"team": "", "owner": ""})), neither);
        assert_eq!(verdict(Value::Null), neither);
        assert!(verdict(json!([1])).starts_with("the object cannot be read"));
    }

    #[test]
    fn what_goes_away_may_go_as_it_is() {
        let config = json!({"labels": {"team": []}});
        let mut policy = RequiredLabels::configure(&config.into()).unwrap();
        assert!(policy.validate(&request(Operation::Delete)).allowed);
        assert!(!policy.validate(&request(Operation::Update)).allowed);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for config in [Value::Null, json!({"labels": {}}), json!({"label": {"a": []}})] {
            assert!(RequiredLabels::configure(&config.clone().into()).is_err(), "{config}");
        }
    }
}
