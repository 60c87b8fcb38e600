//! The embedded engine: a write-ahead log on disk, all keys with their recent versions in memory.
//!
//! One committer thread judges, logs, syncs and publishes; whoever waits meanwhile shares the next
//! sync. Readers see exactly what is durable and never wait for a sync. A second thread frees
//! compacted history and writes snapshots, so that the log stays short.

mod codec;
mod committer;
mod frame;
mod hub;
mod lease;
mod log;
mod maintenance;
mod mvcc;
mod recover;
mod snapshot;
mod stage;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use self::committer::{Committer, Request};
use self::hub::Hub;
use self::lease::LeaseTable;
use self::log::Log;
use self::maintenance::{Job, Maintenance};
use self::mvcc::Mvcc;
use self::stage::Write;
use crate::{
    Error, Expect, KeyValue, LeaseId, Outcome, RangeQuery, RangeResult, Revision, Storage,
    WatchStream,
};

/// Keys that a read visits under one lock.
const READ_STEP: usize = 4096;

/// How much history is kept without anyone asking for compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it, until [`Storage::compact`] is called.
    Everything,
    /// The last so many revisions.
    Revisions(u64),
    /// What is younger than this.
    Age(Duration),
}

/// How an [`Engine`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether a write is answered only when the disk has it. Without, a crash of the process loses
    /// nothing, a crash of the machine the last writes.
    pub durable: bool,
    /// How much history is kept; five minutes, as kube-apiserver keeps in etcd.
    pub keep: Keep,
    /// Bytes of log after which a snapshot is written; never less than the last snapshot's size.
    pub snapshot_log_bytes: u64,
    /// Batches of commits that a watcher may fall behind before it is cut.
    pub watch_buffer: usize,
    /// How often a watcher is told that nothing has happened to its keys.
    pub progress_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durable: true,
            keep: Keep::Age(Duration::from_secs(300)),
            snapshot_log_bytes: 64 << 20,
            watch_buffer: 1024,
            progress_interval: Duration::from_secs(5),
        }
    }
}

/// What the engine's threads and readers share.
struct Shared {
    dir: PathBuf,
    mvcc: Arc<RwLock<Mvcc>>,
    leases: Mutex<LeaseTable>,
    hub: Hub,
    /// Why nothing can be written any more.
    failed: OnceLock<String>,
    closed: AtomicBool,
    snapshot_log_bytes: u64,
    snapshot_running: AtomicBool,
    snapshot_bytes: AtomicU64,
    /// Bytes of the segment that is being written.
    segment_bytes: AtomicU64,
    /// Bytes of the segments before it.
    older_bytes: AtomicU64,
}

impl Shared {
    fn set_log_bytes(&self, bytes: u64) {
        self.segment_bytes.store(bytes, Ordering::Relaxed);
    }

    fn snapshot_threshold(&self) -> u64 {
        self.snapshot_log_bytes.max(self.snapshot_bytes.load(Ordering::Relaxed))
    }

    /// False when one is being written already.
    fn begin_snapshot(&self) -> bool {
        !self.snapshot_running.swap(true, Ordering::AcqRel)
    }

    fn end_snapshot(&self) {
        self.snapshot_running.store(false, Ordering::Release);
    }

    fn segment_rolled(&self) {
        let bytes = self.segment_bytes.swap(0, Ordering::Relaxed);
        self.older_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn snapshot_written(&self, bytes: u64) {
        self.snapshot_bytes.store(bytes, Ordering::Relaxed);
        self.older_bytes.store(0, Ordering::Relaxed);
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        Ok(())
    }
}

/// What ends with the engine.
struct Threads {
    committer: JoinHandle<()>,
    maintenance: JoinHandle<()>,
    jobs: Sender<Job>,
    /// Keeps other processes out of the directory.
    lock: File,
    /// The directory of an ephemeral engine, removed when dropped.
    _temporary: Option<tempfile::TempDir>,
}

/// The embedded engine. Dropping or closing it finishes what was asked before.
pub struct Engine {
    shared: Arc<Shared>,
    requests: Sender<Request>,
    threads: Mutex<Option<Threads>>,
}

impl Engine {
    /// Opens the data directory `dir`, creating it when it is not there.
    ///
    /// Answers [`Error::Unavailable`] while another process has it open, and [`Error::Corrupt`]
    /// when it does not hold what was written; an unfinished last write is cut and is no error.
    pub fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        Self::start(dir, options, None)
    }

