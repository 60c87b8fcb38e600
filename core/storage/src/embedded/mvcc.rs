//! Every key with its versions, in memory: a pure state machine that commits are applied to.
//!
//! After `compact(c)`, reads at `c` and later are answered, and the events of `c` and later can be
//! replayed with what was before them; so the state as of `c - 1`, the *floor*, is kept too.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use crate::{Error, Event, KeyValue, LeaseId, Revision};

/// The revision of an empty store, as in etcd: the first write is 2.
pub(super) const FIRST_REVISION: Revision = 1;

/// A key as one write left it; no value means that it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) create: Revision,
    pub(super) modified: Revision,
    pub(super) version: u64,
    pub(super) lease: LeaseId,
    pub(super) value: Option<Bytes>,
}

/// Everything that one revision did.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) revision: Revision,
    pub(super) events: Vec<Event>,
}

/// The keys that one revision changed; nearly always one.
#[derive(Debug)]
enum Changed {
    One(Bytes),
    Many(Box<[Bytes]>),
}

/// One step of a walk over many keys.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) kvs: Vec<KeyValue>,
    /// Where the next step begins, if there may be more.
    pub(super) next: Option<Bytes>,
}

/// The versioned keys.
#[derive(Debug)]
pub(super) struct Mvcc {
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// What each revision changed, without gaps, beginning with `first_change`.
    changes: VecDeque<Changed>,
    first_change: Revision,
    current: Revision,
    compacted: Revision,
}

impl Default for Mvcc {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            changes: VecDeque::new(),
            first_change: FIRST_REVISION + 1,
            current: FIRST_REVISION,
            compacted: 0,
        }
    }
}

impl Mvcc {
    /// The revision of the last commit.
    pub(super) fn current(&self) -> Revision {
        self.current
    }

    /// Reads and watches below this revision are refused.
    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// Whether the store can be read as of `revision`.
    pub(super) fn check(&self, revision: Revision) -> Result<(), Error> {
        if revision > self.current {
            return Err(Error::Future { requested: revision, current: self.current });
        }
        if revision < self.compacted {
            return Err(Error::Compacted { requested: revision, compacted: self.compacted });
        }
        Ok(())
    }

    /// The key as it stands.
    pub(super) fn latest(&self, key: &[u8]) -> Option<KeyValue> {
        let (key, versions) = self.keys.get_key_value(key)?;
        key_value(key, versions.last()?)
    }

    /// Visits at most `visit` keys from `start` on and returns up to `limit` that exist.
    pub(super) fn page(
        &self,
        prefix: &[u8],
        start: &[u8],
        (visit, limit): (usize, usize),
        revision: Revision,
    ) -> Result<Page, Error> {
        self.check(revision)?;
        let mut page = Page::default();
        for (visited, (key, versions)) in self.under(prefix, start).enumerate() {
            if visited == visit || page.kvs.len() == limit {
                page.next = Some(key.clone());
                break;
            }
            page.kvs.extend(at(versions, revision).and_then(|version| key_value(key, version)));
        }
        Ok(page)
    }

    /// Counts the keys that exist among at most `visit` from `start` on.
    pub(super) fn count(
        &self,
        prefix: &[u8],
        start: &[u8],
        visit: usize,
        revision: Revision,
    ) -> Result<(u64, Option<Bytes>), Error> {
        self.check(revision)?;
        let mut count = 0;
        for (visited, (key, versions)) in self.under(prefix, start).enumerate() {
            if visited == visit {
                return Ok((count, Some(key.clone())));
            }
            count += u64::from(at(versions, revision).is_some_and(|v| v.value.is_some()));
        }
        Ok((count, None))
    }

