//! Scheduler: bindings → clusters and replicas, with the reasons stored beside.
//!
//! A binding is decided again only when something that a decision depends on has changed: the
//! digest
//! of all inputs is part of the stored decision. When nothing fits, what was decided before stays.

mod advisor;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use hansa_client::{Change, ObjectKey, Requeue, Workqueue, run_workers};
use hansa_federation_api::decision::{DecidedBy, Decision};
use hansa_federation_api::health;
use hansa_federation_api::kinds::{Cluster, ResourceBindingStatus, TargetCluster};
use hansa_federation_api::names;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub use advisor::Policies;
use advisor::PolicyAdvisor;
use plan::{Plan, inputs, plan};

use crate::diff::Part;
use crate::error::Result;
use crate::hub::{Binding, Hub};
use crate::wiring::follow;

/// How often a policy swap is looked for.
const SWAP_TICK: Duration = Duration::from_millis(20);
/// How soon what does not fit is tried again, for room is no reason to decide again otherwise.
const RETRY: Duration = Duration::from_secs(15);

struct Scheduler {
    hub: Arc<Hub>,
    advisor: Mutex<PolicyAdvisor>,
    /// Which load of which policy decided each binding since this process began.
    decided_by: Mutex<HashMap<ObjectKey, DecidedBy>>,
}

/// Runs until `stop`.
pub async fn run(hub: Arc<Hub>, policies: Policies, workers: usize, stop: CancellationToken) {
    let queue = Workqueue::new();
    follow_inputs(&hub, &queue, &stop);
    let scheduler = Arc::new(Scheduler {
        hub,
        advisor: Mutex::new(PolicyAdvisor::new(policies)),
        decided_by: Mutex::default(),
    });
    let swaps = tokio::spawn(follow_swaps(scheduler.clone(), queue.clone()));
    run_workers(queue, workers, stop, |key| scheduler.reconcile(key)).await;
    swaps.abort();
}

fn follow_inputs(hub: &Arc<Hub>, queue: &Workqueue<ObjectKey>, stop: &CancellationToken) {
    follow(&hub.bindings, queue, stop, |change| vec![change.key()]);
    follow(&hub.cluster_bindings, queue, stop, |change| vec![change.key()]);
    let all = hub.clone();
    follow(&hub.clusters, queue, stop, move |change| match change {
        Change::Applied { old: Some(old), new } if same_facts(old, new) => Vec::new(),
        _ => all.binding_keys(),
    });
}

/// Whether a member changed in nothing that decides where things go.
fn same_facts(old: &Cluster, new: &Cluster) -> bool {
    old.spec == new.spec
        && old.metadata.labels == new.metadata.labels
        && old.is_leaving() == new.is_leaving()
        && old.is_ready() == new.is_ready()
        && old.status.api_enablements == new.status.api_enablements
}

/// Looks at every binding again whenever another policy decides.
async fn follow_swaps(scheduler: Arc<Scheduler>, queue: Workqueue<ObjectKey>) {
    let mut last = scheduler.advisor.lock().identity();
    loop {
        tokio::time::sleep(SWAP_TICK).await;
        let now = scheduler.advisor.lock().identity();
        if now != last {
            tracing::info!(policy = %now.name, digest = %now.digest, "another policy decides");
            scheduler.hub.binding_keys().into_iter().for_each(|key| queue.add(key));
            last = now;
        }
    }
}

impl Scheduler {
    async fn reconcile(&self, key: ObjectKey) -> Result<Requeue> {
        let Some(binding) = self.hub.binding(&key).filter(is_ours) else {
            self.decided_by.lock().remove(&key);
            return Ok(Requeue::Done);
        };
        let before = stored(&binding);
        let Some(plan) = self.decide(&binding, before.as_ref()) else {
            return self.settle(&binding, before.as_ref()).await;
        };
        let fits = plan.targets.is_some();
        self.store(&binding, plan).await?;
        Ok(if fits { Requeue::Done } else { Requeue::After(RETRY) })
    }

    /// Decides, unless nothing that matters has changed.
    fn decide(&self, binding: &Binding, before: Option<&Decision>) -> Option<Plan> {
        let clusters = self.hub.clusters.list();
        let clusters: Vec<&Cluster> = clusters.iter().map(|c| &**c).collect();
        let mut advisor = self.advisor.lock();
        let by = advisor.identity();
        let inputs = inputs(&binding.spec, &clusters, &by);
        let same_load = self.decided_by.lock().get(&binding.key).is_none_or(|b| *b == by);
        let settled = |d: &Decision| d.inputs == inputs && d.outcome == "Success";
        if same_load && before.is_some_and(settled) {
            self.decided_by.lock().insert(binding.key.clone(), by);
            return None;
        }
        advisor.observe(&clusters);
        let observed = &binding.status.scheduler_observing_affinity_name;
        let fresh = triggered(binding, before);
        let mut plan =
            plan(binding.uid(), &binding.spec, observed, &clusters, fresh, &mut *advisor);
        plan.decision.inputs = inputs;
        self.decided_by.lock().insert(binding.key.clone(), by);
        Some(plan)
    }

