//! Opens a data directory: finds the newest snapshot, replays the log after it, cuts a torn tail.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::codec;
use super::frame::{self, Tail};
use super::lease::LeaseTable;
use super::log::{Log, create_segment, numbered_files, segment_path};
use super::mvcc::Mvcc;
use super::snapshot;
use super::stage::Stage;
use crate::Error;

/// What a data directory holds, ready to go on.
pub(super) struct Recovered {
    pub(super) mvcc: Mvcc,
    pub(super) leases: LeaseTable,
    pub(super) log: Log,
    /// Size of the newest snapshot in bytes, 0 for none.
    pub(super) snapshot_bytes: u64,
    pub(super) log_bytes: u64,
}

/// Takes the directory for this process; the lock goes with the file, also when killed.
pub(super) fn lock(dir: &Path) -> Result<File, Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600);
    let file = file.open(dir.join("LOCK"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::Unavailable(format!("{} is in use by another process", dir.display())))
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Rebuilds the state of `dir`, whose lock the caller holds.
pub(super) fn recover(dir: &Path, durable: bool) -> Result<Recovered, Error> {
    remove_temporary(dir)?;
    let (base, mut state) = load_snapshot(dir)?;
    remove_before(dir, base)?;
    let segments = segments(dir, base, state.snapshot_bytes > 0)?;
    let mut next = base;
    let mut last = (PathBuf::new(), 0);
    for (index, (first, path)) in segments.iter().enumerate() {
        if *first != next {
            return Err(corrupt(path, &format!("frame {next} expected, found {first}")));
        }
        let is_last = index + 1 == segments.len();
        let (frames, bytes) = state.replay_segment(path, next, is_last)?;
        next += frames;
        state.log_bytes += bytes;
        last = (path.clone(), bytes);
    }
    while !state.mvcc.sweep(usize::MAX) {}
    let log = Log::open(dir, &last.0, last.1, next, durable)?;
    let State { mvcc, leases, snapshot_bytes, log_bytes } = state;
    Ok(Recovered { mvcc, leases, log, snapshot_bytes, log_bytes })
}

#[derive(Default)]
struct State {
    mvcc: Mvcc,
    leases: LeaseTable,
    snapshot_bytes: u64,
    log_bytes: u64,
}

/// The newest snapshot, and the number of the first log frame that it does not contain.
fn load_snapshot(dir: &Path) -> Result<(u64, State), Error> {
    let Some((base, path)) = numbered_files(dir, "snapshot")?.pop() else {
        return Ok((1, State::default()));
    };
    let (head, keys) = snapshot::read(&path)?;
    let mvcc =
        Mvcc::restore(keys, head.revision, head.compacted).map_err(|why| corrupt(&path, &why))?;
    let mut leases = LeaseTable::default();
    let now = Instant::now();
    head.leases.iter().for_each(|(id, ttl_secs)| leases.grant(*id, *ttl_secs, now));
    mvcc.leased().for_each(|(key, id)| leases.attach(id, key));
    let snapshot_bytes = fs::metadata(&path)?.len();
    Ok((base, State { mvcc, leases, snapshot_bytes, log_bytes: 0 }))
}

/// The segments from `base` on. A snapshot is only written after its segment was begun.
fn segments(dir: &Path, base: u64, snapshot: bool) -> Result<Vec<(u64, PathBuf)>, Error> {
    let found = numbered_files(dir, "log")?;
    if !found.is_empty() {
        return Ok(found);
    }
    if snapshot {
        return Err(Error::Corrupt(format!("the log from frame {base} on is missing")));
    }
    create_segment(dir, base)?;
    Ok(vec![(base, segment_path(dir, base))])
}

impl State {
    /// Replays one segment; returns how many frames and bytes of it are good.
    fn replay_segment(
        &mut self,
        path: &Path,
        first: u64,
        is_last: bool,
    ) -> Result<(u64, u64), Error> {
        let data = fs::read(path)?;
        let scan = frame::scan(&data, frame::LOG_MAGIC, first);
        match scan.tail {
            Tail::Clean => {}
            Tail::Torn if is_last => {}
            Tail::Torn => return Err(corrupt(path, "it ends early")),
            Tail::Corrupt(why) => return Err(corrupt(path, &why)),
        }
        for payload in &scan.payloads {
            self.replay_frame(&data[payload.clone()]).map_err(|why| corrupt(path, &why))?;
        }
        if is_last {
            settle(path, scan.end, data.len())?;
        }
        Ok((scan.payloads.len() as u64, scan.end as u64))
    }

    fn replay_frame(&mut self, payload: &[u8]) -> Result<(), String> {
        let entries = codec::decode_all(payload).map_err(|error| error.to_string())?;
        let mut stage = Stage::new(&self.mvcc, &mut self.leases, Instant::now(), Vec::new());
        for entry in entries {
            stage.replay(entry)?;
        }
        let staged = stage.finish();
        staged.commits.iter().for_each(|commit| self.mvcc.apply(commit));
        staged.compact.into_iter().for_each(|revision| self.mvcc.compact(revision));
        Ok(())
    }
}

/// Cuts what a crash left of the frame it interrupted, and makes durable what is served from now
/// on: the last whole frame may have been written, but never synced.
fn settle(path: &Path, end: usize, length: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if end < length {
        tracing::warn!(
            segment = %path.display(), from = end, bytes = length - end,
            "cut an unfinished write from the end of the log"
        );
        file.set_len(end as u64)?;
    }
    file.sync_all()
}

fn remove_temporary(dir: &Path) -> io::Result<()> {
    numbered_files(dir, "tmp")?.into_iter().try_for_each(|(_, path)| fs::remove_file(path))
}

/// Removes the segments and snapshots that the snapshot `base` makes superfluous.
pub(super) fn remove_before(dir: &Path, base: u64) -> io::Result<()> {
    let (logs, snapshots) = (numbered_files(dir, "log")?, numbered_files(dir, "snapshot")?);
    let old = logs.into_iter().chain(snapshots).filter(|(number, _)| *number < base);
    old.into_iter().try_for_each(|(_, path)| fs::remove_file(path))
}

fn corrupt(path: &Path, why: &str) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Error::Corrupt(format!("{name}: {why}"))
}
