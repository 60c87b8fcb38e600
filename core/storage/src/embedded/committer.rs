//! The one writer: judges the requests that wait, appends them as one frame, syncs once, makes them
//! visible, tells the watchers, answers.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use tokio::sync::oneshot;

use super::Shared;
use super::frame;
use super::lease::MAX_TTL_SECS;
use super::log::Log;
use super::maintenance::Job;
use super::snapshot::Head;
use super::stage::{Stage, Staged, Write};
use crate::{Error, LeaseId, Outcome, Revision};

/// Requests that share one sync, at most.
const BATCH_REQUESTS: usize = 2048;
/// A batch is closed when its payload has so many bytes.
const BATCH_BYTES: usize = 8 << 20;
/// A buffer that a large value has grown beyond this is given back.
const KEEP_BUFFER_BYTES: usize = 16 << 20;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the committer is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    Write(Write, Reply<Outcome>),
    Grant(u64, Reply<LeaseId>),
    Revoke(LeaseId, Reply<()>),
    Compact(Revision, Reply<()>),
    Stop,
}

/// An answer that waits for the sync.
enum Answer {
    Write(Reply<Outcome>, Result<Outcome, Error>),
    Grant(Reply<LeaseId>, Result<LeaseId, Error>),
    Done(Reply<()>, Result<(), Error>),
}

impl Answer {
    /// Who asked may be gone: the work is done all the same.
    fn send(self) {
        match self {
            Self::Write(reply, answer) => drop(reply.send(answer)),
            Self::Grant(reply, answer) => drop(reply.send(answer)),
            Self::Done(reply, answer) => drop(reply.send(answer)),
        }
    }

    fn fail(self, why: &str) {
        let error = Error::Unavailable(why.into());
        match self {
            Self::Write(reply, _) => drop(reply.send(Err(error))),
            Self::Grant(reply, _) => drop(reply.send(Err(error))),
            Self::Done(reply, _) => drop(reply.send(Err(error))),
        }
    }
}

/// The committer's own state.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) log: Log,
    pub(super) requests: Receiver<Request>,
    pub(super) jobs: Sender<Job>,
    pub(super) buffer: Vec<u8>,
}

impl Committer {
    /// Works until told to stop.
    pub(super) fn run(mut self) {
        loop {
            let (requests, stop) = self.wait();
            self.commit(requests);
            self.roll_if_due();
            if stop {
                return;
            }
        }
    }

