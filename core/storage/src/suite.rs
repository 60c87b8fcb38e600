//! The behaviour suite: what every backend of [`Storage`] has to do, whoever implements it.
//!
//! Call [`run`] with a store; it panics with the name of the first case that fails. The cases use
//! their own keys and compare revisions only with ones they have seen, so the store may be in use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};

use crate::{
    Error, Event, Expect, KeyValue, LeaseId, Outcome, RangeQuery, RangeResult, Revision, Storage,
    WatchItem, WatchStream,
};

/// Longer than any backend needs for anything here; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

type Case = fn(Space) -> BoxFuture<'static, ()>;

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        const CASES: &[(&str, Case)] = &[$((stringify!($name), |space| Box::pin($name(space)))),*];
    };
}

cases![
    a_key_lives_and_dies,
    a_write_whose_expectation_fails_changes_nothing,
    keys_and_values_are_any_bytes,
    ranges_are_ordered_and_bounded,
    pages_cover_everything_once,
    a_range_at_a_revision_is_a_snapshot,
    a_revision_to_come_is_refused,
    counters_lose_no_increment,
    one_of_many_creators_wins,
    a_watch_sees_changes_in_order,
    a_watch_from_now_sees_nothing_older,
    a_watch_from_the_past_goes_live_without_gap,
    a_lease_takes_its_keys_along,
    a_lease_lets_go_of_rewritten_keys,
    an_unknown_lease_is_refused,
    a_lease_expires,
    compaction_gives_up_history_only,
    the_store_is_healthy,
];

/// Runs all cases against one store, one after the other.
pub async fn run(store: Arc<dyn Storage>) {
    for (index, (name, case)) in CASES.iter().enumerate() {
        println!("storage suite: {}", name.replace('_', " "));
        let prefix = format!("/suite/{}-{index}/", std::process::id());
        let running = tokio::spawn(case(Space { store: store.clone(), prefix }));
        match tokio::time::timeout(PATIENCE, running).await {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => panic!("storage suite: {name} failed: {panic}"),
            Err(_) => panic!("storage suite: {name} hangs"),
        }
    }
}

/// A store and the keys that one case has for itself.
#[derive(Clone)]
struct Space {
    store: Arc<dyn Storage>,
    prefix: String,
}

impl Space {
    fn key(&self, name: &str) -> Bytes {
        format!("{}{name}", self.prefix).into()
    }

    fn name(&self, key: &[u8]) -> String {
        String::from_utf8_lossy(&key[self.prefix.len()..]).into_owned()
    }

    async fn try_put(&self, name: &str, value: &str, expect: Expect) -> Outcome {
        let value = Bytes::copy_from_slice(value.as_bytes());
        self.store.put(&self.key(name), value, expect, 0).await.expect("an answer")
    }

    async fn put(&self, name: &str, value: &str) -> Revision {
        committed(self.try_put(name, value, Expect::Any).await).0
    }

    async fn put_leased(&self, name: &str, lease: LeaseId) -> Result<Outcome, Error> {
        self.store.put(&self.key(name), "leased".into(), Expect::Any, lease).await
    }

    async fn delete(&self, name: &str, expect: Expect) -> Outcome {
        self.store.delete(&self.key(name), expect).await.expect("an answer")
    }

    async fn get(&self, name: &str) -> Option<KeyValue> {
        self.store.get(&self.key(name)).await.expect("an answer").0
    }

    async fn range(&self, query: RangeQuery) -> Result<RangeResult, Error> {
        let prefix = Bytes::from(self.prefix.clone());
        self.store.range(RangeQuery { prefix, ..query }).await
    }

    async fn contents(&self, revision: Option<Revision>) -> Vec<(String, String)> {
        let found =
            self.range(RangeQuery { revision, ..RangeQuery::default() }).await.expect("an answer");
        found.kvs.iter().map(|kv| (self.name(&kv.key), text(&kv.value))).collect()
    }

    async fn watch(&self, from: Option<Revision>) -> WatchStream {
        self.store.watch(self.prefix.as_bytes(), from).await.expect("an answer")
    }
}

fn committed(outcome: Outcome) -> (Revision, Option<KeyValue>) {
    match outcome {
        Outcome::Committed { revision, previous } => (revision, previous),
        Outcome::Conflict { current } => panic!("unexpected conflict with {current:?}"),
    }
}

