//! The scheduler without its I/O: events in, one decision at a time, actions out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use hansa_api::k8s_openapi::api::core::v1::{Node, Pod};
use hansa_api::k8s_openapi::api::policy::v1::PodDisruptionBudget;
use hansa_client::Change;
use hansa_extension::scheduler::{Decision, Ix, PluginSet, PodView, SchedulerPolicy, Want};
use hansa_extension::{ActiveSet, Identity, PluginError, bitmap};

use crate::cache::Cache;
use crate::diagnosis::Diagnosis;
use crate::load::{Demand, Load};
use crate::metrics::Metrics;
use crate::nominations::Nominations;
use crate::pick::Dice;
use crate::preemption::{self, Candidate, Preemptor, Victim};
use crate::queue::{Attempt, PodUid, Queue, Wake};
use crate::record::{DecisionLog, Record};
use crate::view::{self, Selector};
use crate::{ASSUME_TTL, MIN_CANDIDATES};

/// Facts about the cluster that are looked up when needed and not kept in the cache.
pub trait Facts {
    /// The selectors of the Services and the controller that the pod belongs to, merged.
    fn owner_selector(&self, pod: &Pod) -> Selector;
    /// The cluster's disruption budgets.
    fn budgets(&self) -> Vec<Arc<PodDisruptionBudget>>;
}

/// What is to be done about a pod after a decision.
#[derive(Clone, Debug)]
pub enum Action {
    /// It was assumed on a node: tell the API server.
    Bind {
        /// The pod's UID.
        uid: PodUid,
        /// The pod.
        pod: Arc<Pod>,
        /// The node's name.
        node: Arc<str>,
    },
    /// It has no node: tell the user.
    Fail(Failure),
}

/// A pod that got no node.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The pod's UID.
    pub uid: PodUid,
    /// The pod.
    pub pod: Arc<Pod>,
    /// `Unschedulable` or `SchedulerError`.
    pub reason: &'static str,
    /// The text of the event and the condition.
    pub message: String,
    /// What becomes of `status.nominatedNodeName`.
    pub nomination: Nominate,
    /// Who must go for it.
    pub victims: Vec<Victim>,
}

/// What becomes of `status.nominatedNodeName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nominate {
    /// It stays.
    Keep,
    /// It is set.
    Set(Arc<str>),
    /// It is emptied.
    Clear,
}

/// Queue, cache and deciders; linear: one attempt at a time.
pub struct Scheduler {
    name: String,
    queue: Queue,
    cache: Cache,
    nominations: Nominations,
    policies: PluginSet,
    dice: Dice,
    log: DecisionLog,
    metrics: Arc<Metrics>,
    deciders: Arc<[Identity]>,
    /// Plugin name to the identity that decided last, to notice swaps.
    seen: HashMap<String, Identity>,
}

enum Choice {
    Node { node: Ix, decision: Decision },
    None(Box<(Diagnosis, Option<Candidate>, Nominate)>),
}

impl Scheduler {
    /// A scheduler for pods whose `schedulerName` is `name`.
    pub fn new(
        name: &str,
        policies: Arc<ActiveSet<dyn SchedulerPolicy>>,
        dice: Dice,
        log: DecisionLog,
        metrics: Arc<Metrics>,
    ) -> Scheduler {
        Scheduler {
            name: name.into(),
            queue: Queue::default(),
            cache: Cache::default(),
            nominations: Nominations::default(),
            policies: PluginSet::new(policies),
            dice,
            log,
            metrics,
            deciders: Arc::from([]),
            seen: HashMap::new(),
        }
    }

    /// A node came, changed or went.
    pub fn node_changed(&mut self, change: &Change<Node>, now: Instant) {
        let wake = match change {
            Change::Applied { new, .. } => self.cache.upsert_node(self.policies.mirror(), new),
            Change::Deleted(last) => {
                let name = last.metadata.name.as_deref().unwrap_or_default();
                self.cache.remove_node(self.policies.mirror(), name);
                Wake::NODE_UPDATE
            }
        };
        self.wake(wake, now);
    }

