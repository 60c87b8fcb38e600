//! Versioned key-value store with watch, leases and compaction.
//!
//! Storage does not know Kubernetes: it holds bytes under keys, counts revisions, and tells
//! watchers what was committed. Two backends implement [`Storage`]: the embedded engine
//! ([`embedded`]) and a client of a real etcd v3 ([`etcd`]); one behaviour suite runs on both.

pub mod embedded;
pub mod etcd;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// The store-wide counter: every committed write transaction has one, and they only go up.
pub type Revision = u64;

/// Identifies a lease; 0 means none.
pub type LeaseId = i64;

/// One key as it stood at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, a path such as `/registry/pods/default/web-0`.
    pub key: Bytes,
    /// The stored bytes.
    pub value: Bytes,
    /// Revision of the write that created the key.
    pub create_revision: Revision,
    /// Revision of the last write to the key.
    pub mod_revision: Revision,
    /// Writes since creation, starting at 1.
    pub version: u64,
    /// The lease that the key dies with, 0 for none.
    pub lease: LeaseId,
}

/// What must hold for a write to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key must not exist.
    Absent,
    /// The key must exist and have been written last at this revision.
    Revision(Revision),
    /// Whatever is there.
    Any,
}

/// The outcome of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed and durable at this revision; `previous` is what was there before.
    Committed {
        /// The new store revision.
        revision: Revision,
        /// The key before this write.
        previous: Option<KeyValue>,
    },
    /// The expectation did not hold: nothing was written, `current` is what is there.
    Conflict {
        /// The key as it stands.
        current: Option<KeyValue>,
    },
}

/// A range query over all keys that start with `prefix`, in key order.
#[derive(Clone, Debug, Default)]
pub struct RangeQuery {
    /// Only keys with this prefix.
    pub prefix: Bytes,
    /// Start at this key (inclusive) instead of the first; must start with `prefix`.
    pub start: Option<Bytes>,
    /// At most so many; 0 means all.
    pub limit: usize,
    /// Read the store as it stood at this revision; `None` (and 0) is now (linearizable).
    pub revision: Option<Revision>,
}

/// The answer to a [`RangeQuery`].
#[derive(Clone, Debug, Default)]
pub struct RangeResult {
    /// The keys found, in key order.
    pub kvs: Vec<KeyValue>,
    /// Whether more keys follow the last one.
    pub more: bool,
    /// How many keys follow the last one returned.
    pub remaining: u64,
    /// The revision that the answer was read at.
    pub revision: Revision,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key was created or changed; `previous` is what it was.
    Put {
        /// The key as it now stands.
        kv: KeyValue,
        /// The key before, if it existed and is not yet compacted.
        previous: Option<KeyValue>,
    },
    /// The key was deleted at `revision`.
    Delete {
        /// The key as it was.
        previous: KeyValue,
        /// Revision of the deletion.
        revision: Revision,
    },
}

/// What a watch delivers, in commit order, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// Everything that one revision did to the watched keys.
    Events(Vec<Event>),
    /// Nothing else happened up to and including this revision.
    Progress(Revision),
}

/// A running watch; it ends after the first error.
pub type WatchStream = BoxStream<'static, Result<WatchItem, Error>>;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The revision asked for has been compacted away.
    #[error("read at revision {requested}: compacted up to {compacted}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest revision that is gone.
        compacted: Revision,
    },
    /// The revision asked for is not there yet.
    #[error("read at revision {requested}: the store is at {current}")]
    Future {
        /// What was asked for.
        requested: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// No such lease, or it has expired.
    #[error("find lease {0}")]
    LeaseNotFound(LeaseId),
    /// A watcher did not keep up and was cut; it has to resume from its last revision.
    #[error("keep up with the writes: watch was cut at revision {0}")]
    Lagged(Revision),
    /// The store is closed, unreachable or out of space; the write may or may not have happened.
    #[error("reach the store: {0}")]
    Unavailable(String),
    /// What is on disk is not what was written.
    #[error("read the data directory: {0}")]
    Corrupt(String),
    /// The operating system refused.
    #[error("access the data directory")]
    Io(#[from] std::io::Error),
}

/// A versioned key-value store.
///
/// Every write is durable before it is answered, and is published to watchers from the commit path.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Reads one key as of now, and the revision it was read at.
    async fn get(&self, key: &[u8]) -> Result<(Option<KeyValue>, Revision), Error>;

    /// Reads many keys at one revision.
    async fn range(&self, query: RangeQuery) -> Result<RangeResult, Error>;

    /// Counts the keys under a prefix, now.
    async fn count(&self, prefix: &[u8]) -> Result<u64, Error>;

    /// Writes `value` under `key` if `expect` holds. `lease` 0 means that the key stays.
    async fn put(
        &self,
        key: &[u8],
        value: Bytes,
        expect: Expect,
        lease: LeaseId,
    ) -> Result<Outcome, Error>;

    /// Deletes `key` if `expect` holds. Deleting an absent key under `Expect::Any` is a `Conflict`.
    async fn delete(&self, key: &[u8], expect: Expect) -> Result<Outcome, Error>;

    /// Watches all keys under `prefix`, starting with the changes of revision `from`
    /// (`from` = last seen revision + 1; `None` and 0 start with the next commit).
    ///
    /// [`Error::Compacted`] may come from this call or as the stream's first item.
    async fn watch(&self, prefix: &[u8], from: Option<Revision>) -> Result<WatchStream, Error>;

    /// Asks for a [`WatchItem::Progress`] on the running watches of this store, soon and best
    /// effort; one that arrives after this call covers all that was acknowledged before it.
    async fn request_progress(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The revision of the last commit that this client may rely on (linearizable).
    async fn current_revision(&self) -> Result<Revision, Error>;

    /// Forgets history below `revision`: older reads and watches answer [`Error::Compacted`].
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// Creates a lease of `ttl` (whole seconds, at least one).
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error>;

    /// Starts the lease's time anew; returns its time to live.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, Error>;

    /// Ends a lease and deletes its keys.
    async fn revoke(&self, lease: LeaseId) -> Result<(), Error>;

    /// Whether the store answers and can take writes; the error says why not.
    async fn health(&self) -> Result<(), Error>;

    /// Bytes on disk, for metrics; 0 where the backend cannot tell.
    async fn size_bytes(&self) -> Result<u64, Error>;
}