fn conflict(outcome: Outcome) -> Option<KeyValue> {
    match outcome {
        Outcome::Conflict { current } => current,
        Outcome::Committed { revision, .. } => panic!("unexpected commit {revision}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pairs(items: &[(&str, &str)]) -> Vec<(String, String)> {
    items.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// The events of the next revision; progress is passed over.
async fn next_events(watch: &mut WatchStream) -> Vec<Event> {
    loop {
        let item = watch.next().await.expect("a watch ends with an error").expect("an answer");
        if let WatchItem::Events(events) = item {
            return events;
        }
    }
}

async fn next_event(watch: &mut WatchStream) -> Event {
    let mut events = next_events(watch).await;
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

fn revision_of(event: &Event) -> Revision {
    match event {
        Event::Put { kv, .. } => kv.mod_revision,
        Event::Delete { revision, .. } => *revision,
    }
}

async fn a_key_lives_and_dies(space: Space) {
    assert_eq!(space.get("a").await, None);
    let (first, previous) = committed(space.try_put("a", "1", Expect::Absent).await);
    assert_eq!(previous, None);
    let created = space.get("a").await.expect("an answer");
    let expected = (&b"1"[..], first, first, 1, 0);
    let found = |kv: &KeyValue| (kv.create_revision, kv.mod_revision, kv.version, kv.lease);
    assert_eq!((&created.value[..], found(&created)), (expected.0, (first, first, 1, 0)));

    let (second, previous) = committed(space.try_put("a", "2", Expect::Revision(first)).await);
    assert!(second > first);
    assert_eq!(previous, Some(created));
    let changed = space.get("a").await.expect("an answer");
    assert_eq!(found(&changed), (first, second, 2, 0));

    let (third, previous) = committed(space.delete("a", Expect::Revision(second)).await);
    assert!(third > second);
    assert_eq!(previous, Some(changed));
    let (gone, revision) = space.store.get(&space.key("a")).await.expect("an answer");
    assert!(gone.is_none() && revision >= third);

    let fourth = space.put("a", "4").await;
    assert_eq!(found(&space.get("a").await.expect("an answer")), (fourth, fourth, 1, 0));
}

async fn a_write_whose_expectation_fails_changes_nothing(space: Space) {
    let first = space.put("a", "1").await;
    let there = space.get("a").await;
    let before = space.store.current_revision().await.expect("an answer");
    assert_eq!(conflict(space.try_put("a", "x", Expect::Absent).await), there);
    assert_eq!(conflict(space.try_put("a", "x", Expect::Revision(first - 1)).await), there);
    assert_eq!(conflict(space.try_put("a", "x", Expect::Revision(0)).await), there);
    assert_eq!(conflict(space.delete("a", Expect::Revision(first + 1)).await), there);
    assert_eq!(conflict(space.delete("a", Expect::Absent).await), there);
    assert_eq!(conflict(space.try_put("b", "x", Expect::Revision(first)).await), None);
    assert_eq!(conflict(space.try_put("b", "x", Expect::Revision(0)).await), None);
    assert_eq!(conflict(space.delete("b", Expect::Any).await), None);
    assert_eq!(conflict(space.delete("b", Expect::Absent).await), None);
    assert_eq!(conflict(space.delete("b", Expect::Revision(0)).await), None);
    assert_eq!(space.contents(None).await, pairs(&[("a", "1")]));
    assert_eq!(space.store.current_revision().await.expect("an answer"), before);
}

async fn keys_and_values_are_any_bytes(space: Space) {
    let key = [space.prefix.as_bytes(), &[0, 255, 128]].concat();
    let values = [Bytes::new(), Bytes::from(vec![0, 255, 10]), Bytes::from(vec![7; 1 << 20])];
    for value in values {
        space.store.put(&key, value.clone(), Expect::Any, 0).await.expect("an answer");
        let (found, _) = space.store.get(&key).await.expect("an answer");
        let found = found.expect("an answer");
        assert_eq!((&found.key[..], found.value), (&key[..], value));
    }
    assert_eq!(space.store.count(&key).await.expect("an answer"), 1);
}

async fn ranges_are_ordered_and_bounded(space: Space) {
    for name in ["b/2", "a", "b/10", "b0", "c", "b"] {
        space.put(name, name).await;
    }
    committed(space.delete("c", Expect::Any).await);
    let all: Vec<String> = space.contents(None).await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(all, ["a", "b", "b/10", "b/2", "b0"]);
    let query = RangeQuery { prefix: space.key("b/"), ..RangeQuery::default() };
    let inner = space.store.range(query).await.expect("an answer");
    let names: Vec<_> = inner.kvs.iter().map(|kv| space.name(&kv.key)).collect();
    assert_eq!((names, inner.more, inner.remaining), (vec!["b/10".into(), "b/2".into()], false, 0));
    assert_eq!(space.store.count(&space.key("b")).await.expect("an answer"), 4);
    assert_eq!(space.store.count(&space.key("c")).await.expect("an answer"), 0);
}

async fn pages_cover_everything_once(space: Space) {
    for index in 0..25 {
        space.put(&format!("{index:02}"), "x").await;
    }
    let (mut seen, mut start, mut revision) = (Vec::new(), None, None);
    loop {
        let query = RangeQuery { start, limit: 10, revision, ..RangeQuery::default() };
        let page = space.range(query).await.expect("an answer");
        seen.extend(page.kvs.iter().map(|kv| space.name(&kv.key)));
        assert_eq!(page.more, page.remaining > 0);
        assert_eq!(page.remaining as usize, 25 - seen.len());
        assert_eq!(revision.replace(page.revision).unwrap_or(page.revision), page.revision);
        // What is written meanwhile belongs to another revision.
        space.put(&format!("{}-late", seen.len()), "x").await;
        let Some(last) = page.kvs.last().filter(|_| page.more) else { break };
        start = Some([&last.key[..], &[0]].concat().into());
    }
    let expected: Vec<_> = (0..25).map(|index| format!("{index:02}")).collect();
    assert_eq!(seen, expected);
}

async fn a_range_at_a_revision_is_a_snapshot(space: Space) {
    let one = space.put("a", "1").await;
    let two = space.put("b", "1").await;
    let three = space.put("a", "2").await;
    let four = committed(space.delete("b", Expect::Any).await).0;
    let five = space.put("b", "3").await;
    let history = [
        (one, pairs(&[("a", "1")])),
        (two, pairs(&[("a", "1"), ("b", "1")])),
        (three, pairs(&[("a", "2"), ("b", "1")])),
        (four, pairs(&[("a", "2")])),
        (five, pairs(&[("a", "2"), ("b", "3")])),
    ];
    for (revision, expected) in history {
        assert_eq!(space.contents(Some(revision)).await, expected, "at {revision}");
    }
    let old = RangeQuery { revision: Some(two), limit: 1, ..RangeQuery::default() };
    let old = space.range(old).await.expect("an answer");
    assert_eq!((old.kvs[0].mod_revision, old.revision, old.remaining), (one, two, 1));
}

async fn a_revision_to_come_is_refused(space: Space) {
    let ahead = space.put("a", "1").await + 1_000_000;
    let query = RangeQuery { revision: Some(ahead), ..RangeQuery::default() };
    let error = space.range(query).await.expect_err("a refusal");
    assert!(matches!(error, Error::Future { requested, .. } if requested == ahead), "{error:?}");
    let error = space.store.compact(ahead).await.expect_err("a refusal");
    assert!(matches!(error, Error::Future { requested, .. } if requested == ahead), "{error:?}");
}

async fn counters_lose_no_increment(space: Space) {
    const WORKERS: usize = 8;
    const ROUNDS: usize = 10;
    space.put("counter", "0").await;
    let increment = |space: Space| async move {
        let mut done = 0;
        while done < ROUNDS {
            let now = space.get("counter").await.expect("an answer");
            let next = text(&now.value).parse::<usize>().expect("an answer") + 1;
            let expect = Expect::Revision(now.mod_revision);
            let outcome = space.try_put("counter", &next.to_string(), expect).await;
            done += usize::from(matches!(outcome, Outcome::Committed { .. }));
        }
    };
    join_all((0..WORKERS).map(|_| tokio::spawn(increment(space.clone())))).await;
    let end = space.get("counter").await.expect("an answer");
    assert_eq!(text(&end.value), (WORKERS * ROUNDS).to_string());
    assert_eq!(end.version as usize, WORKERS * ROUNDS + 1);
}

async fn one_of_many_creators_wins(space: Space) {
    let create = |space: Space, who: usize| async move {
        space.try_put("lock", &who.to_string(), Expect::Absent).await
    };
    let outcomes = join_all((0..16).map(|who| tokio::spawn(create(space.clone(), who)))).await;
    let there = space.get("lock").await.expect("an answer");
    let mut winners = 0;
    for outcome in outcomes {
        match outcome.expect("an answer") {
            Outcome::Committed { revision, .. } => {
                winners += 1;
                assert_eq!(revision, there.mod_revision);
            }
            Outcome::Conflict { current } => assert_eq!(current.as_ref(), Some(&there)),
        }
    }
    assert_eq!(winners, 1);
}

async fn a_watch_sees_changes_in_order(space: Space) {
    let mut watch = space.watch(None).await;
    let one = space.put("a", "1").await;
    let created = space.get("a").await.expect("an answer");
    space.store.put(b"/elsewhere", "x".into(), Expect::Any, 0).await.expect("an answer");
    let two = space.put("a", "2").await;
    let changed = space.get("a").await.expect("an answer");
    let three = committed(space.delete("a", Expect::Any).await).0;
    assert!(one < two && two < three);
    let create = Event::Put { kv: created.clone(), previous: None };
    assert_eq!(next_event(&mut watch).await, create);
    let change = Event::Put { kv: changed.clone(), previous: Some(created) };
    assert_eq!(next_event(&mut watch).await, change);
    let delete = Event::Delete { previous: changed, revision: three };
    assert_eq!(next_event(&mut watch).await, delete);
}

async fn a_watch_from_now_sees_nothing_older(space: Space) {
    space.put("a", "old").await;
    let mut watch = space.watch(None).await;
    let new = space.put("a", "new").await;
    assert_eq!(revision_of(&next_event(&mut watch).await), new);
}

async fn a_watch_from_the_past_goes_live_without_gap(space: Space) {
    const BEFORE: usize = 50;
    const WRITERS: usize = 4;
    const EACH: usize = 100;
    let first = space.put("start", "x").await;
    for index in 0..BEFORE {
        space.put("history", &index.to_string()).await;
    }
    let write = |space: Space, writer: usize| async move {
        let mut revisions = Vec::new();
        for index in 0..EACH {
            revisions.push(space.put(&format!("{writer}"), &index.to_string()).await);
        }
        revisions
    };
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write(space.clone(), writer)));
    let writers: Vec<_> = writers.collect();
    let mut watch = space.watch(Some(first)).await;
    let mut seen = Vec::new();
    while seen.len() < 1 + BEFORE + WRITERS * EACH {
        seen.push(next_event(&mut watch).await);
    }
    let revisions: Vec<_> = seen.iter().map(revision_of).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "out of order or twice");
    assert_eq!(revisions[0], first);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("an answer"));
    }
    acknowledged.sort_unstable();
    assert_eq!(revisions[1 + BEFORE..], acknowledged);
    let replayed: BTreeMap<_, _> = seen.iter().map(applied).collect();
    let found = space.range(RangeQuery::default()).await.expect("an answer").kvs;
    let found: BTreeMap<_, _> = found.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
    assert_eq!(replayed, found);
}

