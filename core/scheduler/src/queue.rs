//! The scheduling queue: active, back-off, unschedulable, gated and in-flight pods.
//!
//! A state machine with neither clock nor I/O: the caller says what time it is.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansa_api::k8s_openapi::api::core::v1::Pod;

/// The identity of a pod in the scheduler: its UID.
pub type PodUid = Arc<str>;

/// Back-off after the first failed attempt; it doubles with every further one.
pub const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// The longest back-off.
pub const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// A pod without any event that could help it is tried again after this long.
pub const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(300);

/// Kinds of cluster events that may make a pod schedulable; a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake(u8);

impl Wake {
    /// Nothing.
    pub const NONE: Wake = Wake(0);
    /// A node came.
    pub const NODE_ADD: Wake = Wake(1);
    /// A node's allocatable, labels, taints or schedulability changed.
    pub const NODE_UPDATE: Wake = Wake(1 << 1);
    /// A pod left a node, or began to.
    pub const POD_DELETE: Wake = Wake(1 << 2);
    /// A pod arrived on a node, or a pod's labels changed there: only spreading cares.
    pub const POD_ADD: Wake = Wake(1 << 3);
    /// The deciders or facts that every pod depends on changed.
    pub const POLICIES: Wake = Wake(1 << 4);
    /// Everything.
    pub const ALL: Wake = Wake(0x1f);

    /// Whether the two sets share a member.
    pub fn intersects(self, other: Wake) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub fn and(self, other: Wake) -> Wake {
        Wake(self.0 | other.0)
    }
}

/// A pod taken from the queue, to be scheduled.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The pod's UID.
    pub uid: PodUid,
    /// The pod as last seen.
    pub pod: Arc<Pod>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// Where a pod is. Arrows: new → Active or Gated; Gated → Active when its gates are gone;
/// Active → InFlight by `pop`; InFlight → gone when bound, → Unschedulable or Backoff when not;
/// Unschedulable → Backoff or Active by an event or by age; Backoff → Active by time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Active,
    Backoff { until: Instant },
    Unschedulable { since: Instant, wants: Wake },
    Gated,
    InFlight { seen: Wake },
}

struct Entry {
    pod: Arc<Pod>,
    priority: i32,
    attempts: u32,
    last_failure: Option<Instant>,
    /// The order among equals: when it was last put in the queue.
    sequence: u64,
    place: Place,
}

impl Entry {
    fn active_key(&self, uid: &PodUid) -> ActiveKey {
        ActiveKey {
            rank: i64::from(i32::MAX) - i64::from(self.priority),
            sequence: self.sequence,
            uid: uid.clone(),
        }
    }

    /// When this pod's back-off ends: 1 s, 2 s, 4 s … 10 s after its last failure.
    fn backoff_end(&self, now: Instant) -> Instant {
        let doublings = self.attempts.saturating_sub(1).min(10);
        let wait = (INITIAL_BACKOFF * 2u32.pow(doublings)).min(MAX_BACKOFF);
        self.last_failure.map_or(now, |failed| failed + wait)
    }
}

/// Higher priority first, then who came first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ActiveKey {
    rank: i64,
    sequence: u64,
    uid: PodUid,
}

/// How many pods wait where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready to be tried.
    pub active: usize,
    /// Waiting for their back-off to end.
    pub backoff: usize,
    /// Waiting for the cluster to change.
    pub unschedulable: usize,
    /// Waiting for their scheduling gates to be removed.
    pub gated: usize,
}

/// The queue of pods that want a node.
#[derive(Default)]
pub struct Queue {
    pods: HashMap<PodUid, Entry>,
    active: BTreeSet<ActiveKey>,
    backoff: BTreeSet<(Instant, PodUid)>,
    /// Only an index of the pods whose place is Unschedulable.
    parked: BTreeSet<(Instant, PodUid)>,
    in_flight: HashSet<PodUid>,
    sequence: u64,
}

impl Queue {
    /// Takes in a new pod, or the new state of one it knows.
    pub fn upsert(&mut self, uid: PodUid, pod: Arc<Pod>, now: Instant) {
        if self.pods.contains_key(&uid) {
            self.update(&uid, pod, now);
            return;
        }
        self.sequence += 1;
        let place = if gated(&pod) { Place::Gated } else { Place::Active };
        let entry = Entry {
            priority: priority(&pod),
            pod,
            attempts: 0,
            last_failure: None,
            sequence: self.sequence,
            place: Place::Gated,
        };
        self.pods.insert(uid.clone(), entry);
        self.place(&uid, place);
    }