    fn under<'a>(
        &'a self,
        prefix: &'a [u8],
        start: &[u8],
    ) -> impl Iterator<Item = (&'a Bytes, &'a Vec<Version>)> {
        let from = if start < prefix { prefix } else { start };
        self.keys
            .range::<[u8], _>((Bound::Included(from), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Applies the next commit.
    pub(super) fn apply(&mut self, commit: &Commit) {
        debug_assert_eq!(commit.revision, self.current + 1, "revisions have no gaps");
        let mut changed = Vec::with_capacity(commit.events.len());
        for event in &commit.events {
            let (key, version) = new_version(event);
            match self.keys.get_mut(&key) {
                Some(versions) => versions.push(version),
                None => drop(self.keys.insert(key.clone(), vec![version])),
            }
            changed.push(key);
        }
        self.changes.push_back(Changed::from(changed));
        self.current = commit.revision;
    }

    /// What the revisions `from..=to` did to keys under `prefix`.
    pub(super) fn commits(
        &self,
        prefix: &[u8],
        from: Revision,
        to: Revision,
    ) -> Result<Vec<Commit>, Error> {
        if from < self.compacted {
            return Err(Error::Compacted { requested: from, compacted: self.compacted });
        }
        let revisions = from.max(FIRST_REVISION + 1)..=to.min(self.current);
        let commits = revisions.map(|revision| self.commit_at(prefix, revision));
        Ok(commits.filter(|commit| !commit.events.is_empty()).collect())
    }

    fn commit_at(&self, prefix: &[u8], revision: Revision) -> Commit {
        let index = (revision - self.first_change) as usize;
        let keys = self.changes[index].keys().iter().filter(|key| key.starts_with(prefix));
        Commit { revision, events: keys.filter_map(|key| self.event(key, revision)).collect() }
    }

    fn event(&self, key: &Bytes, revision: Revision) -> Option<Event> {
        let versions = self.keys.get(key)?;
        let index = versions.binary_search_by_key(&revision, |v| v.modified).ok()?;
        let before = index.checked_sub(1).and_then(|i| key_value(key, &versions[i]));
        match key_value(key, &versions[index]) {
            Some(kv) => Some(Event::Put { kv, previous: before }),
            None => before.map(|previous| Event::Delete { previous, revision }),
        }
    }

    /// Whether `compact(revision)` is allowed.
    pub(super) fn check_compact(&self, revision: Revision) -> Result<(), Error> {
        if revision <= self.compacted {
            return Err(Error::Compacted { requested: revision, compacted: self.compacted });
        }
        self.check(revision)
    }

    /// Refuses history below `revision` from now on; [`Mvcc::sweep`] frees it.
    pub(super) fn compact(&mut self, revision: Revision) {
        self.compacted = self.compacted.max(revision);
    }

    /// Frees what the next `revisions` compacted revisions left behind; true when all is done.
    pub(super) fn sweep(&mut self, revisions: usize) -> bool {
        for _ in 0..revisions {
            if self.first_change >= self.compacted {
                return true;
            }
            let Some(changed) = self.changes.pop_front() else {
                return true;
            };
            self.first_change += 1;
            changed.keys().iter().for_each(|key| self.prune(key));
        }
        self.first_change >= self.compacted
    }

    /// Drops the versions that nothing at or above the floor can ask for.
    fn prune(&mut self, key: &Bytes) {
        let floor = self.compacted.saturating_sub(1);
        let Some(versions) = self.keys.get_mut(key) else {
            return;
        };
        let visible = versions.partition_point(|v| v.modified <= floor);
        let Some(base) = visible.checked_sub(1) else {
            return;
        };
        let gone = base + usize::from(versions[base].value.is_none());
        versions.drain(..gone);
        if versions.is_empty() {
            self.keys.remove(key);
        } else if gone > 0 {
            versions.shrink_to_fit();
        }
    }

    /// Up to `visit` keys from `start` on, with their versions as of `revision`, for a snapshot.
    pub(super) fn dump(
        &self,
        start: &[u8],
        visit: usize,
        revision: Revision,
    ) -> (Vec<(Bytes, Vec<Version>)>, Option<Bytes>) {
        let mut dumped = Vec::new();
        for (visited, (key, versions)) in self.under(b"", start).enumerate() {
            if visited == visit {
                return (dumped, Some(key.clone()));
            }
            let old = versions.partition_point(|v| v.modified <= revision);
            if old > 0 {
                dumped.push((key.clone(), versions[..old].to_vec()));
            }
        }
        (dumped, None)
    }

    /// Builds the state that a snapshot holds; an error says what makes it impossible.
    pub(super) fn restore(
        keys: BTreeMap<Bytes, Vec<Version>>,
        current: Revision,
        compacted: Revision,
    ) -> Result<Self, String> {
        let mut mvcc = Self { keys, current, compacted, ..Self::default() };
        let all: Vec<Bytes> = mvcc.keys.keys().cloned().collect();
        all.iter().for_each(|key| mvcc.prune(key));
        mvcc.first_change = compacted.max(FIRST_REVISION + 1);
        let mut changes: BTreeMap<Revision, Vec<Bytes>> = BTreeMap::new();
        for (key, versions) in &mvcc.keys {
            for version in versions.iter().filter(|v| v.modified >= mvcc.first_change) {
                changes.entry(version.modified).or_default().push(key.clone());
            }
        }
        if !changes.keys().copied().eq(mvcc.first_change..=current) {
            return Err(format!("revisions {}..={current} have gaps", mvcc.first_change));
        }
        mvcc.changes = changes.into_values().map(Changed::from).collect();
        Ok(mvcc)
    }

    /// The keys that hang on a lease now.
    pub(super) fn leased(&self) -> impl Iterator<Item = (&Bytes, LeaseId)> {
        let latest = self.keys.iter().filter_map(|(key, v)| Some((key, v.last()?)));
        latest.filter(|(_, v)| v.value.is_some() && v.lease != 0).map(|(key, v)| (key, v.lease))
    }

    /// How many versions are held, for tests of compaction.
    #[cfg(test)]
    pub(super) fn version_count(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }
}

impl Changed {
    fn keys(&self) -> &[Bytes] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }
}

impl From<Vec<Bytes>> for Changed {
    fn from(mut keys: Vec<Bytes>) -> Self {
        match (keys.len(), keys.pop()) {
            (1, Some(key)) => Self::One(key),
            (_, last) => {
                keys.extend(last);
                Self::Many(keys.into_boxed_slice())
            }
        }
    }
}

/// The version that was in force at `revision`.
fn at(versions: &[Version], revision: Revision) -> Option<&Version> {
    let after = versions.partition_point(|v| v.modified <= revision);
    versions[..after].last()
}

fn key_value(key: &Bytes, version: &Version) -> Option<KeyValue> {
    Some(KeyValue {
        key: key.clone(),
        value: version.value.clone()?,
        create_revision: version.create,
        mod_revision: version.modified,
        version: version.version,
        lease: version.lease,
    })
}

fn new_version(event: &Event) -> (Bytes, Version) {
    let (kv, modified, value) = match event {
        Event::Put { kv, .. } => (kv, kv.mod_revision, Some(kv.value.clone())),
        Event::Delete { previous, revision } => (previous, *revision, None),
    };
    let create = kv.create_revision;
    let version = Version { create, modified, version: kv.version, lease: kv.lease, value };
    (kv.key.clone(), version)
}
