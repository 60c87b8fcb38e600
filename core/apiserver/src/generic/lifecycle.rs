//! How objects die: what a DELETE does to one object, as a plain function.
//!
//! An object with finalizers, or a pod that a node still runs, is marked and stays until the last
//! finalizer is taken off or the node confirms with a grace period of 0.

use hansa_api::{meta, time};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::catalog::Served;
use super::options::{DeleteOptions, Propagation};

/// Dependents stay.
pub const ORPHAN: &str = "orphan";
/// Dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";

/// What a deletion does.
#[derive(Debug, PartialEq)]
pub enum Deletion {
    /// The object goes now.
    Remove,
    /// The object stays for a while, marked like this.
    Mark(Value),
    /// It was marked before; nothing changes.
    UnderWay,
}

/// Decides what a DELETE does to an object.
pub fn plan(served: &Served, old: &Value, options: &DeleteOptions, now: Timestamp) -> Deletion {
    let mut new = old.clone();
    apply_propagation(served, &mut new, options.propagation);
    match served.strategy.grace_period(old, options.grace_period_seconds) {
        Some(seconds) if seconds > 0 => mark_graceful(served, &mut new, options, seconds, now),
        _ if !is_held(served, &new) => return Deletion::Remove,
        _ => mark_held(served, &mut new, now),
    }
    if new == *old { Deletion::UnderWay } else { Deletion::Mark(new) }
}

/// Whether nothing holds a marked object back any longer.
pub fn is_complete(served: &Served, obj: &Value) -> bool {
    meta::deletion_timestamp(obj).is_some()
        && meta::deletion_grace_period_seconds(obj).unwrap_or(0) == 0
        && !is_held(served, obj)
}

fn is_held(served: &Served, obj: &Value) -> bool {
    meta::finalizers(obj).next().is_some() || served.strategy.held_back(obj)
}

fn apply_propagation(served: &Served, obj: &mut Value, policy: Option<Propagation>) {
    let policy = match policy {
        Some(policy) => policy,
        None if served.strategy.default_orphans() => Propagation::Orphan,
        None => return,
    };
    let (add, others) = match policy {
        Propagation::Orphan => (Some(ORPHAN), [FOREGROUND, ORPHAN]),
        Propagation::Foreground => (Some(FOREGROUND), [FOREGROUND, ORPHAN]),
        Propagation::Background => (None, [FOREGROUND, ORPHAN]),
    };
    let mut finalizers: Vec<Value> = meta::finalizers(obj)
        .filter(|name| Some(*name) == add || !others.contains(name))
        .map(Value::from)
        .collect();
    if let Some(name) = add.filter(|name| !finalizers.iter().any(|own| own == name)) {
        finalizers.push(name.into());
    }
    let metadata = meta::metadata_mut(obj);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
}

fn mark_graceful(
    served: &Served,
    obj: &mut Value,
    options: &DeleteOptions,
    seconds: i64,
    now: Timestamp,
) {
    let began = match began(obj) {
        None => now,
        Some((_, before)) if options.grace_period_seconds.is_none() || seconds >= before => return,
        Some((began, _)) => began,
    };
    let first = meta::deletion_timestamp(obj).is_none();
    set_mark(obj, began + SignedDuration::from_secs(seconds), seconds);
    if first {
        served.strategy.prepare_deletion(obj);
        bump(obj);
    }
}

/// When a running deletion was asked for, and its grace period.
fn began(obj: &Value) -> Option<(Timestamp, i64)> {
    let due = time::parse(meta::deletion_timestamp(obj)?)?;
    let grace = meta::deletion_grace_period_seconds(obj).unwrap_or(0);
    Some((due - SignedDuration::from_secs(grace), grace))
}

fn mark_held(served: &Served, obj: &mut Value, now: Timestamp) {
    if meta::deletion_timestamp(obj).is_none() {
        set_mark(obj, now, 0);
        served.strategy.prepare_deletion(obj);
        bump(obj);
    } else if meta::deletion_grace_period_seconds(obj).unwrap_or(0) != 0 {
        set_mark(obj, now, 0);
    }
}

