//! What a Deployment says of itself: counts, and the conditions Available and Progressing.

use std::time::Duration;

use hansa_api::k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus,
};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use hansa_api::k8s_openapi::jiff::Timestamp;

use super::plan::{Action, Bounds, View, actual, available, is_complete};
use crate::owned::name_of;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const DONE: &str = "NewReplicaSetAvailable";

/// The status after these actions, as of `now`.
pub(super) fn status(
    deployment: &Deployment,
    view: &View<'_>,
    actions: &[Action],
    now: Timestamp,
) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let spec = deployment.spec.clone().unwrap_or_default();
    let total: i32 = view.all().map(|set| actual(set)).sum();
    let serving: i32 = view.all().map(|set| available(set)).sum();
    let ready = |status: &hansa_api::k8s_openapi::api::apps::v1::ReplicaSetStatus| {
        status.ready_replicas.unwrap_or(0)
    };
    let going = |status: &hansa_api::k8s_openapi::api::apps::v1::ReplicaSetStatus| {
        status.terminating_replicas.unwrap_or(0)
    };
    let mut new = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: Some(total),
        updated_replicas: Some(view.new.map_or(0, |set| actual(set))),
        ready_replicas: Some(view.all().filter_map(|set| set.status.as_ref()).map(ready).sum()),
        available_replicas: Some(serving),
        unavailable_replicas: Some((total - serving).max(0)),
        terminating_replicas: Some(
            view.all().filter_map(|set| set.status.as_ref()).map(going).sum(),
        ),
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
    };
    let conditions = new.conditions.get_or_insert_default();
    set(conditions, availability(&spec, serving), now);
    if let Some(progress) = progress(deployment, &spec, view, actions, (&old, total, serving), now)
    {
        let moved = progress.2 == "ReplicaSetUpdated";
        set(conditions, (PROGRESSING, progress.1, progress.2, progress.3), now);
        if moved {
            touch(conditions, now);
        }
    }
    conditions.retain(|condition| condition.type_ != REPLICA_FAILURE);
    conditions.extend(replica_failure(view));
    new
}

/// What keeps a ReplicaSet from having its pods, the new one's first.
fn replica_failure(view: &View<'_>) -> Option<DeploymentCondition> {
    let statuses = view.all().filter_map(|set| set.status.as_ref());
    let mut conditions = statuses.flat_map(|status| status.conditions.iter().flatten());
    let found = conditions.find(|condition| condition.type_ == REPLICA_FAILURE)?;
    Some(DeploymentCondition {
        type_: REPLICA_FAILURE.into(),
        status: found.status.clone(),
        reason: found.reason.clone(),
        message: found.message.clone(),
        last_update_time: found.last_transition_time.clone(),
        last_transition_time: found.last_transition_time.clone(),
    })
}

type Verdict = (&'static str, bool, &'static str, String);

fn availability(spec: &DeploymentSpec, serving: i32) -> Verdict {
    let bounds = Bounds::of(spec);
    if serving >= bounds.wanted - bounds.unavailable {
        let text = "Deployment has minimum availability.";
        return (AVAILABLE, true, "MinimumReplicasAvailable", text.into());
    }
    let text = "Deployment does not have minimum availability.";
    (AVAILABLE, false, "MinimumReplicasUnavailable", text.into())
}

/// The Progressing condition, or `None` to leave it as it is.
fn progress(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    view: &View<'_>,
    actions: &[Action],
    (old, total, serving): (&DeploymentStatus, i32, i32),
    now: Timestamp,
) -> Option<Verdict> {
    if spec.paused == Some(true) {
        let reason = "DeploymentPaused";
        return Some((PROGRESSING, true, reason, "Deployment is paused".into()));
    }
    let current = find(old.conditions.as_deref().unwrap_or_default(), PROGRESSING);
    if let Some(Action::Create(set)) = actions.iter().find(|a| matches!(a, Action::Create(_))) {
        let text = format!("Created new replica set \"{}\"", name_of(&set.metadata));
        return Some((PROGRESSING, true, "NewReplicaSetCreated", text));
    }
    let new = view.new?;
    let set = name_of(&new.metadata);
    if is_complete(deployment, view) {
        let text = format!("ReplicaSet \"{set}\" has successfully progressed.");
        return Some((PROGRESSING, true, DONE, text));
    }
    let updated = actual(new);
    let moved = updated > old.updated_replicas.unwrap_or(0)
        || total - updated < old.replicas.unwrap_or(0) - old.updated_replicas.unwrap_or(0)
        || serving > old.available_replicas.unwrap_or(0);
    let resumed = current.is_none_or(|now| now.reason.as_deref() == Some("DeploymentPaused"));
    if moved || resumed {
        let text = format!("ReplicaSet \"{set}\" is progressing.");
        return Some((PROGRESSING, true, "ReplicaSetUpdated", text));
    }
    let out_of_time = remaining(spec, current, now).is_some_and(|left| left.is_zero());
    out_of_time.then(|| {
        let text = format!("ReplicaSet \"{set}\" has timed out progressing.");
        (PROGRESSING, false, TIMED_OUT, text)
    })
}