fn applied(event: &Event) -> (Bytes, KeyValue) {
    match event {
        Event::Put { kv, .. } => (kv.key.clone(), kv.clone()),
        Event::Delete { .. } => panic!("nothing was deleted"),
    }
}

async fn a_lease_takes_its_keys_along(space: Space) {
    let lease = space.store.grant(Duration::from_secs(600)).await.expect("an answer");
    assert_ne!(lease, 0);
    space.put_leased("a", lease).await.expect("an answer");
    space.put_leased("b", lease).await.expect("an answer");
    space.put("c", "stays").await;
    assert_eq!(space.get("a").await.expect("an answer").lease, lease);
    let ttl = space.store.keep_alive(lease).await.expect("an answer");
    assert_eq!(ttl, Duration::from_secs(600));
    let mut watch = space.watch(None).await;
    space.store.revoke(lease).await.expect("an answer");
    assert_eq!(space.contents(None).await, pairs(&[("c", "stays")]));
    let events = next_events(&mut watch).await;
    let mut gone: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Delete { previous, revision } => (space.name(&previous.key), *revision),
            Event::Put { .. } => panic!("{event:?}"),
        })
        .collect();
    gone.sort();
    assert_eq!(gone.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(gone[0].1, gone[1].1, "one revision");
}

async fn a_lease_lets_go_of_rewritten_keys(space: Space) {
    let lease = space.store.grant(Duration::from_secs(600)).await.expect("an answer");
    let other = space.store.grant(Duration::from_secs(600)).await.expect("an answer");
    space.put_leased("freed", lease).await.expect("an answer");
    space.put_leased("moved", lease).await.expect("an answer");
    space.put("freed", "mine").await;
    space.put_leased("moved", other).await.expect("an answer");
    space.store.revoke(lease).await.expect("an answer");
    assert_eq!(space.contents(None).await, pairs(&[("freed", "mine"), ("moved", "leased")]));
    space.store.revoke(other).await.expect("an answer");
    assert_eq!(space.contents(None).await, pairs(&[("freed", "mine")]));
}

