//! The policy that adds labels: an object that it is asked about gets those that it does not have.
//!
//! Settings: `{"labels": {"team": "nobody"}}`.

use std::collections::BTreeMap;

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::admission::{
    Interests, MUTATES, Mutation, Operation, Patch, Policy, Request, allow, patched, read,
    unchanged,
};
use serde::Deserialize;

/// The policy with its settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultLabels {
    /// Label by label, the value that it gets.
    labels: BTreeMap<String, String>,
}

/// What is read of an object.
#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Policy for DefaultLabels {
    const NAME: &'static str = "default-labels";
    const INTERESTS: Interests = MUTATES;

    fn configure(settings: &Settings) -> Result<Self, String> {
        let policy: Self = settings.read()?;
        match policy.labels.is_empty() {
            true => Err("labels: name at least one".into()),
            false => Ok(policy),
        }
    }

    fn mutate(&mut self, request: &Request) -> Mutation {
        if matches!(request.operation, Operation::Delete | Operation::Connect) {
            return unchanged(allow());
        }
        match read::<Object>(request) {
            Ok(object) => patched(self.patch(object.metadata.labels.as_ref())),
            Err(refusal) => unchanged(refusal),
        }
    }
}

impl DefaultLabels {
    fn patch(&self, there: Option<&BTreeMap<String, String>>) -> Patch {
        let mut patch = Patch::default();
        let Some(there) = there else {
            let all = self.labels.iter().map(|(label, value)| (label.clone(), value.clone()));
            patch.add(&["metadata", "labels"], all.collect::<serde_json::Value>());
            return patch;
        };
        for (label, value) in self.labels.iter().filter(|(label, _)| !there.contains_key(*label)) {
            patch.add(&["metadata", "labels", label], value.as_str());
        }
        patch
    }
}

#[cfg(test)]
mod tests {
    use hansa_plugin_sdk::admission::{Change, request};
    use serde_json::{Value, json};

    use super::*;

    fn patch(object: Value) -> Value {
        let config = json!({"labels": {"team": "nobody", "a/b": "c"}});
        let mut policy = DefaultLabels::configure(&config.into()).unwrap();
        let object = Some(object.to_string().into_bytes());
        match policy.mutate(&Request { object, ..request(Operation::Create) }).change {
            Change::Patch(patch) => serde_json::from_slice(&patch).unwrap(),
            Change::Unchanged => Value::Null,
            Change::Replace(_) => panic!("it patches"),
        }
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let all = json!([{"op": "add", "path": "/metadata/labels",
            "value": {"team": "nobody", "a/b": "c"}}]);
        assert_eq!(patch(json!({"metadata": {}})), all);
        assert_eq!(
            patch(json!({"metadata": {"labels": {"team": "web"}}})),
            json!([{"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}])
        );
        assert_eq!(patch(json!({"metadata": {"labels": {"team": "", "a/b": "d"}}})), Value::Null);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for config in [Value::Null, json!({"labels": {}}), json!({"labels": {"a": 1}})] {
            assert!(DefaultLabels::configure(&config.clone().into()).is_err(), "{config}");
        }
    }
}
