//! What only the embedded engine can be asked: its files, its failures, its memory.

mod crash;
mod model;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;

use futures::{FutureExt, StreamExt};

use super::log::{Medium, numbered_files};
use super::*;
use crate::{Event, WatchItem};

fn quick() -> Options {
    Options { durable: false, keep: Keep::Everything, ..Options::default() }
}

fn open(dir: &Path) -> Engine {
    Engine::open(dir, quick()).unwrap()
}

async fn put(engine: &Engine, key: &str, value: &str) -> Revision {
    let value = Bytes::copy_from_slice(value.as_bytes());
    match engine.put(key.as_bytes(), value, Expect::Any, 0).await.unwrap() {
        Outcome::Committed { revision, .. } => revision,
        Outcome::Conflict { .. } => unreachable!("no expectation"),
    }
}

async fn contents(engine: &Engine) -> Vec<KeyValue> {
    engine.range(RangeQuery::default()).await.unwrap().kvs
}

async fn history(engine: &Engine, from: Revision) -> Vec<Event> {
    let mut watch = engine.watch(b"", Some(from)).await.unwrap();
    let mut events = Vec::new();
    while let Some(Some(Ok(WatchItem::Events(more)))) = watch.next().now_or_never_yielding().await {
        events.extend(more);
    }
    events
}

/// Polls a few times, as a replay yields between its steps.
trait NowOrNever: Future + Sized + Unpin {
    async fn now_or_never_yielding(mut self) -> Option<Self::Output> {
        for _ in 0..8 {
            if let Some(output) = (&mut self).now_or_never() {
                return Some(output);
            }
            tokio::task::yield_now().await;
        }
        None
    }
}

impl<F: Future + Sized + Unpin> NowOrNever for F {}

fn only_log(dir: &Path) -> PathBuf {
    let mut logs = numbered_files(dir, "log").unwrap();
    assert_eq!(logs.len(), 1);
    logs.remove(0).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_engine_passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { snapshot_log_bytes: 4 << 10, ..quick() };
    let engine = Engine::open(dir.path(), options).unwrap();
    crate::suite::run(Arc::new(engine)).await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let lease = engine.grant(Duration::from_secs(600)).await.unwrap();
    put(&engine, "/a", "1").await;
    put(&engine, "/a", "2").await;
    engine.put(b"/leased", "x".into(), Expect::Absent, lease).await.unwrap();
    put(&engine, "/gone", "x").await;
    engine.delete(b"/gone", Expect::Any).await.unwrap();
    let before = (contents(&engine).await, history(&engine, 2).await, engine.revision());
    assert_eq!(before.1.len(), 5);
    drop(engine);

    let engine = open(dir.path());
    let after = (contents(&engine).await, history(&engine, 2).await, engine.revision());
    assert_eq!(after, before);
    assert_eq!(engine.keep_alive(lease).await.unwrap(), Duration::from_secs(600));
    engine.revoke(lease).await.unwrap();
    assert_eq!(contents(&engine).await.len(), 1);
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let second = Engine::open(dir.path(), quick());
    assert!(matches!(second, Err(Error::Unavailable(why)) if why.contains("in use")));
    engine.close();
    assert!(matches!(engine.get(b"/a").await, Err(Error::Unavailable(_))));
    open(dir.path());
}

#[tokio::test]
async fn a_torn_tail_is_cut_at_every_byte_and_writing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, "/a", "first").await;
    drop(engine);
    let whole_first = fs::metadata(only_log(dir.path())).unwrap().len();
    let engine = open(dir.path());
    put(&engine, "/a", "second").await;
    drop(engine);
    let log = fs::read(only_log(dir.path())).unwrap();
    for cut in whole_first as usize..log.len() {
        fs::write(only_log(dir.path()), &log[..cut]).unwrap();
        let engine = open(dir.path());
        assert_eq!(contents(&engine).await[0].value, "first", "cut at {cut}");
        assert_eq!(put(&engine, "/a", "again").await, 3);
        drop(engine);
        assert_eq!(contents(&open(dir.path())).await[0].value, "again", "cut at {cut}");
    }
}

#[tokio::test]
async fn a_flipped_bit_is_reported_and_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for index in 0..4 {
        put(&engine, "/a", &index.to_string()).await;
    }
    drop(engine);
    let path = only_log(dir.path());
    let log = fs::read(&path).unwrap();
    for at in 0..log.len() {
        let mut damaged = log.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        let result = Engine::open(dir.path(), quick());
        assert!(matches!(result, Err(Error::Corrupt(_))), "byte {at}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "nothing was changed");
    }
}

#[tokio::test]
async fn a_lost_file_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Options { snapshot_log_bytes: 1, ..quick() }).unwrap();
    put(&engine, "/a", "1").await;
    snapshots_settle(&engine).await;
    drop(engine);
    let snapshot = numbered_files(dir.path(), "snapshot").unwrap().pop().unwrap().1;
    let log = numbered_files(dir.path(), "log").unwrap().pop().unwrap().1;
    for lost in [snapshot, log] {
        let content = fs::read(&lost).unwrap();
        fs::remove_file(&lost).unwrap();
        let result = Engine::open(dir.path(), quick());
        assert!(matches!(result, Err(Error::Corrupt(_))), "{}", lost.display());
        fs::write(&lost, content).unwrap();
    }
    assert_eq!(contents(&open(dir.path())).await.len(), 1);
}