async fn an_unknown_lease_is_refused(space: Space) {
    let lease = space.store.grant(Duration::from_secs(600)).await.expect("an answer");
    space.store.revoke(lease).await.expect("an answer");
    let results = [
        space.put_leased("a", lease).await.map(drop),
        space.store.keep_alive(lease).await.map(drop),
        space.store.revoke(lease).await,
    ];
    for result in results {
        assert!(matches!(result, Err(Error::LeaseNotFound(id)) if id == lease), "{result:?}");
    }
    assert_eq!(space.get("a").await, None);
}

async fn a_lease_expires(space: Space) {
    let mut watch = space.watch(None).await;
    let lease = space.store.grant(Duration::from_secs(1)).await.expect("an answer");
    space.put_leased("a", lease).await.expect("an answer");
    assert!(matches!(next_event(&mut watch).await, Event::Put { .. }));
    assert!(matches!(next_event(&mut watch).await, Event::Delete { .. }));
    assert_eq!(space.get("a").await, None);
    let result = space.store.keep_alive(lease).await;
    assert!(matches!(result, Err(Error::LeaseNotFound(_))), "{result:?}");
}

async fn compaction_gives_up_history_only(space: Space) {
    let old = space.put("a", "1").await;
    space.put("b", "1").await;
    let kept = space.put("a", "2").await;
    let last = space.put("a", "3").await;
    space.store.compact(kept).await.expect("an answer");
    assert_eq!(space.contents(None).await, pairs(&[("a", "3"), ("b", "1")]));
    assert_eq!(space.contents(Some(kept)).await, pairs(&[("a", "2"), ("b", "1")]));
    let query = RangeQuery { revision: Some(old), ..RangeQuery::default() };
    is_compacted(space.range(query).await, old);
    is_compacted(watch_start(&space, old).await, old);
    is_compacted(space.store.compact(old).await, old);
    let mut watch = space.watch(Some(kept + 1)).await;
    assert_eq!(revision_of(&next_event(&mut watch).await), last);
}

fn is_compacted<T>(result: Result<T, Error>, asked: Revision) {
    match result {
        Err(Error::Compacted { requested, compacted }) => {
            assert!(requested == asked && compacted >= asked, "{requested} {compacted}");
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("revision {asked} is compacted, and was served"),
    }
}

/// The first answer of a watch: a backend may refuse at once or by the stream.
async fn watch_start(space: &Space, from: Revision) -> Result<WatchItem, Error> {
    let mut watch = space.store.watch(space.prefix.as_bytes(), Some(from)).await?;
    watch.next().await.expect("an answer")
}

async fn the_store_is_healthy(space: Space) {
    space.store.health().await.expect("an answer");
    let revision = space.put("a", "1").await;
    assert!(space.store.current_revision().await.expect("an answer") >= revision);
    assert!(space.store.size_bytes().await.expect("an answer") > 0);
    space.store.request_progress().await.expect("an answer");
}
