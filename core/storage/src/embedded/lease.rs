//! Leases: keys that go together when nobody keeps them alive. Pure; the caller brings the time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::LeaseId;

/// The longest time to live, as in etcd (about 285 years); longer ones are cut to it.
pub(super) const MAX_TTL_SECS: u64 = 9_000_000_000;

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
    keys: BTreeSet<Bytes>,
}

/// All leases, by number and by deadline.
#[derive(Debug, Default)]
pub(super) struct LeaseTable {
    leases: HashMap<LeaseId, Lease>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
}

impl LeaseTable {
    /// Adds a lease that lives for `ttl_secs` from `now` on.
    pub(super) fn grant(&mut self, id: LeaseId, ttl_secs: u64, now: Instant) {
        let ttl = Duration::from_secs(ttl_secs.min(MAX_TTL_SECS));
        let deadline = now + ttl;
        self.leases.insert(id, Lease { ttl, deadline, keys: BTreeSet::new() });
        self.deadlines.insert((deadline, id));
    }

    /// Whether the lease is there.
    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// Starts the lease's time anew; returns its time to live.
    pub(super) fn keep_alive(&mut self, id: LeaseId, now: Instant) -> Option<Duration> {
        let lease = self.leases.get_mut(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = now + lease.ttl;
        self.deadlines.insert((lease.deadline, id));
        Some(lease.ttl)
    }

    /// Removes the lease; returns the keys that hung on it, in order.
    pub(super) fn revoke(&mut self, id: LeaseId) -> Option<BTreeSet<Bytes>> {
        let lease = self.leases.remove(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        Some(lease.keys)
    }

    /// Notes that `key` now hangs on `id`, which may be 0 for none.
    pub(super) fn attach(&mut self, id: LeaseId, key: &Bytes) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.insert(key.clone());
        }
    }

    /// Notes that `key` no longer hangs on `id`, which may be 0 for none.
    pub(super) fn detach(&mut self, id: LeaseId, key: &Bytes) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    /// When the next lease ends.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The leases whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Vec<LeaseId> {
        let over = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        over.map(|(_, id)| *id).collect()
    }

    /// Every lease and its time to live in seconds, in no order.
    pub(super) fn list(&self) -> Vec<(LeaseId, u64)> {
        self.leases.iter().map(|(id, lease)| (*id, lease.ttl.as_secs())).collect()
    }
}

/// The history that a store keeps by itself.
#[derive(Debug)]
pub(super) struct AgeSamples {
    keep: Duration,
    samples: BTreeMap<Instant, u64>,
}

impl AgeSamples {
    /// Keeps `keep` of history.
    pub(super) fn new(keep: Duration) -> Self {
        Self { keep, samples: BTreeMap::new() }
    }

    /// Notes the revision now; returns the youngest one that is at least `keep` old.
    pub(super) fn observe(&mut self, now: Instant, revision: u64) -> Option<u64> {
        self.samples.insert(now, revision);
        let limit = now.checked_sub(self.keep)?;
        let young = self.samples.split_off(&(limit + Duration::from_nanos(1)));
        let old = std::mem::replace(&mut self.samples, young);
        old.into_values().next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_expires_unless_kept_alive() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut leases = LeaseTable::default();
        leases.grant(1, 10, start);
        leases.grant(2, 10, start);
        assert_eq!(leases.keep_alive(2, at(9)), Some(Duration::from_secs(10)));
        assert_eq!(leases.expired(at(10)), [1]);
        assert_eq!(leases.next_deadline(), Some(at(10)));
        leases.revoke(1).unwrap();
        assert_eq!(leases.next_deadline(), Some(at(19)));
        assert_eq!(leases.keep_alive(1, at(11)), None);
    }

    #[test]
    fn revoking_returns_only_the_keys_still_attached() {
        let mut leases = LeaseTable::default();
        leases.grant(1, 10, Instant::now());
        let (a, b) = (Bytes::from("a"), Bytes::from("b"));
        leases.attach(1, &a);
        leases.attach(1, &b);
        leases.detach(1, &a);
        assert_eq!(leases.revoke(1).unwrap(), BTreeSet::from([b]));
    }

    #[test]
    fn age_samples_name_the_youngest_revision_that_is_old_enough() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut samples = AgeSamples::new(Duration::from_secs(300));
        assert_eq!(samples.observe(start, 5), None);
        assert_eq!(samples.observe(at(30), 9), None);
        assert_eq!(samples.observe(at(331), 20), Some(9));
        assert_eq!(samples.observe(at(332), 21), None);
        assert_eq!(samples.observe(at(631), 30), Some(20));
    }
}