    /// The requests that are there, or none when a lease has ended first.
    fn wait(&self) -> (Vec<Request>, bool) {
        let deadline = self.shared.leases.lock().next_deadline();
        let first = match deadline {
            Some(deadline) => {
                self.requests.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            }
            None => self.requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let mut requests = match first {
            Ok(request) => vec![request],
            Err(RecvTimeoutError::Timeout) => return (Vec::new(), false),
            Err(RecvTimeoutError::Disconnected) => return (Vec::new(), true),
        };
        let mut bytes = weight(&requests[0]);
        while bytes < BATCH_BYTES && requests.len() < BATCH_REQUESTS {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            bytes += weight(&request);
            requests.push(request);
        }
        let stop = requests.iter().any(|request| matches!(request, Request::Stop));
        (requests, stop)
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let (mut staged, answers) = self.stage(requests);
        let written = self.write(&mut staged.payload);
        self.buffer = std::mem::take(&mut staged.payload);
        match written {
            Ok(()) => {
                self.publish(staged);
                answers.into_iter().for_each(Answer::send);
            }
            Err(why) => answers.into_iter().for_each(|answer| answer.fail(&why)),
        }
        if self.buffer.capacity() > KEEP_BUFFER_BYTES {
            self.buffer = Vec::new();
        }
    }

    fn stage(&mut self, requests: Vec<Request>) -> (Staged, Vec<Answer>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        frame::begin(&mut buffer);
        let mvcc = self.shared.mvcc.read();
        let mut leases = self.shared.leases.lock();
        let mut stage = Stage::new(&mvcc, &mut leases, Instant::now(), buffer);
        stage.expire();
        let answers = requests.into_iter().filter_map(|request| judge(&mut stage, request));
        let answers = answers.collect();
        (stage.finish(), answers)
    }

    /// Makes a frame durable. After a failure nothing is known about the file's end, so nothing is
    /// ever written again: reading goes on, writing answers why not.
    fn write(&mut self, frame: &mut [u8]) -> Result<(), String> {
        if let Some(why) = self.shared.failed.get() {
            return Err(why.clone());
        }
        if frame.len() == frame::HEADER_LEN {
            return Ok(());
        }
        self.log.append(frame).map_err(|error| self.fail(&error))?;
        self.shared.set_log_bytes(self.log.segment_bytes());
        Ok(())
    }

    fn publish(&self, staged: Staged) {
        let Staged { commits, compact, .. } = staged;
        if !commits.is_empty() {
            self.shared.hub.publish(commits.into(), |commits| {
                let mut mvcc = self.shared.mvcc.write();
                commits.iter().for_each(|commit| mvcc.apply(commit));
            });
        }
        if let Some(revision) = compact {
            self.shared.mvcc.write().compact(revision);
            self.send_job(Job::Sweep);
        }
    }

    /// Begins a new segment when this one is large, and has the state before it written down.
    fn roll_if_due(&mut self) {
        let due = self.log.segment_bytes() >= self.shared.snapshot_threshold();
        if !due || self.shared.failed.get().is_some() || !self.shared.begin_snapshot() {
            return;
        }
        match self.log.roll() {
            Ok(Some(next)) => {
                self.shared.segment_rolled();
                self.send_job(Job::Snapshot { next, head: self.head() });
            }
            Ok(None) => self.shared.end_snapshot(),
            Err(error) => {
                self.fail(&error);
                self.shared.end_snapshot();
            }
        }
    }

    /// From now on nothing is written.
    fn fail(&self, error: &io::Error) -> String {
        tracing::error!(%error, "stopped accepting writes: the log cannot be written");
        let why = format!("the log cannot be written: {error}");
        self.shared.failed.get_or_init(|| why).clone()
    }

    fn head(&self) -> Head {
        let mvcc = self.shared.mvcc.read();
        let leases = self.shared.leases.lock().list();
        Head { revision: mvcc.current(), compacted: mvcc.compacted(), leases }
    }

    fn send_job(&self, job: Job) {
        self.jobs.send(job).expect("maintenance outlives the committer");
    }
}

fn weight(request: &Request) -> usize {
    match request {
        Request::Write(Write { put: Some((value, _)), .. }, _) => value.len(),
        _ => 0,
    }
}

fn judge(stage: &mut Stage<'_>, request: Request) -> Option<Answer> {
    match request {
        Request::Write(write, reply) if too_large(stage, &write) => {
            let why = format!("{} bytes are too many for one value", write_len(&write));
            Some(Answer::Write(reply, Err(Error::Unavailable(why))))
        }
        Request::Write(write, reply) => Some(Answer::Write(reply, stage.write(write))),
        Request::Grant(ttl_secs, reply) => {
            let lease = rand::random_range(1..LeaseId::MAX);
            stage.grant(lease, ttl_secs.clamp(1, MAX_TTL_SECS));
            Some(Answer::Grant(reply, Ok(lease)))
        }
        Request::Revoke(lease, reply) => Some(Answer::Done(reply, stage.revoke(lease))),
        Request::Compact(revision, reply) => Some(Answer::Done(reply, stage.compact(revision))),
        Request::Stop => None,
    }
}

fn write_len(write: &Write) -> usize {
    write.key.len() + write.put.as_ref().map_or(0, |(value, _)| value.len())
}

fn too_large(stage: &Stage<'_>, write: &Write) -> bool {
    stage.payload_len() + write_len(write) > frame::MAX_PAYLOAD - BATCH_BYTES
}