    fn update(&mut self, uid: &PodUid, pod: Arc<Pod>, now: Instant) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let old = std::mem::replace(&mut entry.pod, pod.clone());
        match entry.place {
            Place::Gated if !gated(&pod) => self.place(uid, Place::Active),
            Place::Unschedulable { .. } if may_help(&old, &pod) => self.retry(uid, now),
            Place::InFlight { seen } if may_help(&old, &pod) => {
                entry.place = Place::InFlight { seen: seen.and(Wake::ALL) };
            }
            _ => {}
        }
    }

    /// Forgets a pod: it is bound, deleted, or no longer ours.
    pub fn remove(&mut self, uid: &str) {
        let Some((uid, entry)) = self.pods.remove_entry(uid) else { return };
        self.unindex(&uid, &entry);
    }

    /// Whether the pod waits here or is being tried.
    pub fn contains(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// The next pod to try.
    pub fn pop(&mut self, now: Instant) -> Option<Attempt> {
        self.flush(now);
        let key = self.active.first()?.clone();
        self.place(&key.uid, Place::InFlight { seen: Wake::NONE });
        let entry = self.pods.get_mut(&key.uid)?;
        entry.attempts += 1;
        Some(Attempt { uid: key.uid, pod: entry.pod.clone(), attempt: entry.attempts })
    }

    /// The attempt found no node. The pod waits for one of the events in `wants`; if one came
    /// while it was being tried, only for its back-off.
    pub fn unschedulable(&mut self, uid: &str, wants: Wake, now: Instant) {
        let Some((uid, seen)) = self.failed(uid, now) else { return };
        if seen.intersects(wants) {
            self.retry(&uid, now);
        } else {
            self.place(&uid, Place::Unschedulable { since: now, wants });
        }
    }

    /// The attempt failed for a reason outside the pod: only time is needed.
    pub fn errored(&mut self, uid: &str, now: Instant) {
        let Some((uid, _)) = self.failed(uid, now) else { return };
        self.retry(&uid, now);
    }

    /// The cluster changed: pods that it may help go to back-off, or are ready if theirs is over.
    pub fn wake(&mut self, event: Wake, now: Instant) {
        for uid in &self.in_flight {
            if let Some(Place::InFlight { seen }) = self.pods.get_mut(uid).map(|e| &mut e.place) {
                *seen = seen.and(event);
            }
        }
        let helped: Vec<PodUid> = self
            .parked
            .iter()
            .filter(|(_, uid)| self.wants(uid).intersects(event))
            .map(|(_, uid)| uid.clone())
            .collect();
        for uid in helped {
            self.retry(&uid, now);
        }
    }

    /// When `pop` may have something that it has not now.
    pub fn next_deadline(&self) -> Option<Instant> {
        let backoff = self.backoff.first().map(|(until, _)| *until);
        let parked = self.parked.first().map(|(since, _)| *since + MAX_UNSCHEDULABLE);
        [backoff, parked].into_iter().flatten().min()
    }

    /// How many pods wait where.
    pub fn depth(&self) -> Depth {
        let waiting = self.active.len() + self.backoff.len() + self.parked.len();
        Depth {
            active: self.active.len(),
            backoff: self.backoff.len(),
            unschedulable: self.parked.len(),
            gated: self.pods.len() - self.in_flight.len() - waiting,
        }
    }

    fn wants(&self, uid: &str) -> Wake {
        match self.pods.get(uid).map(|entry| entry.place) {
            Some(Place::Unschedulable { wants, .. }) => wants,
            _ => Wake::NONE,
        }
    }

    fn failed(&mut self, uid: &str, now: Instant) -> Option<(PodUid, Wake)> {
        let uid = self.pods.get_key_value(uid)?.0.clone();
        let entry = self.pods.get_mut(&uid)?;
        let Place::InFlight { seen } = entry.place else { return None };
        entry.last_failure = Some(now);
        Some((uid, seen))
    }

    /// To back-off, or straight to active if the back-off is over.
    fn retry(&mut self, uid: &PodUid, now: Instant) {
        let Some(entry) = self.pods.get(uid) else { return };
        let until = entry.backoff_end(now);
        let place = if until > now { Place::Backoff { until } } else { Place::Active };
        self.place(uid, place);
    }

    fn flush(&mut self, now: Instant) {
        while let Some((until, uid)) = self.backoff.first().cloned()
            && until <= now
        {
            self.place(&uid, Place::Active);
        }
        while let Some((since, uid)) = self.parked.first().cloned()
            && since + MAX_UNSCHEDULABLE <= now
        {
            self.place(&uid, Place::Active);
        }
    }

    fn place(&mut self, uid: &PodUid, place: Place) {
        let Some(mut entry) = self.pods.remove(uid) else { return };
        self.unindex(uid, &entry);
        entry.place = place;
        match place {
            Place::Active => {
                self.sequence += 1;
                entry.sequence = self.sequence;
                self.active.insert(entry.active_key(uid));
            }
            Place::Backoff { until } => _ = self.backoff.insert((until, uid.clone())),
            Place::Unschedulable { since, .. } => _ = self.parked.insert((since, uid.clone())),
            Place::InFlight { .. } => _ = self.in_flight.insert(uid.clone()),
            Place::Gated => {}
        }
        self.pods.insert(uid.clone(), entry);
    }

    fn unindex(&mut self, uid: &PodUid, entry: &Entry) {
        match entry.place {
            Place::Active => _ = self.active.remove(&entry.active_key(uid)),
            Place::Backoff { until } => _ = self.backoff.remove(&(until, uid.clone())),
            Place::Unschedulable { since, .. } => _ = self.parked.remove(&(since, uid.clone())),
            Place::InFlight { .. } => _ = self.in_flight.remove(uid),
            Place::Gated => {}
        }
    }
}