    /// A pod came, changed or went.
    pub fn pod_changed(&mut self, change: &Change<Pod>, now: Instant) {
        let pod = change.object();
        let Some(uid) = pod.metadata.uid.as_deref().map(PodUid::from) else { return };
        if matches!(change, Change::Deleted(_)) || finished(pod) {
            self.pod_gone(&uid, now);
        } else if let Some(node) = node_of(pod) {
            self.pod_placed(&uid, pod, node, now);
        } else {
            let before = match change {
                Change::Applied { old: Some(old), .. } => nominated(old),
                _ => None,
            };
            self.pod_waits(&uid, pod, before, now);
        }
    }

    fn pod_gone(&mut self, uid: &PodUid, now: Instant) {
        self.queue.remove(uid);
        let held = self.cache.remove_pod(self.policies.mirror(), uid);
        if self.nominations.withdraw(uid) || held {
            self.wake(Wake::POD_DELETE, now);
        }
    }

    fn pod_placed(&mut self, uid: &PodUid, pod: &Arc<Pod>, node: &str, now: Instant) {
        self.queue.remove(uid);
        self.nominations.withdraw(uid);
        let known = self.cache.has_pod(uid);
        self.cache.put_pod(self.policies.mirror(), uid, pod, node);
        let wake = match pod.metadata.deletion_timestamp {
            Some(_) => Wake::POD_DELETE,
            None if known => Wake::NONE,
            None => Wake::POD_ADD,
        };
        self.wake(wake, now);
    }

    fn pod_waits(&mut self, uid: &PodUid, pod: &Arc<Pod>, before: Option<&str>, now: Instant) {
        let wanted = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        if wanted.unwrap_or("default-scheduler") != self.name {
            return;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            self.queue.remove(uid);
            self.nominations.withdraw(uid);
        } else if self.queue.contains(uid) || !self.cache.has_pod(uid) {
            self.follow_nomination(uid, pod, before);
            self.queue.upsert(uid.clone(), pod.clone(), now);
        }
    }

    /// Promises are read from the pods' status when it is first seen, as after a restart, or
    /// changes.
    fn follow_nomination(&mut self, uid: &PodUid, pod: &Pod, before: Option<&str>) {
        match nominated(pod) {
            now if now == before => {}
            None => _ = self.nominations.withdraw(uid),
            Some(node) if self.nominations.node_of(uid).is_none() => {
                let demand = Demand::of(self.policies.mirror(), pod);
                let priority = preemption::priority(pod);
                self.nominations.promise(uid.clone(), node.into(), priority, demand);
            }
            Some(_) => {}
        }
    }

    /// Something changed that may help any waiting pod.
    pub fn wake(&mut self, event: Wake, now: Instant) {
        if event != Wake::NONE {
            self.queue.wake(event, now);
        }
    }

    /// Takes back what was assumed and never confirmed.
    pub fn expire(&mut self, now: Instant) {
        if self.cache.expire(self.policies.mirror(), now) {
            self.wake(Wake::POD_DELETE, now);
        }
        self.metrics.pending(self.queue.depth());
    }

