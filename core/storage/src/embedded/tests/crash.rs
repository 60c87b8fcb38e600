//! Kills a writing process again and again, and holds what it acknowledged against what is found.
//!
//! The child is this test binary, called for `child` alone. It says on its standard output what it
//! tries and what was acknowledged; what it said before it was killed is still in the pipe.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::executor::block_on;

use super::super::{Engine, Keep, Options};
use crate::{Error, Event, Expect, Outcome, RangeQuery, Revision, Storage, WatchItem};

const DIRECTORY: &str = "HANSA_CRASH_CHILD_DIRECTORY";
const WRITERS: usize = 4;

/// A key and what it became; nothing when it was deleted.
type Change = (String, Option<String>);

fn options() -> Options {
    // Small, so that rounds also hit segment changes, snapshots and compactions.
    Options { snapshot_log_bytes: 96 << 10, keep: Keep::Everything, ..Options::default() }
}

#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let engine = Arc::new(Engine::open(Path::new(&dir), options()).unwrap());
    let seed: u64 = rand::random();
    let work = |writer| {
        let engine = engine.clone();
        move || write_forever(&engine, writer, seed)
    };
    let threads: Vec<_> = (0..WRITERS).map(|writer| std::thread::spawn(work(writer))).collect();
    compact_forever(&engine);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

fn write_forever(engine: &Engine, writer: usize, seed: u64) {
    for count in 0_usize.. {
        let key = format!("/{writer}/{}", count % 7);
        let value = format!("{seed:x}-{count}-{}", "x".repeat(count * 37 % 900));
        let outcome = if count % 5 == 4 {
            say(&format!("try {key} -"));
            block_on(engine.delete(key.as_bytes(), Expect::Any)).unwrap()
        } else {
            say(&format!("try {key} {value}"));
            block_on(engine.put(key.as_bytes(), value.clone().into(), Expect::Any, 0)).unwrap()
        };
        if let Outcome::Committed { revision, .. } = outcome {
            let value = if count % 5 == 4 { "-" } else { &value };
            say(&format!("ack {key} {value} {revision}"));
        }
    }
}

fn compact_forever(engine: &Engine) {
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let current = block_on(engine.current_revision()).unwrap();
        // Far enough back that the rounds' last writes are never among it.
        drop(block_on(engine.compact(current.saturating_sub(300).max(1))));
    }
}

/// What the parent knows over all rounds.
#[derive(Default)]
struct Known {
    /// Each revision's change, acknowledged or found.
    changes: BTreeMap<Revision, Change>,
    tried: HashSet<Change>,
    /// Lines that a child wrote after its death was decided.
    killed_in_the_middle: usize,
}

#[test]
fn killed_in_the_middle_of_writes_it_loses_and_invents_nothing() {
    let rounds = std::env::var("HANSA_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let dir = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    for _ in 0..rounds.unwrap_or(30) {
        known.run_and_kill(dir.path());
        block_on(known.check(dir.path()));
    }
    assert!(known.killed_in_the_middle > 0, "no round killed a child that was writing");
}

/// The next line, unless the pipe ends before the line does.
fn whole_line(lines: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line.ends_with('\n').then(|| line.trim_end().to_owned())
}

impl Known {
    fn run_and_kill(&mut self, dir: &Path) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::crash::child", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let acknowledgements = rand::random_range(1..400);
        let mut acknowledged = 0;
        while acknowledged < acknowledgements {
            let line = whole_line(&mut lines).expect("the child writes until it is killed");
            acknowledged += usize::from(self.learn(&line));
        }
        child.kill().unwrap();
        while let Some(line) = whole_line(&mut lines) {
            self.killed_in_the_middle += 1;
            self.learn(&line);
        }
        child.wait().unwrap();
    }

    /// Takes one line of the child's; true for an acknowledgement.
    fn learn(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let change = |key: &str, value: &str| {
            (key.to_string(), Some(value.to_string()).filter(|value| value != "-"))
        };
        match words[..] {
            ["try", key, value] => drop(self.tried.insert(change(key, value))),
            ["ack", key, value, revision] => {
                let revision = revision.parse().unwrap();
                let twice = self.changes.insert(revision, change(key, value));
                assert_eq!(twice, None, "revision {revision} was given twice");
                return true;
            }
            _ => {}
        }
        false
    }

    async fn check(&mut self, dir: &Path) {
        let engine = Engine::open(dir, options()).unwrap();
        let current = engine.current_revision().await.unwrap();
        let last = self.changes.keys().next_back().copied().unwrap_or(1);
        assert!(current >= last, "revision {last} was acknowledged, and the store is at {current}");
        let first = self.check_history(&engine, current).await;
        let old: Vec<_> = self.changes.keys().copied().take_while(|r| *r < first).collect();
        assert!(old.iter().copied().eq(2..first), "an unacknowledged write was compacted");
        assert!(self.changes.keys().copied().eq(2..=current), "an acknowledged write is lost");
        self.check_contents(&engine).await;
    }

    /// Replays what is left of history; returns where it begins.
    async fn check_history(&mut self, engine: &Engine, current: Revision) -> Revision {
        let (first, mut watch) = match engine.watch(b"", Some(2)).await {
            Ok(watch) => (2, watch),
            Err(Error::Compacted { compacted, .. }) => {
                (compacted, engine.watch(b"", Some(compacted)).await.unwrap())
            }
            Err(error) => panic!("{error}"),
        };
        for revision in first.max(2)..=current {
            let Some(Ok(WatchItem::Events(events))) = watch.next().await else {
                panic!("history ends before {revision}");
            };
            let [event] = &events[..] else { panic!("{events:?}") };
            self.check_event(revision, event);
        }
        first.max(2)
    }

    fn check_event(&mut self, revision: Revision, event: &Event) {
        let (found, change) = match event {
            Event::Put { kv, .. } => (kv.mod_revision, (text(&kv.key), Some(text(&kv.value)))),
            Event::Delete { previous, revision } => (*revision, (text(&previous.key), None)),
        };
        assert_eq!(found, revision);
        match self.changes.get(&revision) {
            Some(known) => assert_eq!(&change, known, "revision {revision} has changed"),
            None => {
                assert!(
                    self.tried.contains(&change),
                    "revision {revision} is invented: {change:?}"
                );
                self.changes.insert(revision, change);
            }
        }
    }

    async fn check_contents(&self, engine: &Engine) {
        let mut expected = BTreeMap::new();
        for (key, value) in self.changes.values() {
            match value {
                Some(value) => drop(expected.insert(key.clone(), value.clone())),
                None => drop(expected.remove(key)),
            }
        }
        let found = engine.range(RangeQuery::default()).await.unwrap().kvs;
        let found: BTreeMap<_, _> =
            found.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect();
        assert_eq!(found, expected);
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
