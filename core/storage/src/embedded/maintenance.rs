//! The engine's second thread: frees compacted history, writes snapshots, compacts by age or count,
//! and tells idle watchers how far they are. It holds no lock for longer than a short step.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::committer::Request;
use super::lease::AgeSamples;
use super::recover::remove_before;
use super::snapshot::{Head, Writer};
use super::{Keep, Shared};
use crate::Revision;

/// Revisions freed under one lock.
const SWEEP_STEP: usize = 512;
/// Keys visited under one lock.
const DUMP_STEP: usize = 512;
/// The samples that an age is measured with are this fraction of it apart.
const SAMPLES_PER_AGE: u32 = 20;

/// What maintenance is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Free what was compacted.
    Sweep,
    /// Write down the state before log frame `next`.
    Snapshot { next: u64, head: Head },
    /// End.
    Stop,
}

/// The thread's own state.
pub(super) struct Maintenance {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Receiver<Job>,
    pub(super) requests: Sender<Request>,
    pub(super) keep: Keep,
    pub(super) progress_interval: Duration,
}

impl Maintenance {
    /// Works until told to stop.
    pub(super) fn run(self) {
        let mut compactor = Compactor::new(self.keep);
        let tick = self.progress_interval.min(compactor.interval).max(Duration::from_millis(1));
        let mut next_tick = Instant::now() + tick;
        let mut next_progress = Instant::now() + self.progress_interval;
        loop {
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + tick;
                self.compact(&mut compactor, now);
            }
            if now >= next_progress {
                next_progress = now + self.progress_interval;
                self.shared.hub.progress(false);
            }
            match self.jobs.recv_timeout(next_tick.saturating_duration_since(now)) {
                Ok(Job::Sweep) => self.sweep(),
                Ok(Job::Snapshot { next, head }) => self.snapshot(next, &head),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn compact(&self, compactor: &mut Compactor, now: Instant) {
        let (current, compacted) = {
            let mvcc = self.shared.mvcc.read();
            (mvcc.current(), mvcc.compacted())
        };
        let due = compactor.observe(now, current).filter(|revision| *revision > compacted);
        if let Some(revision) = due {
            // Nobody waits for the answer; a failed log is reported by the committer.
            let (reply, _) = oneshot::channel();
            drop(self.requests.send(Request::Compact(revision, reply)));
        }
    }

    fn sweep(&self) {
        while !self.shared.mvcc.write().sweep(SWEEP_STEP) {
            std::thread::yield_now();
        }
    }

    fn snapshot(&self, next: u64, head: &Head) {
        match self.write_snapshot(next, head) {
            Ok(bytes) => {
                self.shared.snapshot_written(bytes);
                tracing::debug!(revision = head.revision, bytes, "wrote a snapshot");
            }
            // The log still holds everything; the next segment tries again.
            Err(error) => tracing::warn!(%error, "could not write a snapshot"),
        }
        self.shared.end_snapshot();
    }

    fn write_snapshot(&self, next: u64, head: &Head) -> io::Result<u64> {
        let dir = &self.shared.dir;
        let mut writer = Writer::create(dir, next, head)?;
        let mut start = Some(Bytes::new());
        while let Some(from) = start {
            let (keys, following) = self.shared.mvcc.read().dump(&from, DUMP_STEP, head.revision);
            writer.add(&keys)?;
            start = following;
        }
        let bytes = writer.finish()?;
        remove_before(dir, next)?;
        Ok(bytes)
    }
}

/// Decides when history is given up without being asked.
struct Compactor {
    rule: Rule,
    interval: Duration,
}

enum Rule {
    Never,
    Revisions(u64),
    Age(AgeSamples),
}

impl Compactor {
    fn new(keep: Keep) -> Self {
        match keep {
            Keep::Everything => Self { rule: Rule::Never, interval: Duration::from_secs(3600) },
            Keep::Revisions(count) => {
                Self { rule: Rule::Revisions(count), interval: Duration::from_secs(1) }
            }
            Keep::Age(age) => {
                let interval = age / SAMPLES_PER_AGE;
                Self { rule: Rule::Age(AgeSamples::new(age)), interval }
            }
        }
    }

    fn observe(&mut self, now: Instant, current: Revision) -> Option<Revision> {
        match &mut self.rule {
            Rule::Never => None,
            Rule::Revisions(count) => Some(current.saturating_sub(*count)),
            Rule::Age(samples) => samples.observe(now, current),
        }
    }
}
