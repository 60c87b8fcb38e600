//! The watch hub: hands what was committed to every watcher, and never waits for one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::mvcc::{Commit, Mvcc};
use crate::{Error, Event, Revision, WatchItem, WatchStream};

/// Revisions that a replay reads under one lock.
const REPLAY_CHUNK: u64 = 512;

#[derive(Clone, Debug)]
enum Signal {
    Commits(Arc<[Commit]>),
    Progress(Revision),
}

struct Watcher {
    sender: Sender<Signal>,
    /// Set to the last revision that was handed over when the watcher is cut.
    cut: Arc<OnceLock<()>>,
    /// The watcher knows that it has seen everything up to here.
    told: Revision,
}

#[derive(Default)]
struct Inner {
    /// Watchers by prefix.
    groups: HashMap<Bytes, Vec<Watcher>>,
    published: Revision,
    closed: bool,
}

/// All running watches.
pub(super) struct Hub {
    inner: Mutex<Inner>,
    buffer: usize,
}

impl Hub {
    /// A hub whose watchers may fall `buffer` batches behind.
    pub(super) fn new(buffer: usize, published: Revision) -> Self {
        let inner = Inner { published, ..Inner::default() };
        Self { inner: Mutex::new(inner), buffer: buffer.max(1) }
    }

    /// Runs `apply`, which makes `commits` visible, and hands them to their watchers, so that who
    /// has read a revision and then asks the hub finds it published.
    pub(super) fn publish(&self, commits: Arc<[Commit]>, apply: impl FnOnce(&[Commit])) {
        let mut inner = self.inner.lock();
        apply(&commits);
        let Some(last) = commits.last() else { return };
        inner.published = last.revision;
        let signal = Signal::Commits(commits.clone());
        for (prefix, watchers) in &mut inner.groups {
            if commits.iter().any(|commit| touches(commit, prefix)) {
                watchers.retain_mut(|watcher| watcher.offer(signal.clone(), last.revision));
            }
        }
    }

    /// Tells the watchers up to where nothing else has happened; all of them, or only those that
    /// do not know yet.
    pub(super) fn progress(&self, all: bool) {
        let mut inner = self.inner.lock();
        let published = inner.published;
        for watchers in inner.groups.values_mut() {
            watchers.retain_mut(|watcher| watcher.progress(published, all));
        }
        inner.groups.retain(|_, watchers| !watchers.is_empty());
    }

    /// Starts a watch; history is replayed from `mvcc`, which must be the one that commits are
    /// applied to.
    pub(super) fn watch(
        &self,
        mvcc: &Arc<RwLock<Mvcc>>,
        prefix: Bytes,
        from: Option<Revision>,
    ) -> Result<WatchStream, Error> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Error::Unavailable("the store is closed".into()));
        }
        let next = from.unwrap_or(inner.published + 1);
        let compacted = mvcc.read().compacted();
        if next < compacted {
            return Err(Error::Compacted { requested: next, compacted });
        }
        let (sender, receiver) = channel(self.buffer);
        let cut = Arc::new(OnceLock::new());
        let watcher = Watcher { sender, cut: cut.clone(), told: 0 };
        inner.groups.entry(prefix.clone()).or_default().push(watcher);
        let replay_to = inner.published;
        let (mvcc, pending) = (mvcc.clone(), VecDeque::new());
        let watch = Watch { mvcc, prefix, next, replay_to, receiver, cut, pending };
        Ok(watch.into_stream())
    }

    /// Ends all watches and refuses new ones.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.groups.clear();
    }
}

impl Watcher {
    /// Returns false when the watcher is to be forgotten.
    fn offer(&mut self, signal: Signal, revision: Revision) -> bool {
        match self.sender.try_send(signal) {
            Ok(()) => {
                self.told = revision;
                true
            }
            Err(TrySendError::Full(_)) => {
                self.cut.get_or_init(|| ());
                false
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    /// Progress may be left out when there is no room; it never cuts a watcher.
    fn progress(&mut self, revision: Revision, all: bool) -> bool {
        if (all || self.told < revision) && self.sender.capacity() > 0 {
            return self.offer(Signal::Progress(revision), revision);
        }
        !self.sender.is_closed()
    }
}

fn touches(commit: &Commit, prefix: &[u8]) -> bool {
    commit.events.iter().any(|event| key_of(event).starts_with(prefix))
}

fn key_of(event: &Event) -> &Bytes {
    match event {
        Event::Put { kv, .. } => &kv.key,
        Event::Delete { previous, .. } => &previous.key,
    }
}

/// The reader's end of a watch.
struct Watch {
    mvcc: Arc<RwLock<Mvcc>>,
    prefix: Bytes,
    /// The first revision not yet delivered.
    next: Revision,
    /// Up to here history is read; the receiver begins after it.
    replay_to: Revision,
    receiver: Receiver<Signal>,
    cut: Arc<OnceLock<()>>,
    pending: VecDeque<WatchItem>,
}

impl Watch {
    fn into_stream(self) -> WatchStream {
        futures::stream::unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next_item().await {
                Ok(item) => Some((Ok(item), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn next_item(&mut self) -> Result<WatchItem, Error> {
        loop {
            if let Some(item) = self.pending.pop_front() {
                return Ok(item);
            }
            if self.next <= self.replay_to {
                self.replay()?;
                tokio::task::yield_now().await;
            } else {
                let signal = self.receiver.recv().await.ok_or_else(|| self.end())?;
                self.take(signal);
            }
        }
    }

    fn replay(&mut self) -> Result<(), Error> {
        let to = self.replay_to.min(self.next.saturating_add(REPLAY_CHUNK - 1));
        let commits = self.mvcc.read().commits(&self.prefix, self.next, to)?;
        self.pending.extend(commits.into_iter().map(|commit| WatchItem::Events(commit.events)));
        self.next = to + 1;
        Ok(())
    }

    fn take(&mut self, signal: Signal) {
        match signal {
            Signal::Commits(commits) => commits.iter().for_each(|commit| self.take_commit(commit)),
            Signal::Progress(revision) if revision + 1 >= self.next => {
                self.next = revision + 1;
                self.pending.push_back(WatchItem::Progress(revision));
            }
            Signal::Progress(_) => {}
        }
    }

    fn take_commit(&mut self, commit: &Commit) {
        if commit.revision < self.next {
            return;
        }
        self.next = commit.revision + 1;
        let wanted = commit.events.iter().filter(|event| key_of(event).starts_with(&self.prefix));
        let events: Vec<Event> = wanted.cloned().collect();
        if !events.is_empty() {
            self.pending.push_back(WatchItem::Events(events));
        }
    }

    fn end(&self) -> Error {
        match self.cut.get() {
            Some(()) => Error::Lagged(self.next.saturating_sub(1)),
            None => Error::Unavailable("the store was closed".into()),
        }
    }
}