    /// The same engine in a temporary directory of its own, without syncs: for tests.
    pub fn ephemeral() -> Result<Self, Error> {
        let dir = tempfile::Builder::new().prefix("hansa-storage-").tempdir()?;
        let path = dir.path().to_owned();
        Self::start(&path, Options { durable: false, ..Options::default() }, Some(dir))
    }

    fn start(
        dir: &Path,
        options: Options,
        temporary: Option<tempfile::TempDir>,
    ) -> Result<Self, Error> {
        Self::start_with(dir, options, temporary, |_| {})
    }

    /// Like `start`; `tamper` may exchange what the log writes to.
    fn start_with(
        dir: &Path,
        options: Options,
        temporary: Option<tempfile::TempDir>,
        tamper: impl FnOnce(&mut Log),
    ) -> Result<Self, Error> {
        let lock = recover::lock(dir)?;
        let recovered = recover::recover(dir, options.durable)?;
        let mut log = recovered.log;
        tamper(&mut log);
        let (segment_bytes, log_bytes) = (log.segment_bytes(), recovered.log_bytes);
        let shared = Arc::new(Shared {
            dir: dir.into(),
            hub: Hub::new(options.watch_buffer, recovered.mvcc.current()),
            mvcc: Arc::new(RwLock::new(recovered.mvcc)),
            leases: Mutex::new(recovered.leases),
            failed: OnceLock::new(),
            closed: AtomicBool::new(false),
            snapshot_log_bytes: options.snapshot_log_bytes,
            snapshot_running: AtomicBool::new(false),
            snapshot_bytes: AtomicU64::new(recovered.snapshot_bytes),
            segment_bytes: AtomicU64::new(segment_bytes),
            older_bytes: AtomicU64::new(log_bytes - segment_bytes),
        });
        let (requests, receiver) = channel();
        let (jobs, job_receiver) = channel();
        let committer = Committer {
            shared: shared.clone(),
            log,
            requests: receiver,
            jobs: jobs.clone(),
            buffer: Vec::new(),
        };
        let maintenance = Maintenance {
            shared: shared.clone(),
            jobs: job_receiver,
            requests: requests.clone(),
            keep: options.keep,
            progress_interval: options.progress_interval,
        };
        let threads = Threads {
            committer: spawn("storage-commit", || committer.run())?,
            maintenance: spawn("storage-maint", || maintenance.run())?,
            jobs,
            lock,
            _temporary: temporary,
        };
        Ok(Self { shared, requests, threads: Mutex::new(Some(threads)) })
    }

