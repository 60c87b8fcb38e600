//! Priority: a pod's priority is what its PriorityClass says.

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, bool_at, fields_mut, int_at, str_at};
use serde_json::Value;

use super::{forbidden, lookup};
use crate::generic::admit::{Admission, Attributes, Operation};

const GROUP: &str = "scheduling.k8s.io";
const PLURAL: &str = "priorityclasses";
const PREEMPTS: &str = "PreemptLowerPriority";

pub(super) struct Priority;

/// What a pod gets of its class.
#[derive(Debug, PartialEq, Eq)]
struct Rank {
    class: String,
    value: i64,
    policy: String,
}

impl Rank {
    fn of(class: &Value) -> Self {
        let policy = match str_at(class, &["preemptionPolicy"]) {
            "" => PREEMPTS,
            policy => policy,
        };
        Self {
            class: meta::name(class).into(),
            value: int_at(class, &["value"]).unwrap_or_default(),
            policy: policy.into(),
        }
    }

    fn none() -> Self {
        Self { class: String::new(), value: 0, policy: PREEMPTS.into() }
    }
}

#[async_trait]
impl Admission for Priority {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        attrs.is_whole() && (attrs.is("", "pods") || attrs.is(GROUP, PLURAL))
    }

    async fn mutate(&self, attrs: &Attributes<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !attrs.is("", "pods") {
            return Ok(());
        }
        if let Some(old) = attrs.old {
            keep(pod, old);
            return Ok(());
        }
        let rank = match str_at(pod, &["spec", "priorityClassName"]) {
            "" => default_rank(&lookup::list(attrs, GROUP, PLURAL, "").await?),
            name => match lookup::find(attrs, GROUP, PLURAL, "", name).await? {
                Some(class) => Rank::of(&class),
                None => {
                    let why = format!("no PriorityClass with name {name} was found");
                    return Err(forbidden(attrs, pod, why));
                }
            },
        };
        apply(pod, rank).map_err(|why| forbidden(attrs, pod, why))
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        let Some(class) = obj.filter(|class| writes_global_default(attrs, class)) else {
            return Ok(());
        };
        let others = lookup::list(attrs, GROUP, PLURAL, "").await?;
        let other = others.iter().find(|other| {
            bool_at(other, &["globalDefault"]) && meta::name(other) != meta::name(class)
        });
        match other {
            None => Ok(()),
            Some(other) => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    meta::name(other)
                );
                Err(forbidden(attrs, class, why))
            }
        }
    }
}

/// What a pod got when it was made stays where a change leaves it out.
fn keep(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if let Some(value) = meta::at(old, &["spec", field]) {
            meta::default_field(fields_mut(pod, &["spec"]), field, value.clone());
        }
    }
}

fn writes_global_default(attrs: &Attributes<'_>, class: &Value) -> bool {
    attrs.is(GROUP, PLURAL)
        && attrs.operation != Operation::Delete
        && bool_at(class, &["globalDefault"])
}

/// Of several global defaults the lowest counts.
fn default_rank(classes: &[Arc<Value>]) -> Rank {
    let defaults = classes.iter().filter(|class| bool_at(class, &["globalDefault"]));
    let lowest = defaults.min_by_key(|class| int_at(class, &["value"]));
    lowest.map_or_else(Rank::none, |class| Rank::of(class))
}

fn apply(pod: &mut Value, rank: Rank) -> Result<(), String> {
    let given = int_at(pod, &["spec", "priority"]);
    if let Some(given) = given.filter(|given| *given != rank.value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority \
             admission controller computed {} from the given PriorityClass name",
            rank.value
        ));
    }
    let policy = str_at(pod, &["spec", "preemptionPolicy"]);
    if !policy.is_empty() && policy != rank.policy {
        return Err(format!(
            "the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; \
             priority admission controller computed {} from the given PriorityClass name",
            rank.policy
        ));
    }
    let spec = fields_mut(pod, &["spec"]);
    spec.insert("priority".into(), rank.value.into());
    spec.insert("preemptionPolicy".into(), rank.policy.into());
    if !rank.class.is_empty() {
        spec.insert("priorityClassName".into(), rank.class.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_class_decides() {
        let class = json!({"metadata": {"name": "high"}, "value": 9, "preemptionPolicy": "Never"});
        let mut pod = json!({"spec": {}});
        apply(&mut pod, Rank::of(&class)).unwrap();
        assert_eq!(
            pod["spec"],
            json!({"priority": 9, "preemptionPolicy": "Never", "priorityClassName": "high"})
        );
        let mut cheat = json!({"spec": {"priority": 10}});
        assert!(apply(&mut cheat, Rank::of(&class)).unwrap_err().contains("computed 9"));
    }

    #[test]
    fn without_a_class_the_default_counts() {
        assert_eq!(default_rank(&[]), Rank::none());
        let class = |name: &str, value: i64| {
            Arc::new(json!({"metadata": {"name": name}, "value": value, "globalDefault": true}))
        };
        assert_eq!(default_rank(&[class("b", 7), class("a", 5)]).class, "a");
    }
}
