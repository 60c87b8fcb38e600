//! The versioned keys against a naive model: every state the store ever had, kept in full.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::lease::LeaseTable;
use super::super::mvcc::{FIRST_REVISION, Mvcc};
use super::super::stage::{Stage, Write};
use crate::{Error, Event, Expect, KeyValue, Outcome, Revision};

type State = BTreeMap<Bytes, KeyValue>;

/// State and events of each revision, beginning with the empty store's.
struct Model {
    states: Vec<State>,
    events: Vec<Option<Event>>,
    compacted: Revision,
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Expectation),
    Delete(u8, Expectation),
    Compact(u64),
    Sweep(usize),
    Restore,
}

#[derive(Clone, Copy, Debug)]
enum Expectation {
    Any,
    Absent,
    Right,
    Wrong,
}

impl Model {
    fn new() -> Self {
        Self { states: vec![State::new()], events: vec![None], compacted: 0 }
    }

    fn current(&self) -> Revision {
        FIRST_REVISION + self.states.len() as u64 - 1
    }

    fn state(&self, revision: Revision) -> &State {
        &self.states[(revision - FIRST_REVISION) as usize]
    }

    fn write(&mut self, key: &Bytes, put: Option<Bytes>, expect: Expect) -> Outcome {
        let mut state = self.states.last().unwrap().clone();
        let current = state.get(key).cloned();
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => current.is_none(),
            Expect::Revision(revision) => {
                current.as_ref().map(|kv| kv.mod_revision) == Some(revision)
            }
        };
        if !holds || (put.is_none() && current.is_none()) {
            return Outcome::Conflict { current };
        }
        let revision = self.current() + 1;
        self.events.push(Some(match put {
            Some(value) => {
                let kv = KeyValue {
                    key: key.clone(),
                    value,
                    create_revision: current.as_ref().map_or(revision, |kv| kv.create_revision),
                    mod_revision: revision,
                    version: current.as_ref().map_or(0, |kv| kv.version) + 1,
                    lease: 0,
                };
                state.insert(key.clone(), kv.clone());
                Event::Put { kv, previous: current.clone() }
            }
            None => Event::Delete { previous: state.remove(key).unwrap(), revision },
        }));
        self.states.push(state);
        Outcome::Committed { revision, previous: current }
    }
}

fn write(mvcc: &mut Mvcc, write: Write) -> Outcome {
    let mut leases = LeaseTable::default();
    let mut stage = Stage::new(mvcc, &mut leases, Instant::now(), Vec::new());
    let outcome = stage.write(write).unwrap();
    let staged = stage.finish();
    staged.commits.iter().for_each(|commit| mvcc.apply(commit));
    outcome
}

fn restored(mvcc: &Mvcc) -> Mvcc {
    let (mut keys, mut start) = (BTreeMap::new(), Some(Bytes::new()));
    while let Some(from) = start {
        let (some, next) = mvcc.dump(&from, 2, mvcc.current());
        keys.extend(some);
        start = next;
    }
    Mvcc::restore(keys, mvcc.current(), mvcc.compacted()).unwrap()
}

fn step(mvcc: &mut Mvcc, model: &mut Model, step: Step, count: usize) {
    match step {
        Step::Put(key, expectation) => {
            both(mvcc, model, key, Some(Bytes::from(count.to_string())), expectation);
        }
        Step::Delete(key, expectation) => both(mvcc, model, key, None, expectation),
        Step::Compact(back) => {
            let revision = model.current().saturating_sub(back);
            let allowed = revision > model.compacted;
            assert_eq!(mvcc.check_compact(revision).is_ok(), allowed);
            if allowed {
                mvcc.compact(revision);
                model.compacted = revision;
            }
        }
        Step::Sweep(revisions) => drop(mvcc.sweep(revisions)),
        Step::Restore => *mvcc = restored(mvcc),
    }
}

fn both(mvcc: &mut Mvcc, model: &mut Model, key: u8, put: Option<Bytes>, how: Expectation) {
    let key = Bytes::from(format!("/{}/{}", key % 2, key));
    let there = mvcc.latest(&key).map_or(0, |kv| kv.mod_revision);
    let expect = match how {
        Expectation::Any => Expect::Any,
        Expectation::Absent => Expect::Absent,
        Expectation::Right => Expect::Revision(there),
        Expectation::Wrong => Expect::Revision(there + 1),
    };
    let asked = Write { key: key.clone(), put: put.clone().map(|value| (value, 0)), expect };
    assert_eq!(write(mvcc, asked), model.write(&key, put, expect));
}

fn compare(mvcc: &Mvcc, model: &Model) {
    assert_eq!(mvcc.current(), model.current());
    for revision in FIRST_REVISION..=model.current() {
        for prefix in [&b""[..], b"/0/", b"/1/"] {
            compare_at(mvcc, model, prefix, revision);
        }
    }
    let ahead = mvcc.page(b"", b"", (9, 9), model.current() + 1);
    assert!(matches!(ahead, Err(Error::Future { .. })));
}

fn compare_at(mvcc: &Mvcc, model: &Model, prefix: &[u8], revision: Revision) {
    let page = mvcc.page(prefix, prefix, (usize::MAX, usize::MAX), revision);
    let commits = mvcc.commits(prefix, revision, model.current());
    if revision < model.compacted {
        assert!(matches!(page, Err(Error::Compacted { .. })), "{page:?}");
        assert!(matches!(commits, Err(Error::Compacted { .. })), "{commits:?}");
        return;
    }
    let expected = model.state(revision).values().filter(|kv| kv.key.starts_with(prefix));
    let expected: Vec<_> = expected.cloned().collect();
    let count = mvcc.count(prefix, prefix, usize::MAX, revision).unwrap().0;
    assert_eq!(count as usize, expected.len());
    assert_eq!(page.unwrap().kvs, expected, "at {revision}");
    let events = model.events[(revision - FIRST_REVISION) as usize..].iter().flatten();
    let events: Vec<_> = events.filter(|event| key(event).starts_with(prefix)).collect();
    let found: Vec<_> = commits.unwrap().into_iter().flat_map(|commit| commit.events).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), events, "from {revision}");
}

fn key(event: &Event) -> &Bytes {
    match event {
        Event::Put { kv, .. } => &kv.key,
        Event::Delete { previous, .. } => &previous.key,
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Expectation::{Absent, Any, Right, Wrong};
    let how = || prop_oneof![3 => Just(Any), 1 => Just(Absent), 2 => Just(Right), 1 => Just(Wrong)];
    let step = prop_oneof![
        8 => (0..6u8, how()).prop_map(|(key, how)| Step::Put(key, how)),
        5 => (0..6u8, how()).prop_map(|(key, how)| Step::Delete(key, how)),
        1 => (0..8u64).prop_map(Step::Compact),
        1 => (0..5usize).prop_map(Step::Sweep),
        1 => Just(Step::Restore),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_reads_back_as_the_model_says(steps in steps()) {
        let (mut mvcc, mut model) = (Mvcc::default(), Model::new());
        for (count, next) in steps.into_iter().enumerate() {
            step(&mut mvcc, &mut model, next, count);
        }
        compare(&mvcc, &model);
        mvcc.sweep(usize::MAX);
        compare(&mvcc, &model);
        compare(&restored(&mvcc), &model);
    }
}