    async fn store(&self, binding: &Binding, plan: Plan) -> Result<()> {
        let now = health::whole_seconds(Timestamp::now());
        let Plan { targets, mut decision } = plan;
        decision.moved_from = moved_from(binding, targets.as_deref());
        if let Some(before) = stored(binding) {
            decision.at = before.at;
            if decision == before {
                return Ok(());
            }
        }
        decision.at = Some(now);
        let mut next = binding.clone();
        let moved = targets.as_ref().is_some_and(|t| *t != binding.spec.clusters);
        if let Some(targets) = targets {
            next.spec.clusters = targets;
        }
        let annotations = next.metadata.annotations.get_or_insert_default();
        annotations.insert(names::DECISION.into(), serde_json::to_string(&decision)?);
        annotations.insert(
            names::APPLIED_PLACEMENT.into(),
            serde_json::to_string(&binding.spec.placement)?,
        );
        let written = self.hub.write_binding(binding, &next, Part::Main).await?;
        let mut reported = written.clone();
        report(&mut reported.status, &decision, written.metadata.generation, moved, now);
        self.hub.write_binding(&written, &reported, Part::Status).await?;
        tracing::info!(
            binding = %binding.key, outcome = %decision.outcome,
            policy = decision.policy.as_ref().map_or("", |p| &p.digest), "scheduled"
        );
        Ok(())
    }

    /// Makes the status say what the stored decision says, for this generation: one that brought
    /// nothing to decide, or one whose status could not be written at once.
    async fn settle(&self, binding: &Binding, decision: Option<&Decision>) -> Result<Requeue> {
        let Some(decision) = decision else { return Ok(Requeue::Done) };
        let mut next = binding.clone();
        let at = decision.at.unwrap_or_else(Timestamp::now);
        report(&mut next.status, decision, binding.metadata.generation, false, at);
        self.hub.write_binding(binding, &next, Part::Status).await?;
        Ok(Requeue::Done)
    }
}

/// Where replicas are moved away from: the targets before, if their sum stays. The move goes on
/// until
/// the next one, whatever else is decided in between.
fn moved_from(binding: &Binding, targets: Option<&[TargetCluster]>) -> Vec<TargetCluster> {
    let before = &binding.spec.clusters;
    let sum = |of: &[TargetCluster]| of.iter().map(|t| i64::from(t.replicas)).sum::<i64>();
    match targets {
        Some(now) if now != before && sum(now) == sum(before) && sum(now) > 0 => before.clone(),
        Some(now) if now != before => Vec::new(),
        _ => stored(binding).map(|d| d.moved_from).unwrap_or_default(),
    }
}

fn is_ours(binding: &Binding) -> bool {
    let scheduler = binding.spec.scheduler_name.as_str();
    let suspended = binding.spec.suspension.as_ref().and_then(|s| s.scheduling) == Some(true);
    !binding.is_deleting()
        && !suspended
        && binding.spec.placement.is_some()
        && ["", "default-scheduler"].contains(&scheduler)
}

/// The decision that is stored with a binding.
pub fn stored(binding: &Binding) -> Option<Decision> {
    serde_json::from_str(binding.annotation(names::DECISION)).ok()
}

/// Whether someone asked to forget what is placed, after the last decision.
fn triggered(binding: &Binding, before: Option<&Decision>) -> bool {
    let asked = binding.spec.reschedule_triggered_at.as_ref().map(|t| t.0);
    let decided = before.and_then(|d| d.at);
    asked.is_some_and(|asked| decided.is_none_or(|decided| asked > decided))
}

fn report(
    status: &mut ResourceBindingStatus,
    decision: &Decision,
    generation: Option<i64>,
    moved: bool,
    now: Timestamp,
) {
    status.scheduler_observed_generation = generation;
    let fits = decision.outcome == "Success";
    if fits {
        status.scheduler_observing_affinity_name = decision.affinity.clone();
    }
    if moved {
        status.last_scheduled_time = Some(Time(now));
    }
    let message =
        if fits { "Binding has been scheduled successfully." } else { decision.message.as_str() };
    let before = status.conditions.iter().position(|c| c.type_ == "Scheduled");
    let before = before.map(|at| status.conditions.remove(at));
    let verdict = if fits { "True" } else { "False" };
    status.conditions.insert(
        0,
        health::condition(before.as_ref(), "Scheduled", verdict, &decision.outcome, message, now),
    );
}