    /// Finishes the writes asked for before, ends all watches and gives the directory free. From
    /// then on everything answers [`Error::Unavailable`].
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        let Some(threads) = self.threads.lock().take() else {
            return;
        };
        drop(self.requests.send(Request::Stop));
        let committer = threads.committer.join();
        drop(threads.jobs.send(Job::Stop));
        let maintenance = threads.maintenance.join();
        self.shared.hub.close();
        // Closing alone would leave the lock to a child that is just being started.
        let unlocked = threads.lock.unlock();
        if committer.is_err() || maintenance.is_err() {
            tracing::error!("a thread of the storage engine has panicked");
        }
        if let Err(error) = unlocked {
            tracing::warn!(%error, "could not unlock the data directory");
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        self.shared.check_open()?;
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    async fn write(
        &self,
        key: &[u8],
        put: Option<(Bytes, LeaseId)>,
        expect: Expect,
    ) -> Result<Outcome, Error> {
        let key = Bytes::copy_from_slice(key);
        self.ask(|reply| Request::Write(Write { key, put, expect }, reply)).await
    }

    /// Reads in steps at one revision, so that a large answer holds up no commit.
    async fn read_at(&self, query: &RangeQuery, revision: Revision) -> Result<RangeResult, Error> {
        let mvcc = &self.shared.mvcc;
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let mut next = Some(query.start.clone().unwrap_or_else(|| query.prefix.clone()));
        let mut kvs = Vec::new();
        while let Some(start) = next.take_if(|_| kvs.len() < limit) {
            let steps = (READ_STEP, limit - kvs.len());
            let page = mvcc.read().page(&query.prefix, &start, steps, revision)?;
            kvs.extend(page.kvs);
            next = page.next;
            if next.is_some() && kvs.len() < limit {
                tokio::task::yield_now().await;
            }
        }
        let remaining = self.count_at(&query.prefix, next, revision).await?;
        Ok(RangeResult { kvs, more: remaining > 0, remaining, revision })
    }

    async fn count_at(
        &self,
        prefix: &[u8],
        mut next: Option<Bytes>,
        revision: Revision,
    ) -> Result<u64, Error> {
        let mut total = 0;
        while let Some(start) = next {
            let (count, rest) =
                self.shared.mvcc.read().count(prefix, &start, READ_STEP, revision)?;
            total += count;
            next = rest;
            if next.is_some() {
                tokio::task::yield_now().await;
            }
        }
        Ok(total)
    }

    fn revision(&self) -> Revision {
        self.shared.mvcc.read().current()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Storage for Engine {
    async fn get(&self, key: &[u8]) -> Result<(Option<KeyValue>, Revision), Error> {
        self.shared.check_open()?;
        let mvcc = self.shared.mvcc.read();
        Ok((mvcc.latest(key), mvcc.current()))
    }

    async fn range(&self, query: RangeQuery) -> Result<RangeResult, Error> {
        self.shared.check_open()?;
        if let Some(revision) = query.revision.filter(|revision| *revision != 0) {
            return self.read_at(&query, revision).await;
        }
        loop {
            match self.read_at(&query, self.revision()).await {
                // "Now" was compacted between two steps: read a younger now.
                Err(Error::Compacted { .. }) => {}
                answer => return answer,
            }
        }
    }

    async fn count(&self, prefix: &[u8]) -> Result<u64, Error> {
        self.shared.check_open()?;
        let start = Bytes::copy_from_slice(prefix);
        loop {
            match self.count_at(prefix, Some(start.clone()), self.revision()).await {
                Err(Error::Compacted { .. }) => {}
                answer => return answer,
            }
        }
    }

    async fn put(
        &self,
        key: &[u8],
        value: Bytes,
        expect: Expect,
        lease: LeaseId,
    ) -> Result<Outcome, Error> {
        self.write(key, Some((value, lease)), expect).await
    }

    async fn delete(&self, key: &[u8], expect: Expect) -> Result<Outcome, Error> {
        self.write(key, None, expect).await
    }

    async fn watch(&self, prefix: &[u8], from: Option<Revision>) -> Result<WatchStream, Error> {
        let from = from.filter(|revision| *revision != 0);
        self.shared.hub.watch(&self.shared.mvcc, Bytes::copy_from_slice(prefix), from)
    }

    async fn request_progress(&self) -> Result<(), Error> {
        self.shared.check_open()?;
        self.shared.hub.progress(true);
        Ok(())
    }

    async fn current_revision(&self) -> Result<Revision, Error> {
        self.shared.check_open()?;
        Ok(self.revision())
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.ask(|reply| Request::Compact(revision, reply)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let ttl_secs = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        self.ask(|reply| Request::Grant(ttl_secs, reply)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, Error> {
        self.shared.check_open()?;
        let kept = self.shared.leases.lock().keep_alive(lease, Instant::now());
        kept.ok_or(Error::LeaseNotFound(lease))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.ask(|reply| Request::Revoke(lease, reply)).await
    }

    async fn health(&self) -> Result<(), Error> {
        self.shared.check_open()?;
        match self.shared.failed.get() {
            Some(why) => Err(Error::Unavailable(why.clone())),
            None => Ok(()),
        }
    }

    async fn size_bytes(&self) -> Result<u64, Error> {
        let shared = &self.shared;
        let parts = [&shared.segment_bytes, &shared.older_bytes, &shared.snapshot_bytes];
        Ok(parts.iter().map(|part| part.load(Ordering::Relaxed)).sum())
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    Ok(std::thread::Builder::new().name(name.into()).spawn(run)?)
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}
