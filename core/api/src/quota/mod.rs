//! What objects use of a ResourceQuota, as plain functions: admission charges a write with them, and
//! the quota controller counts what is there.
//!
//! [`Evaluator`] knows how one resource is measured; [`charge`] holds one write against one quota.

pub mod claims;
mod pods;
mod services;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::meta::{self, list_at, map_at, str_at};
use crate::quantity::Quantity;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// Core resources that quotas may also count by their plain name.
const ALIASED: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
/// What is never counted: what is not stored, and events.
const IGNORED: [(&str, &str); 10] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// How the objects of one resource are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evaluator {
    /// Pods: compute resources and scopes.
    Pods,
    /// Services: load balancers and node ports.
    Services,
    /// PersistentVolumeClaims: storage, by class too.
    Claims,
    /// Everything else: one object is one, under these names.
    Count(Vec<String>),
}

/// `count/plural` or `count/plural.group`.
fn count_name(group: &str, plural: &str) -> String {
    if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") }
}

impl Evaluator {
    /// The evaluator of a resource; `None` for what no quota counts.
    pub fn of(group: &str, plural: &str) -> Option<Self> {
        if IGNORED.contains(&(group, plural)) {
            return None;
        }
        Some(match (group, plural) {
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::Claims,
            _ => {
                let mut names = vec![count_name(group, plural)];
                if group.is_empty() && ALIASED.contains(&plural) {
                    names.push(plural.to_string());
                }
                Self::Count(names)
            }
        })
    }

    /// Whether a quota's entry of this name is about this resource.
    pub fn measures(&self, name: &str) -> bool {
        match self {
            Self::Pods => pods::measures(name),
            Self::Services => services::measures(name),
            Self::Claims => claims::measures(name),
            Self::Count(names) => names.iter().any(|own| own == name),
        }
    }

    /// What an object uses.
    pub fn usage(&self, obj: &Value, now: Timestamp) -> Amounts {
        match self {
            Self::Pods => pods::usage(obj, now),
            Self::Services => services::usage(obj),
            Self::Claims => claims::usage(obj),
            Self::Count(names) => names.iter().map(|name| (name.clone(), one())).collect(),
        }
    }

    /// Whether one scope of a quota takes the object in.
    fn in_scope(&self, scope: &Value, obj: &Value) -> bool {
        match self {
            Self::Pods => pods::in_scope(scope, obj),
            Self::Claims => claims::in_scope(scope, obj),
            Self::Services | Self::Count(_) => false,
        }
    }

    /// Whether all scopes of a quota take the object in.
    pub fn in_scopes(&self, quota: &Value, obj: &Value) -> bool {
        let plain = list_at(quota, &["spec", "scopes"]);
        let plain = plain.iter().map(|name| json!({"scopeName": name, "operator": "Exists"}));
        let chosen = list_at(quota, &["spec", "scopeSelector", "matchExpressions"]);
        plain.chain(chosen.iter().cloned()).all(|scope| self.in_scope(&scope, obj))
    }

    fn matches(&self, quota: &Value, obj: &Value) -> bool {
        names(quota).any(|name| self.measures(name)) && self.in_scopes(quota, obj)
    }

    /// What the object had to say and does not.
    fn missing(&self, quota: &Value, obj: &Value) -> Option<String> {
        if *self != Self::Pods { None } else { pods::missing(names(quota), obj) }
    }
}

fn one() -> Quantity {
    Quantity::from_units(1)
}

/// The names that a quota limits, as its status has them.
fn names(quota: &Value) -> impl Iterator<Item = &str> {
    map_at(quota, &["status", "hard"]).into_iter().flatten().map(|(name, _)| name.as_str())
}

/// The amounts at a path.
pub fn amounts(object: &Value, path: &[&str]) -> Amounts {
    let listed = map_at(object, path).into_iter().flatten();
    listed.filter_map(|(name, value)| Some((name.clone(), quantity(value)?))).collect()
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Adds up, name by name.
pub fn add(into: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = into.get(name).map_or(*amount, |sum| *sum + *amount);
        into.insert(name.clone(), sum);
    }
}