/// Time left until the rollout counts as stuck; `None` where no clock runs.
fn remaining(
    spec: &DeploymentSpec,
    progressing: Option<&DeploymentCondition>,
    now: Timestamp,
) -> Option<Duration> {
    let deadline = u64::try_from(spec.progress_deadline_seconds.unwrap_or(600)).ok()?;
    let condition = progressing?;
    if matches!(condition.reason.as_deref(), Some(DONE | TIMED_OUT | "DeploymentPaused")) {
        return None;
    }
    let since = condition.last_update_time.as_ref()?.0;
    let spent = u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0);
    Some(Duration::from_secs(deadline.saturating_sub(spent)))
}

/// When to look again because of the progress deadline.
pub(super) fn until_deadline(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let left = remaining(deployment.spec.as_ref()?, find(conditions, PROGRESSING), now)?;
    (!left.is_zero()).then_some(left + Duration::from_secs(1))
}

fn find<'a>(all: &'a [DeploymentCondition], kind: &str) -> Option<&'a DeploymentCondition> {
    all.iter().find(|condition| condition.type_ == kind)
}

/// Sets a condition; its times change only with its status or reason.
fn set(all: &mut Vec<DeploymentCondition>, verdict: Verdict, now: Timestamp) {
    let (kind, holds, reason, message) = verdict;
    let status = if holds { "True" } else { "False" };
    let current = all.iter().position(|condition| condition.type_ == kind);
    let mut transition = Some(Time(now));
    if let Some(index) = current {
        let old = &all[index];
        if old.status == status && old.reason.as_deref() == Some(reason) {
            return;
        }
        if old.status == status {
            transition = old.last_transition_time.clone();
        }
        all.remove(index);
    }
    all.push(DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: transition,
    });
}

/// Notes progress: the deadline runs from here.
fn touch(all: &mut [DeploymentCondition], now: Timestamp) {
    if let Some(condition) = all.iter_mut().find(|condition| condition.type_ == PROGRESSING) {
        condition.last_update_time = Some(Time(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    #[test]
    fn a_stuck_rollout_is_told_after_its_deadline() {
        let mut deployment = Deployment::default();
        deployment.spec.get_or_insert_default().progress_deadline_seconds = Some(60);
        let mut set = hansa_api::k8s_openapi::api::apps::v1::ReplicaSet::default();
        set.metadata.name = Some("web-1".into());
        set.spec.get_or_insert_default().template = Some(Default::default());
        let sets = [std::sync::Arc::new(set)];
        let view = View::new(&deployment, &sets);
        deployment.status = Some(status(&deployment, &view, &[], at(0)));
        let early = status(&deployment, &view, &[], at(59));
        let late = status(&deployment, &view, &[], at(61));
        let reason = |status: &DeploymentStatus| {
            find(status.conditions.as_deref().unwrap(), PROGRESSING).unwrap().reason.clone()
        };
        assert_eq!(reason(&early).as_deref(), Some("ReplicaSetUpdated"));
        assert_eq!(reason(&late).as_deref(), Some(TIMED_OUT));
        assert!(until_deadline(&deployment, &early, at(59)).is_some());
    }

    #[test]
    fn a_replica_sets_failure_is_told_for_as_long_as_it_lasts() {
        let mut deployment = Deployment::default();
        deployment.spec.get_or_insert_default();
        let mut set = hansa_api::k8s_openapi::api::apps::v1::ReplicaSet::default();
        set.spec.get_or_insert_default().template = Some(Default::default());
        let failing = hansa_api::k8s_openapi::api::apps::v1::ReplicaSetCondition {
            type_: REPLICA_FAILURE.into(),
            status: "True".into(),
            reason: Some("FailedCreate".into()),
            message: Some("exceeded quota".into()),
            last_transition_time: Some(Time(at(7))),
        };
        set.status.get_or_insert_default().conditions = Some(vec![failing]);
        let mut sets = [std::sync::Arc::new(set)];
        let told = status(&deployment, &View::new(&deployment, &sets), &[], at(9));
        let shown = find(told.conditions.as_deref().unwrap(), REPLICA_FAILURE).unwrap().clone();
        assert_eq!(shown.message.as_deref(), Some("exceeded quota"));
        assert_eq!(shown.last_transition_time, Some(Time(at(7))));
        deployment.status = Some(told);
        std::sync::Arc::make_mut(&mut sets[0]).status = None;
        let mended = status(&deployment, &View::new(&deployment, &sets), &[], at(9));
        assert_eq!(find(mended.conditions.as_deref().unwrap(), REPLICA_FAILURE), None);
    }

    #[test]
    fn a_condition_keeps_its_transition_time_while_its_status_stays() {
        let mut all = Vec::new();
        set(&mut all, (PROGRESSING, true, "NewReplicaSetCreated", String::new()), at(1));
        set(&mut all, (PROGRESSING, true, DONE, String::new()), at(5));
        assert_eq!(all[0].last_transition_time, Some(Time(at(1))));
        assert_eq!(all[0].last_update_time, Some(Time(at(5))));
    }
}
