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
            for field in ["value", "preemptionPolicy"] {
                if obj.get(field) != old.get(field) {
                    check.forbidden(field, "may not be changed in an update.");
                }
            }
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
    let (name, value) = (meta::name(obj), cells::int(obj, &["value"]));
    if name.starts_with(SYSTEM_PREFIX) {
        if !SYSTEM.contains(&(name, value)) {
            let why = "priority class names with 'system-' prefix are reserved for system use only";
            check.forbidden("metadata.name", why);
        }
    } else if value > MAX_USER {
        let why = format!("maximum allowed value of a user defined priority is {MAX_USER}");
        check.forbidden("value", &why);
    }
    let policy = str_at(obj, &["preemptionPolicy"]);
    check.one_of("preemptionPolicy", policy, &["Never", "PreemptLowerPriority"]);
}