    /// When to look at the queue again, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.next_deadline()
    }

    /// The API server took the binding.
    pub fn bound(&mut self, uid: &str, now: Instant) {
        self.cache.finish_binding(uid, now + ASSUME_TTL);
        self.queue.remove(uid);
        self.nominations.withdraw(uid);
    }

    /// The API server refused the binding, or did not answer.
    pub fn bind_failed(&mut self, uid: &str, now: Instant) {
        Metrics::count(&self.metrics.errors);
        if self.cache.forget(self.policies.mirror(), uid) {
            self.queue.errored(uid, now);
            self.wake(Wake::POD_DELETE, now);
        }
    }

    /// Tries the first pod of the queue: snapshot, filter, score, pick, assume.
    pub fn schedule_one(&mut self, facts: &dyn Facts, now: Instant) -> Option<Action> {
        let attempt = self.queue.pop(now)?;
        let owners = facts.owner_selector(&attempt.pod);
        let mirror = self.policies.mirror();
        let view = view::pod_view(mirror, &attempt.pod, attempt.attempt - 1, &owners);
        let action = match self.choose(&view, &attempt, facts) {
            Ok(Choice::Node { node, decision }) => self.assume(attempt, node, &decision),
            Ok(Choice::None(why)) => Some(self.give_up(attempt, *why, now)),
            Err(error) => Some(self.fail(attempt, &error, now)),
        };
        self.metrics.attempt(now.elapsed());
        action
    }

    fn choose(
        &mut self,
        view: &PodView,
        attempt: &Attempt,
        facts: &dyn Facts,
    ) -> Result<Choice, PluginError> {
        let want = Want { filter: true, score: true, reasons: false };
        let mut decision = self.policies.decide(view, want)?;
        let promised = self.clear_promised(view, attempt, &mut decision)?;
        let nominated = self.nominations.node_of(&attempt.uid).and_then(|n| self.cache.ix(n));
        if let Some(node) = nominated.filter(|node| bitmap::get(&decision.feasible, *node)) {
            return Ok(Choice::Node { node, decision });
        }
        if let Some((node, _)) = self.dice.pick(&decision.feasible, &decision.totals) {
            return Ok(Choice::Node { node, decision });
        }
        let decision = self.policies.decide(view, Want::REASONS)?;
        let mut diagnosis = Diagnosis::of(&decision, self.cache.node_count(), &promised);
        let (candidate, nominate) = self.preempt(view, attempt, &mut diagnosis, facts)?;
        self.note_deciders(&decision);
        Ok(Choice::None(Box::new((diagnosis, candidate, nominate))))
    }

    /// Removes nodes that have no room besides the pods of the same or higher priority to which
    /// they were promised, and returns them.
    fn clear_promised(
        &mut self,
        view: &PodView,
        attempt: &Attempt,
        decision: &mut Decision,
    ) -> Result<Vec<Ix>, PluginError> {
        let mut cleared = Vec::new();
        for name in self.nominations.nodes(&attempt.uid, view.priority) {
            let feasible = |ix: &Ix| bitmap::get(&decision.feasible, *ix);
            let Some(ix) = self.cache.ix(&name).filter(feasible) else { continue };
            let Some(info) = self.cache.node(ix) else { continue };
            let mut load: Load = info.load().clone();
            let promised = self.nominations.on(&name, &attempt.uid, view.priority);
            promised.into_iter().for_each(|demand| load.add(demand));
            let change = info.load().change_to(&load, info.allocatable());
            if !self.policies.what_if(view, ix, &change)? {
                bitmap::clear(&mut decision.feasible, ix);
                cleared.push(ix);
            }
        }
        Ok(cleared)
    }

    fn preempt(
        &mut self,
        view: &PodView,
        attempt: &Attempt,
        diagnosis: &mut Diagnosis,
        facts: &dyn Facts,
    ) -> Result<(Option<Candidate>, Nominate), PluginError> {
        if diagnosis.nodes == 0 {
            return Ok((None, Nominate::Keep));
        }
        let waiting = self.victims_still_leave(attempt, view.priority);
        if let Some(why) = preemption::ineligible(&attempt.pod, waiting) {
            diagnosis.preemption = Some(why.into());
            return Ok((None, Nominate::Keep));
        }
        Metrics::count(&self.metrics.preemptions);
        let budgets = facts.budgets();
        let preemptor = Preemptor { priority: view.priority, budgets: &budgets };
        let best = preemption::best(self.candidates(view, attempt, diagnosis, &preemptor)?);
        if best.is_none() {
            let tried = diagnosis.preemptible.len();
            diagnosis.preemption = Some(preemption::no_victims(diagnosis.nodes, tried));
            let withdrawn = self.nominations.withdraw(&attempt.uid);
            return Ok((None, if withdrawn { Nominate::Clear } else { Nominate::Keep }));
        }
        let node = best.as_ref().and_then(|c| self.cache.name(c.node)).cloned();
        Ok((best, node.map_or(Nominate::Keep, Nominate::Set)))
    }

    /// Candidates among the nodes that evicting could help, from a random one on; enough of them.
    fn candidates(
        &mut self,
        view: &PodView,
        attempt: &Attempt,
        diagnosis: &Diagnosis,
        preemptor: &Preemptor,
    ) -> Result<Vec<Candidate>, PluginError> {
        let nodes = &diagnosis.preemptible;
        let first = self.dice.below(nodes.len() as u64) as usize;
        let enough = MIN_CANDIDATES.max(diagnosis.nodes / 10);
        let mut found = Vec::new();
        for ix in nodes[first..].iter().chain(&nodes[..first]) {
            let (Some(info), Some(name)) = (self.cache.node(*ix), self.cache.name(*ix)) else {
                continue;
            };
            let promised = self.nominations.on(name, &attempt.uid, view.priority);
            let policies = &mut self.policies;
            let mut fits = |ix: Ix, change: &_| policies.what_if(view, ix, change);
            found.extend(preemptor.candidate(info, &promised, &mut fits)?);
            if found.len() >= enough {
                break;
            }
        }
        Ok(found)
    }

    fn victims_still_leave(&self, attempt: &Attempt, priority: i32) -> bool {
        let node = self.nominations.node_of(&attempt.uid).and_then(|name| self.cache.ix(name));
        let pods = node.and_then(|ix| self.cache.node(ix)).into_iter().flat_map(|n| n.pods());
        pods.into_iter().any(|(_, placed)| {
            placed.pod.metadata.deletion_timestamp.is_some()
                && preemption::priority(&placed.pod) < priority
        })
    }

    fn assume(&mut self, attempt: Attempt, node: Ix, decision: &Decision) -> Option<Action> {
        let name = self.cache.name(node)?.clone();
        self.note_deciders(decision);
        let scores = decision.scores.iter().map(|s| {
            (s.by.name.clone(), s.weight, s.scores.get(node as usize).copied().unwrap_or(0))
        });
        let scores = scores.collect();
        self.record(&attempt.pod, Some(&name), scores, String::new());
        self.cache.assume(self.policies.mirror(), &attempt.uid, &attempt.pod, &name);
        Metrics::count(&self.metrics.scheduled);
        Some(Action::Bind { uid: attempt.uid, pod: attempt.pod, node: name })
    }

    fn give_up(
        &mut self,
        attempt: Attempt,
        (diagnosis, candidate, nomination): (Diagnosis, Option<Candidate>, Nominate),
        now: Instant,
    ) -> Action {
        Metrics::count(&self.metrics.unschedulable);
        if let Nominate::Set(node) = &nomination {
            let demand = Demand::of(self.policies.mirror(), &attempt.pod);
            let priority = preemption::priority(&attempt.pod);
            self.nominations.promise(attempt.uid.clone(), node.clone(), priority, demand);
        }
        let victims = candidate.map(|c| c.victims).unwrap_or_default();
        self.metrics.victims.fetch_add(victims.len() as u64, std::sync::atomic::Ordering::Relaxed);
        let message = diagnosis.message();
        self.record(&attempt.pod, None, Vec::new(), message.clone());
        self.queue.unschedulable(&attempt.uid, wants(&attempt.pod), now);
        let Attempt { uid, pod, .. } = attempt;
        Action::Fail(Failure { uid, pod, reason: "Unschedulable", message, nomination, victims })
    }

    fn fail(&mut self, attempt: Attempt, error: &PluginError, now: Instant) -> Action {
        Metrics::count(&self.metrics.errors);
        self.queue.errored(&attempt.uid, now);
        Action::Fail(Failure {
            uid: attempt.uid,
            pod: attempt.pod,
            reason: "SchedulerError",
            message: format!("failed to {error}"),
            nomination: Nominate::Keep,
            victims: Vec::new(),
        })
    }

    /// Keeps who decided, and logs who was not the one to decide before.
    fn note_deciders(&mut self, decision: &Decision) {
        if *self.deciders == *decision.decided_by {
            return;
        }
        for decider in &decision.decided_by {
            let before = self.seen.insert(decider.name.clone(), decider.clone());
            if before.as_ref() != Some(decider) {
                tracing::info!(plugin = %decider.name, digest = %decider.digest, "decides now");
            }
        }
        self.deciders = decision.decided_by.clone().into();
    }

    fn record(
        &self,
        pod: &Pod,
        node: Option<&Arc<str>>,
        scores: Vec<(String, u32, u8)>,
        message: String,
    ) {
        self.log.push(Record {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            node: node.map(|name| name.to_string()),
            scores,
            message,
            deciders: self.deciders.clone(),
        });
    }
}

/// The events that may help a pod that found no node.
fn wants(pod: &Pod) -> Wake {
    let constraints = pod.spec.as_ref().and_then(|s| s.topology_spread_constraints.as_ref());
    let common = Wake::NODE_ADD.and(Wake::NODE_UPDATE).and(Wake::POD_DELETE).and(Wake::POLICIES);
    if constraints.is_some_and(|c| !c.is_empty()) { common.and(Wake::POD_ADD) } else { common }
}

fn node_of(pod: &Pod) -> Option<&str> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.filter(|node| !node.is_empty())
}

fn nominated(pod: &Pod) -> Option<&str> {
    let node = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
    node.filter(|node| !node.is_empty())
}

fn finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