/// As an API object has it.
pub fn to_value(amounts: &Amounts) -> Value {
    let texts = amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string().into()));
    Value::Object(texts.collect())
}

/// `name=amount`, comma-separated.
fn listed<'a>(amounts: impl Iterator<Item = (&'a String, &'a Quantity)>) -> String {
    amounts.map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

/// A write that is to be charged.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// How its resource is measured.
    pub evaluator: &'a Evaluator,
    /// The object as it will be.
    pub new: &'a Value,
    /// The object as it was, if it was.
    pub old: Option<&'a Value>,
    /// Whether it may go over the limit: what a status reports is counted and not refused.
    pub lenient: bool,
    /// The time of the write.
    pub now: Timestamp,
}

/// What a quota's `status.used` becomes with a write; `None` if it stays.
///
/// # Errors
/// Why the quota forbids the write.
pub fn charge(quota: &Value, write: &Write<'_>) -> Result<Option<Amounts>, String> {
    let Write { evaluator, new, .. } = *write;
    if !evaluator.matches(quota, new) {
        return Ok(None);
    }
    let quota_name = meta::name(quota);
    if let Some(missing) = evaluator.missing(quota, new) {
        return Err(format!("failed quota: {quota_name}: must specify {missing}"));
    }
    let used = amounts(quota, &["status", "used"]);
    let measured: Vec<_> = names(quota).filter(|name| evaluator.measures(name)).collect();
    if measured.iter().any(|name| !used.contains_key(*name)) {
        let names = measured.join(",");
        return Err(format!("status unknown for quota: {quota_name}, resources: {names}"));
    }
    let asked = delta(quota, write)?;
    if asked.is_empty() {
        return Ok(None);
    }
    let mut after = used.clone();
    add(&mut after, &asked);
    if !write.lenient {
        within(quota, &asked, &used, &after)?;
    }
    Ok(Some(after))
}

/// What the write adds to what the quota counts.
fn delta(quota: &Value, write: &Write<'_>) -> Result<Amounts, String> {
    let Write { evaluator, new, now, .. } = *write;
    let mut asked = evaluator.usage(new, now);
    let negative: Vec<_> = asked.iter().filter(|(_, amount)| amount.is_negative()).collect();
    if !negative.is_empty() {
        let names: Vec<_> = negative.into_iter().map(|(name, _)| name.as_str()).collect();
        return Err(format!("quota usage is negative for resource(s): {}", names.join(",")));
    }
    if let Some(old) = write.old.filter(|old| evaluator.matches(quota, old)) {
        for (name, before) in evaluator.usage(old, now) {
            if let Some(amount) = asked.get_mut(&name) {
                *amount = (*amount - before).max(Quantity::default());
            }
        }
    }
    let hard = map_at(quota, &["status", "hard"]);
    let limited = |name: &String| hard.is_some_and(|hard| hard.contains_key(name));
    asked.retain(|name, amount| !amount.is_zero() && limited(name));
    Ok(asked)
}

fn within(quota: &Value, asked: &Amounts, used: &Amounts, after: &Amounts) -> Result<(), String> {
    let hard = amounts(quota, &["status", "hard"]);
    let over = |name: &String| match (after.get(name), hard.get(name)) {
        (Some(after), Some(hard)) => asked.contains_key(name) && after > hard,
        _ => false,
    };
    let only = |amounts: &Amounts| listed(amounts.iter().filter(|(name, _)| over(name)));
    if !hard.keys().any(over) {
        return Ok(());
    }
    Err(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        meta::name(quota),
        only(asked),
        only(used),
        only(&hard)
    ))
}

/// Whether a scope's operator and values choose `value`; `None` is a missing one.
fn chooses(scope: &Value, value: Option<&str>) -> bool {
    let listed = |value: &str| list_at(scope, &["values"]).iter().any(|one| one == value);
    match str_at(scope, &["operator"]) {
        "In" => value.is_some_and(listed),
        "NotIn" => value.is_none_or(|value| !listed(value)),
        "DoesNotExist" => value.is_none(),
        _ => value.is_some(),
    }
}

#[cfg(test)]
mod tests;
