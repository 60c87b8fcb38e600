//! PriorityClasses.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, as_fields_mut, bool_at, default_text, str_at};
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

/// The highest priority that users may give.
const MAX_USER: i64 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";
/// The classes that every cluster has, and their values.
pub(super) const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub(super) fn resource() -> Resource {
    Resource::new("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses").short(&["pc"])
}

/// The strategy of PriorityClasses.
pub(super) struct PriorityClasses;

impl Strategy for PriorityClasses {
    fn default(&self, obj: &mut Value) {
        default_text(as_fields_mut(obj), "preemptionPolicy", "PreemptLowerPriority");
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            if cells::int(obj, &["value"]) != cells::int(old, &["value"]) {
                check.forbidden("value", "may not be changed in an update.");
            }
            check.frozen("preemptionPolicy", obj, old);
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::of("Value", "integer", "The priority of its pods.", 0),
            Column::of("Global-Default", "boolean", "Whether pods without a class get it.", 0),
            Column::age(),
            Column::new("PreemptionPolicy", "Whether its pods displace others."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(obj),
            cells::int(obj, &["value"]).into(),
            bool_at(obj, &["globalDefault"]).into(),
            cells::age(obj, now),
            str_at(obj, &["preemptionPolicy"]).into(),
        ]
    }

    fn has_generation(&self, _: &Value) -> bool {
        true
    }
}

fn validate(check: &mut Check, obj: &Value) {
    let value = cells::int(obj, &["value"]);
    if meta::name(obj).starts_with(SYSTEM_PREFIX) {
        if let Some(error) = unlike_system(obj, value) {
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. \
                 error: {error}"
            );
            check.forbidden("metadata.name", &why);
        }
    } else if value > MAX_USER {
        let why = format!("maximum allowed value of a user defined priority is {MAX_USER}");
        check.forbidden("value", &why);
    }
    let policy = str_at(obj, &["preemptionPolicy"]);
    check.one_of("preemptionPolicy", policy, &["PreemptLowerPriority", "Never"]);
}

/// In which way a class with a system's name is none of those that every cluster has.
fn unlike_system(obj: &Value, value: i64) -> Option<String> {
    let name = meta::name(obj);
    let Some((_, expected)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if *expected != value {
        return Some(format!("value of {name} PriorityClass must be {expected}"));
    }
    bool_at(obj, &["globalDefault"])
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn class(name: &str, value: i64) -> Value {
        let mut obj = json!({"metadata": {"name": name}, "value": value});
        PriorityClasses.default(&mut obj);
        obj
    }

    #[test]
    fn system_classes_are_the_systems() {
        let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are \
                        reserved for system use only. error: ";
        for (obj, error) in [
            (class("system-a", 1), "system-a is not a known system priority class"),
            (
                class("system-node-critical", 1),
                "value of system-node-critical PriorityClass must be 2000001000",
            ),
        ] {
            assert_eq!(
                texts(&PriorityClasses.validate_create(&obj)),
                [format!("{reserved}{error}")]
            );
        }
        assert!(PriorityClasses.validate_create(&class(SYSTEM[0].0, SYSTEM[0].1)).is_empty());
        refuses(
            &PriorityClasses,
            [(
                class("a", MAX_USER + 1),
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
            )],
        );
    }

    #[test]
    fn value_and_policy_stay() {
        let mut new = class("a", 2);
        new["preemptionPolicy"] = "Never".into();
        assert_eq!(
            texts(&PriorityClasses.validate_update(&new, &class("a", 1))),
            [
                "value: Forbidden: may not be changed in an update.",
                "preemptionPolicy: Invalid value: \"Never\": field is immutable",
            ]
        );
    }
}
