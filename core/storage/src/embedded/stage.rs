//! Judges one batch of requests against the durable state plus what the batch itself has done.
//!
//! Pure: requests in, a log payload and commits out. The log replays through the same code, so
//! that what a restart rebuilds is what was acknowledged.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;

use super::codec::{Entry, Op, encode};
use super::lease::LeaseTable;
use super::mvcc::{Commit, Mvcc};
use crate::{Error, Event, Expect, KeyValue, LeaseId, Outcome, Revision};

/// A conditional write: a value and lease to put, or nothing to delete the key.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: Bytes,
    pub(super) put: Option<(Bytes, LeaseId)>,
    pub(super) expect: Expect,
}

/// A batch in the making.
pub(super) struct Stage<'a> {
    mvcc: &'a Mvcc,
    leases: &'a mut LeaseTable,
    now: Instant,
    /// What the batch has changed so far; an empty value is a deletion.
    overlay: HashMap<Bytes, Option<KeyValue>>,
    revision: Revision,
    staged: Staged,
}

/// A batch that is ready for the log.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// The entries, encoded, after whatever was in the buffer before.
    pub(super) payload: Vec<u8>,
    /// What the batch does to the keys, in order.
    pub(super) commits: Vec<Commit>,
    /// The compaction that the batch asks for.
    pub(super) compact: Option<Revision>,
}

impl<'a> Stage<'a> {
    /// Begins a batch; entries are appended to `payload`.
    pub(super) fn new(
        mvcc: &'a Mvcc,
        leases: &'a mut LeaseTable,
        now: Instant,
        payload: Vec<u8>,
    ) -> Self {
        let staged = Staged { payload, ..Staged::default() };
        Self { mvcc, leases, now, overlay: HashMap::new(), revision: mvcc.current(), staged }
    }

    /// Ends the batch.
    pub(super) fn finish(self) -> Staged {
        self.staged
    }

    /// Bytes of the batch so far.
    pub(super) fn payload_len(&self) -> usize {
        self.staged.payload.len()
    }

    fn current(&self, key: &[u8]) -> Option<KeyValue> {
        match self.overlay.get(key) {
            Some(staged) => staged.clone(),
            None => self.mvcc.latest(key),
        }
    }

    /// Judges one conditional write.
    pub(super) fn write(&mut self, write: Write) -> Result<Outcome, Error> {
        let Write { key, put, expect } = write;
        let current = self.current(&key);
        let nothing_to_delete = put.is_none() && current.is_none();
        if nothing_to_delete || !holds(expect, current.as_ref()) {
            return Ok(Outcome::Conflict { current });
        }
        let op = match put {
            Some((_, lease)) if lease != 0 && !self.leases.contains(lease) => {
                return Err(Error::LeaseNotFound(lease));
            }
            Some((value, lease)) => Op::Put { key, value, lease },
            None => Op::Delete { key },
        };
        let revision = self.commit(vec![op]);
        Ok(Outcome::Committed { revision, previous: current })
    }

    /// Creates a lease.
    pub(super) fn grant(&mut self, lease: LeaseId, ttl_secs: u64) {
        self.leases.grant(lease, ttl_secs, self.now);
        encode(&Entry::Grant { lease, ttl_secs }, &mut self.staged.payload);
    }

    /// Ends a lease; its keys are deleted by one commit.
    pub(super) fn revoke(&mut self, lease: LeaseId) -> Result<(), Error> {
        let keys = self.leases.revoke(lease).ok_or(Error::LeaseNotFound(lease))?;
        encode(&Entry::Revoke { lease }, &mut self.staged.payload);
        if !keys.is_empty() {
            self.commit(keys.into_iter().map(|key| Op::Delete { key }).collect());
        }
        Ok(())
    }

    /// Ends the leases whose time is over.
    pub(super) fn expire(&mut self) {
        for lease in self.leases.expired(self.now) {
            self.revoke(lease).expect("an expired lease is in the table");
        }
    }

    /// Gives up the history below `revision`.
    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        if let Some(compacted) = self.staged.compact.filter(|staged| revision <= *staged) {
            return Err(Error::Compacted { requested: revision, compacted });
        }
        self.mvcc.check_compact(revision)?;
        encode(&Entry::Compact { revision }, &mut self.staged.payload);
        self.staged.compact = Some(revision);
        Ok(())
    }

    fn commit(&mut self, ops: Vec<Op>) -> Revision {
        let revision = self.revision + 1;
        let entry = Entry::Commit { revision, ops };
        encode(&entry, &mut self.staged.payload);
        let Entry::Commit { ops, .. } = entry else { unreachable!("built above") };
        self.perform(revision, ops);
        revision
    }

    fn perform(&mut self, revision: Revision, ops: Vec<Op>) {
        self.revision = revision;
        let events: Vec<Event> =
            ops.into_iter().filter_map(|op| self.event(op, revision)).collect();
        self.staged.commits.push(Commit { revision, events });
    }

    fn event(&mut self, op: Op, revision: Revision) -> Option<Event> {
        let (Op::Put { key, .. } | Op::Delete { key }) = &op;
        let current = self.current(key);
        if let Some(before) = &current {
            self.leases.detach(before.lease, key);
        }
        match op {
            Op::Put { key, value, lease } => {
                let kv = next_version(current.as_ref(), key, value, lease, revision);
                self.leases.attach(lease, &kv.key);
                self.overlay.insert(kv.key.clone(), Some(kv.clone()));
                Some(Event::Put { kv, previous: current })
            }
            Op::Delete { key } => {
                self.overlay.insert(key, None);
                current.map(|previous| Event::Delete { previous, revision })
            }
        }
    }

    /// Does again what the log says was done; an error says why that cannot have been.
    pub(super) fn replay(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Commit { revision, ops } if revision == self.revision + 1 && !ops.is_empty() => {
                self.perform(revision, ops);
            }
            Entry::Commit { revision, .. } => {
                return Err(format!("commit {revision} follows {}", self.revision));
            }
            Entry::Grant { lease, ttl_secs } => self.leases.grant(lease, ttl_secs, self.now),
            Entry::Revoke { lease } => drop(self.leases.revoke(lease)),
            Entry::Compact { revision } => self.staged.compact = Some(revision),
        }
        Ok(())
    }
}

fn holds(expect: Expect, current: Option<&KeyValue>) -> bool {
    match expect {
        Expect::Any => true,
        Expect::Absent => current.is_none(),
        Expect::Revision(revision) => current.is_some_and(|kv| kv.mod_revision == revision),
    }
}

fn next_version(
    current: Option<&KeyValue>,
    key: Bytes,
    value: Bytes,
    lease: LeaseId,
    revision: Revision,
) -> KeyValue {
    KeyValue {
        // One allocation per key, however often it is written.
        key: current.map_or(key, |kv| kv.key.clone()),
        value,
        create_revision: current.map_or(revision, |kv| kv.create_revision),
        mod_revision: revision,
        version: current.map_or(1, |kv| kv.version + 1),
        lease,
    }
}