/// Whether the pod has scheduling gates (KEP-3521).
fn gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| !gates.is_empty())
}

fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

/// Whether a pod's own change may make it schedulable: not if only its status changed.
fn may_help(old: &Pod, new: &Pod) -> bool {
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || old.metadata.annotations != new.metadata.annotations
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_api::k8s_openapi::api::core::v1::{PodSchedulingGate, PodSpec};

    fn pod(priority: i32, gates: &[&str]) -> Arc<Pod> {
        let gates = gates.iter().map(|name| PodSchedulingGate { name: name.to_string() });
        let spec = PodSpec {
            priority: Some(priority),
            scheduling_gates: Some(gates.collect()),
            ..Default::default()
        };
        Arc::new(Pod { spec: Some(spec), ..Default::default() })
    }

    fn pop(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.pop(now).map(|attempt| attempt.uid.to_string())
    }

    #[test]
    fn higher_priority_first_then_arrival() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.upsert("a".into(), pod(0, &[]), now);
        queue.upsert("b".into(), pod(0, &[]), now);
        queue.upsert("urgent".into(), pod(100, &[]), now);
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, now)).collect();
        assert_eq!(order, ["urgent", "a", "b"]);
    }

    #[test]
    fn gated_pods_wait_until_their_gates_are_removed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.upsert("a".into(), pod(0, &["example.com/quota"]), now);
        assert_eq!(pop(&mut queue, now), None);
        assert_eq!(queue.depth().gated, 1);
        queue.upsert("a".into(), pod(0, &[]), now);
        assert_eq!(pop(&mut queue, now).as_deref(), Some("a"));
    }

    #[test]
    fn an_unschedulable_pod_wakes_only_by_an_event_it_wants_and_after_its_backoff() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.upsert("a".into(), pod(0, &[]), now);
        pop(&mut queue, now);
        queue.unschedulable("a", Wake::NODE_ADD, now);
        queue.wake(Wake::POD_DELETE, now);
        assert_eq!(queue.depth().unschedulable, 1);
        queue.wake(Wake::NODE_ADD, now);
        assert_eq!(pop(&mut queue, now), None, "its back-off of a second is not over");
        assert_eq!(queue.next_deadline(), Some(now + INITIAL_BACKOFF));
        assert_eq!(pop(&mut queue, now + INITIAL_BACKOFF).as_deref(), Some("a"));
    }

    #[test]
    fn an_event_during_the_attempt_is_not_lost() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.upsert("a".into(), pod(0, &[]), now);
        pop(&mut queue, now);
        queue.wake(Wake::NODE_ADD, now);
        queue.unschedulable("a", Wake::NODE_ADD, now);
        assert_eq!(queue.depth().backoff, 1);
    }

    #[test]
    fn backoff_doubles_up_to_ten_seconds() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.upsert("a".into(), pod(0, &[]), now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            pop(&mut queue, now).expect("its back-off is over");
            queue.errored("a", now);
            let until = queue.next_deadline().expect("in back-off");
            waits.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_forgotten_pod_is_tried_again_after_five_minutes() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.upsert("a".into(), pod(0, &[]), now);
        pop(&mut queue, now);
        queue.unschedulable("a", Wake::NONE, now);
        assert_eq!(pop(&mut queue, now + MAX_UNSCHEDULABLE - Duration::from_secs(1)), None);
        assert_eq!(pop(&mut queue, now + MAX_UNSCHEDULABLE).as_deref(), Some("a"));
    }

    #[test]
    fn a_removed_pod_is_in_no_index() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.upsert("a".into(), pod(0, &[]), now);
        queue.remove("a");
        assert_eq!(pop(&mut queue, now), None);
        assert_eq!(queue.depth(), Depth::default());
    }
}