async fn snapshots_settle(engine: &Engine) {
    while engine.shared.snapshot_running.load(Ordering::Acquire)
        || engine.shared.snapshot_bytes.load(Ordering::Relaxed) == 0
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn snapshots_bound_the_log_and_keep_history() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { snapshot_log_bytes: 16 << 10, keep: Keep::Revisions(20), ..quick() };
    let engine = Engine::open(dir.path(), options).unwrap();
    let lease = engine.grant(Duration::from_secs(600)).await.unwrap();
    let value = "x".repeat(1000);
    for index in 0..400 {
        put(&engine, &format!("/{}", index % 5), &value).await;
        if index % 50 == 0 {
            engine.compact(engine.revision().saturating_sub(10)).await.ok();
        }
    }
    // Without haste the log is never longer than a segment, however slow the snapshots were.
    for _ in 0..40 {
        snapshots_settle(&engine).await;
        put(&engine, "/0", &value).await;
    }
    snapshots_settle(&engine).await;
    assert!(engine.size_bytes().await.unwrap() < 200_000);
    let from = engine.revision() - 10;
    engine.compact(from).await.unwrap();
    let before = (contents(&engine).await, history(&engine, from).await);
    assert_eq!(before.1.len(), 11);
    drop(engine);
    let engine = open(dir.path());
    assert_eq!((contents(&engine).await, history(&engine, from).await), before);
    engine.keep_alive(lease).await.unwrap();
    assert!(matches!(engine.watch(b"", Some(from - 1)).await, Err(Error::Compacted { .. })));
}

#[tokio::test]
async fn history_is_compacted_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let interval = Duration::from_millis(5);
    let options = Options { keep: Keep::Revisions(10), progress_interval: interval, ..quick() };
    let engine = Engine::open(dir.path(), options).unwrap();
    for index in 0..100 {
        put(&engine, "/a", &index.to_string()).await;
    }
    while engine.shared.mvcc.read().version_count() > 12 {
        tokio::time::sleep(interval).await;
    }
    assert_eq!(history(&engine, engine.revision() - 10).await.len(), 11);
}

#[tokio::test]
async fn a_slow_watcher_is_cut_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Options { watch_buffer: 4, ..quick() }).unwrap();
    let mut slow = engine.watch(b"/", None).await.unwrap();
    let mut quick = engine.watch(b"/", None).await.unwrap();
    for index in 0..20 {
        put(&engine, "/a", &index.to_string()).await;
        assert!(matches!(quick.next().await, Some(Ok(WatchItem::Events(_)))));
    }
    let mut seen = 0;
    let error = loop {
        match slow.next().await.unwrap() {
            Ok(_) => seen += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(seen, 4);
    assert!(matches!(error, Error::Lagged(5)), "{error:?}");
    assert!(slow.next().await.is_none());
    let resumed = history(&engine, 6).await;
    assert_eq!(resumed.len(), 16);
}

#[tokio::test]
async fn watchers_learn_how_far_nothing_happened() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut watch = engine.watch(b"/mine/", None).await.unwrap();
    let revision = put(&engine, "/other", "x").await;
    engine.request_progress().await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), WatchItem::Progress(revision));
    drop(engine);
    let options = Options { progress_interval: Duration::from_millis(5), ..quick() };
    let engine = Engine::open(dir.path(), options).unwrap();
    let mut watch = engine.watch(b"/mine/", Some(2)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), WatchItem::Progress(revision));
    engine.close();
    assert!(matches!(watch.next().await, Some(Err(Error::Unavailable(_)))));
}

/// A disk that takes so many writes and then is full.
struct Full {
    left: usize,
}

impl Medium for Full {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn with_medium(dir: &Path, medium: impl Medium + 'static) -> Engine {
    let options = Options { durable: true, ..quick() };
    let tamper = |log: &mut Log| log.replace_medium(Box::new(medium));
    Engine::start_with(dir, options, None, tamper).unwrap()
}

#[tokio::test]
async fn a_full_disk_stops_writes_and_not_reads() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_medium(dir.path(), Full { left: 2 });
    let mut watch = engine.watch(b"/", None).await.unwrap();
    put(&engine, "/a", "1").await;
    put(&engine, "/a", "2").await;
    engine.health().await.unwrap();
    for _ in 0..3 {
        let refused = engine.put(b"/a", "3".into(), Expect::Any, 0).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    let refused = engine.grant(Duration::from_secs(5)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(matches!(engine.health().await, Err(Error::Unavailable(_))));
    assert_eq!(contents(&engine).await[0].value, "2");
    watch.next().await.unwrap().unwrap();
    watch.next().await.unwrap().unwrap();
    assert!(watch.next().now_or_never().is_none(), "nothing undurable is published");
}

/// A disk whose syncs wait for permission, and are counted.
struct Gate {
    permits: std::sync::mpsc::Receiver<()>,
    syncs: Arc<AtomicUsize>,
}

impl Medium for Gate {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.permits.recv().map_err(io::Error::other)
    }
}

#[tokio::test]
async fn waiting_writers_share_a_sync_and_readers_do_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (permit, permits) = channel();
    let syncs = Arc::new(AtomicUsize::new(0));
    let engine = Arc::new(with_medium(dir.path(), Gate { permits, syncs: syncs.clone() }));
    let write = |index: usize| {
        let engine = engine.clone();
        tokio::spawn(async move { put(&engine, &format!("/{index}"), "x").await })
    };
    let first = write(0);
    while syncs.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (1..=50).map(write).collect();
    tokio::task::yield_now().await;
    let (unsynced, revision) = engine.get(b"/0").await.unwrap();
    assert_eq!((unsynced, revision), (None, 1), "what is not durable is not there");
    permit.send(()).unwrap();
    assert_eq!(first.await.unwrap(), 2);
    permit.send(()).unwrap();
    for other in others {
        other.await.unwrap();
    }
    assert_eq!(syncs.load(Ordering::SeqCst), 2, "fifty writers, one sync");
    assert_eq!(contents(&engine).await.len(), 51);
}