fn set_mark(obj: &mut Value, due: Timestamp, grace: i64) {
    let metadata = meta::metadata_mut(obj);
    metadata.insert("deletionTimestamp".into(), time::format_time(due).into());
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
}

fn bump(obj: &mut Value) {
    let generation = meta::generation(obj);
    if generation > 0 {
        meta::set_generation(obj, generation + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::resource::Resource;
    use super::super::strategy::{Plain, Strategy};
    use super::*;
    use serde_json::json;

    struct Graceful;
    impl Strategy for Graceful {
        fn grace_period(&self, _: &Value, requested: Option<i64>) -> Option<i64> {
            Some(requested.unwrap_or(30))
        }
    }

    fn plain() -> Served {
        Served::builtin(Resource::new("", "v1", "Thing", "things"), Plain)
    }

    fn graceful() -> Served {
        Served::builtin(Resource::new("", "v1", "Pod", "pods"), Graceful)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + second).unwrap()
    }

    fn marked(plan: Deletion) -> Value {
        match plan {
            Deletion::Mark(obj) => obj,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn policies_become_finalizers() {
        let obj = json!({"metadata": {"name": "a"}});
        let cases = [
            (None, None),
            (Some(Propagation::Background), None),
            (Some(Propagation::Orphan), Some(ORPHAN)),
            (Some(Propagation::Foreground), Some(FOREGROUND)),
        ];
        for (propagation, finalizer) in cases {
            let options = DeleteOptions { propagation, ..DeleteOptions::default() };
            let plan = plan(&plain(), &obj, &options, at(0));
            match finalizer {
                None => assert_eq!(plan, Deletion::Remove),
                Some(name) => {
                    let new = marked(plan);
                    assert_eq!(new["metadata"]["finalizers"], json!([name]));
                    assert!(!is_complete(&plain(), &new));
                }
            }
        }
    }

    #[test]
    fn a_later_policy_replaces_the_earlier_one() {
        let obj = json!({"metadata": {"finalizers": [ORPHAN, "a/b"], "generation": 1}});
        let options =
            DeleteOptions { propagation: Some(Propagation::Foreground), ..Default::default() };
        let new = marked(plan(&plain(), &obj, &options, at(0)));
        assert_eq!(new["metadata"]["finalizers"], json!(["a/b", FOREGROUND]));
        assert_eq!(new["metadata"]["generation"], 2);
        assert_eq!(plan(&plain(), &new, &options, at(9)), Deletion::UnderWay);
    }

    #[test]
    fn grace_is_given_once_and_only_shortened() {
        let delete = |obj: &Value, seconds, now| {
            let options =
                DeleteOptions { grace_period_seconds: seconds, ..DeleteOptions::default() };
            plan(&graceful(), obj, &options, at(now))
        };
        let pod = json!({"metadata": {"name": "p"}});
        let dying = marked(delete(&pod, None, 0));
        assert_eq!(dying["metadata"]["deletionTimestamp"], time::format_time(at(30)));
        assert_eq!(delete(&dying, None, 5), Deletion::UnderWay);
        assert_eq!(delete(&dying, Some(60), 5), Deletion::UnderWay);
        let sooner = marked(delete(&dying, Some(10), 5));
        assert_eq!(sooner["metadata"]["deletionTimestamp"], time::format_time(at(10)));
        assert_eq!(delete(&dying, Some(0), 5), Deletion::Remove);
    }

    #[test]
    fn a_confirmed_pod_with_a_finalizer_waits_for_it_alone() {
        let pod = json!({"metadata": {"finalizers": ["a/b"]}});
        let options = DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
        let mut new = marked(plan(&graceful(), &pod, &options, at(0)));
        assert!(!is_complete(&graceful(), &new));
        meta::metadata_mut(&mut new).remove("finalizers");
        assert!(is_complete(&graceful(), &new));
    }
}
