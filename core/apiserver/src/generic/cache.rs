//! The watch cache of one served resource: its current objects, its recent changes, its watchers.
//!
//! A change is handed to groups of watchers with the same interest, not to single watchers: what a
//! commit costs does not grow with the number of watchers, and a watcher that is too slow loses its
//! place in the ring, catches up from the history, or is cut. It never holds anyone up.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hansa_api::status::ApiError;
use hansa_storage::{Event, KeyValue, RangeQuery, Revision, Storage};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, broadcast, watch};

use super::catalog::Served;
use super::convert;
use super::entry::{Change, Entry};
use super::feed::{Feed, revision_of};
use super::list::store_error;
use crate::metrics::ResourceCount;

const HISTORY_MAX: usize = 8192;
const HISTORY_MIN: usize = 512;
const HISTORY_AGE: Duration = Duration::from_secs(180);
const RING_WIDE: usize = 512;
const RING_NARROW: usize = 32;
/// How often a cache that converts looks whether it is still wanted.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a group of watchers wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Everything.
    All,
    /// One namespace.
    Namespace(String),
    /// One object, by its relative key.
    Object(String),
    /// Objects of which a selectable field has (or had) a value.
    Field(String, String),
}

/// Where a cache is in its life; each arrow is taken once.
enum Phase {
    /// Reading the store; changes wait. → `Ready`, `Closed`
    Loading(Vec<Event>),
    /// Serving. → `Closed`
    Ready,
    /// Useless: history was lost, or the resource is no longer served.
    Closed,
}

struct State {
    phase: Phase,
    objects: BTreeMap<Arc<str>, Arc<Entry>>,
    history: VecDeque<(Instant, Arc<Change>)>,
    /// Changes up to this revision are not in the history.
    floor: Revision,
    /// The revision of the last change applied.
    last: Revision,
    groups: HashMap<Interest, broadcast::Sender<Arc<Change>>>,
}

/// See the module.
pub struct Cache {
    /// What it holds.
    pub served: Arc<Served>,
    feed: Arc<Feed>,
    state: RwLock<State>,
    waiting: Waiting,
    /// How many events its watchers were sent.
    pub(super) events: AtomicU64,
}

/// A consistent view: every object, and the revision it was taken at.
pub struct View {
    /// The objects in key order.
    pub entries: Vec<Arc<Entry>>,
    /// All changes up to this revision are in it, none after.
    pub revision: Revision,
}

/// A place in the stream of changes.
pub struct Subscription {
    /// Changes that already happened.
    pub backlog: Vec<Arc<Change>>,
    /// Changes to come.
    pub live: broadcast::Receiver<Arc<Change>>,
}

/// Why a watch cannot start or go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The changes since then are no longer known.
    #[error("too old resource version: {asked} ({oldest})")]
    TooOld {
        /// What was asked for.
        asked: Revision,
        /// What could be had.
        oldest: Revision,
    },
    /// The cache was closed.
    #[error("watch the resource: it is no longer served")]
    Closed,
}

impl WatchError {
    /// The failure as clients are told.
    pub fn to_api(&self) -> ApiError {
        match self {
            Self::TooOld { asked, oldest } => ApiError::too_old_resource_version(*asked, *oldest),
            Self::Closed => ApiError::expired("the watched resource is no longer served"),
        }
    }
}

impl Cache {
    /// Starts a cache: attaches it to the feed, then loads what is stored.
    pub async fn start(
        served: Arc<Served>,
        feed: Arc<Feed>,
        storage: Arc<dyn Storage>,
    ) -> Result<Arc<Self>, ApiError> {
        let cache = Arc::new(Self {
            served,
            feed: feed.clone(),
            state: RwLock::new(State::new()),
            waiting: Waiting::default(),
            events: AtomicU64::new(0),
        });
        feed.attach(&cache.served.resource.storage_prefix, &cache);
        cache.load(&*storage).await.inspect_err(|_| cache.close())?;
        if cache.served.strategy.converter().is_some() {
            tokio::spawn(convert_waiting(Arc::downgrade(&cache)));
        }
        Ok(cache)
    }

    async fn load(&self, storage: &dyn Storage) -> Result<(), ApiError> {
        let prefix = self.served.resource.storage_prefix.to_string();
        let query = RangeQuery { prefix: prefix.into(), ..RangeQuery::default() };
        let found = storage.range(query).await.map_err(store_error)?;
        let kvs = convert::served_values(&self.served, found.kvs).await?;
        let read = |kv: &KeyValue| self.read(kv).map(|entry| (entry.key.clone(), entry));
        let objects: BTreeMap<_, _> = kvs.iter().filter_map(read).collect();
        let mut state = self.state.write();
        state.objects = objects;
        (state.floor, state.last) = (found.revision, found.revision);
        let Phase::Loading(waiting) = std::mem::replace(&mut state.phase, Phase::Ready) else {
            state.phase = Phase::Closed;
            return Ok(());
        };
        for event in &waiting {
            self.take(&mut state, event);
        }
        Ok(())
    }

    fn read(&self, kv: &KeyValue) -> Option<Arc<Entry>> {
        Entry::read(&self.served, kv)
            .inspect_err(|error| tracing::error!(%error, "skipping an unreadable object"))
            .ok()
            .map(Arc::new)
    }

    /// Whether it serves and goes on serving.
    pub fn is_open(&self) -> bool {
        !matches!(self.state.read().phase, Phase::Closed)
    }

    /// Ends every watch; the cache serves nothing from now on.
    pub fn close(&self) {
        let mut state = self.state.write();
        state.phase = Phase::Closed;
        state.groups.clear();
        state.objects.clear();
    }

    /// Takes one commit; called by the feed, in order.
    pub fn apply(&self, event: &Event) {
        let mut state = self.state.write();
        match &mut state.phase {
            Phase::Loading(waiting) => waiting.push(event.clone()),
            Phase::Ready => self.take(&mut state, event),
            Phase::Closed => {}
        }
    }

    /// Applies a change, or has it wait for its turn to be converted.
    fn take(&self, state: &mut State, event: &Event) {
        match self.waiting.hold_back(&self.served, event) {
            Held::No => self.apply_to(state, event),
            Held::Yes => {}
            Held::TooMany => {
                state.phase = Phase::Closed;
                state.groups.clear();
                state.objects.clear();
            }
        }
    }

    fn apply_to(&self, state: &mut State, event: &Event) {
        match event {
            Event::Put { kv, .. } if kv.mod_revision > state.last => {
                let Some(entry) = self.read(kv) else { return };
                let old = state.objects.insert(entry.key.clone(), entry.clone());
                state.publish(Change::new(kv.mod_revision, Some(entry), old));
            }
            Event::Delete { previous, revision } if *revision > state.last => {
                let prefix = self.served.resource.storage_prefix.len();
                let key = String::from_utf8_lossy(&previous.key[prefix..]).into_owned();
                if let Some(old) = state.objects.remove(key.as_str()) {
                    state.publish(Change::new(*revision, None, Some(old)));
                }
            }
            _ => {}
        }
    }

    /// One object, and the revision as of which this is the answer.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().objects.get(key).cloned()
    }

    /// Every object in a namespace (all if empty), as of one revision.
    pub fn view(&self, namespace: &str) -> View {
        let applied = self.applied();
        let state = self.state.read();
        View { entries: state.in_namespace(namespace), revision: applied.max(state.last) }
    }

    /// What metrics tell of it.
    pub fn count(&self) -> ResourceCount {
        let resource = &self.served.resource;
        ResourceCount {
            group: resource.group.to_string(),
            version: resource.version.to_string(),
            resource: resource.plural.to_string(),
            objects: self.state.read().objects.len(),
            events: self.events.load(Ordering::Relaxed),
        }
    }

    /// Whether nothing changed after `revision`.
    pub fn unchanged_since(&self, revision: Revision) -> bool {
        let state = self.state.read();
        matches!(state.phase, Phase::Ready) && state.last <= revision
    }

    /// The current objects and every change that follows them.
    pub fn view_and_watch(
        &self,
        namespace: &str,
        interest: Interest,
    ) -> Result<(View, Subscription), WatchError> {
        let applied = self.applied();
        let mut state = self.state.write();
        let revision = applied.max(state.last);
        let live = state.subscribe(interest)?;
        let view = View { entries: state.in_namespace(namespace), revision };
        Ok((view, Subscription { backlog: Vec::new(), live }))
    }

    /// Every change after `revision`.
    pub fn watch_from(
        &self,
        revision: Revision,
        interest: Interest,
    ) -> Result<Subscription, WatchError> {
        let mut state = self.state.write();
        let live = state.subscribe(interest)?;
        Ok(Subscription { backlog: state.since(revision)?, live })
    }

    /// Waits until every change up to `revision` is in; false if that takes too long.
    pub async fn wait_for(&self, revision: Revision, patience: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + patience;
        if !self.feed.wait_for(revision, patience).await {
            return false;
        }
        let converted = async {
            let mut progress = self.waiting.progress.subscribe();
            while self.is_open() && self.applied() < revision {
                let _ = progress.changed().await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, converted).await;
        self.applied() >= revision
    }

    /// Everything up to this revision has been handed to the groups.
    pub fn applied(&self) -> Revision {
        let fed = self.feed.applied();
        self.waiting.first().map_or(fed, |first| fed.min(first.saturating_sub(1)))
    }
}

/// Changes that wait to be converted, in order; only resources with a converter have any.
struct Waiting {
    events: Mutex<VecDeque<Event>>,
    wake: Notify,
    progress: watch::Sender<()>,
}

impl Default for Waiting {
    fn default() -> Self {
        let events = Mutex::default();
        Self { events, wake: Notify::new(), progress: watch::channel(()).0 }
    }
}

/// What became of a change that came in.
enum Held {
    No,
    Yes,
    /// The converter has not kept up for too long.
    TooMany,
}

impl Waiting {
    fn hold_back(&self, served: &Served, event: &Event) -> Held {
        let mut events = self.events.lock();
        let needed = matches!(event, Event::Put { kv, .. } if convert::is_needed(served, kv));
        if events.is_empty() && !needed {
            return Held::No;
        }
        if events.len() >= HISTORY_MAX {
            return Held::TooMany;
        }
        events.push_back(event.clone());
        self.wake.notify_one();
        Held::Yes
    }

    /// The revision of the first change that waits.
    fn first(&self) -> Option<Revision> {
        self.events.lock().front().map(revision_of)
    }
}

/// Converts what waits until the cache is gone or closed. A converter that fails closes the cache:
/// whoever reads next starts a new one, and is told what the converter says.
async fn convert_waiting(cache: Weak<Cache>) {
    loop {
        let Some(cache) = cache.upgrade().filter(|cache| cache.is_open()) else { return };
        let events: Vec<Event> = cache.waiting.events.lock().iter().cloned().collect();
        if events.is_empty() {
            let _ = tokio::time::timeout(LOOK_AGAIN, cache.waiting.wake.notified()).await;
            continue;
        }
        if let Err(error) = cache.apply_converted(events).await {
            tracing::warn!(%error, "closing a cache of custom resources that cannot be converted");
            cache.close();
        }
        cache.waiting.progress.send_replace(());
    }
}

impl Cache {
    async fn apply_converted(&self, events: Vec<Event>) -> Result<(), ApiError> {
        let puts = events.iter().filter_map(|event| match event {
            Event::Put { kv, .. } => Some(kv.clone()),
            Event::Delete { .. } => None,
        });
        let mut converted = convert::served_values(&self.served, puts.collect()).await?.into_iter();
        let mut state = self.state.write();
        for mut event in events {
            if let Event::Put { kv, .. } = &mut event
                && let Some(value) = converted.next()
            {
                *kv = value;
            }
            self.apply_to(&mut state, &event);
            self.waiting.events.lock().pop_front();
        }
        Ok(())
    }
}

impl State {
    fn new() -> Self {
        Self {
            phase: Phase::Loading(Vec::new()),
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            floor: 0,
            last: 0,
            groups: HashMap::new(),
        }
    }

    fn in_namespace(&self, namespace: &str) -> Vec<Arc<Entry>> {
        if namespace.is_empty() {
            return self.objects.values().cloned().collect();
        }
        let start = format!("{namespace}/");
        let range = (Bound::Included(start.as_str()), Bound::Unbounded);
        let objects = self.objects.range::<str, _>(range);
        let inside = objects.take_while(|(key, _)| key.starts_with(&start));
        inside.map(|(_, entry)| entry.clone()).collect()
    }

    fn subscribe(
        &mut self,
        interest: Interest,
    ) -> Result<broadcast::Receiver<Arc<Change>>, WatchError> {
        if matches!(self.phase, Phase::Closed) {
            return Err(WatchError::Closed);
        }
        let ring = if interest == Interest::All { RING_WIDE } else { RING_NARROW };
        let group = self.groups.entry(interest).or_insert_with(|| broadcast::channel(ring).0);
        Ok(group.subscribe())
    }

    fn since(&self, revision: Revision) -> Result<Vec<Arc<Change>>, WatchError> {
        if revision < self.floor {
            return Err(WatchError::TooOld { asked: revision, oldest: self.floor });
        }
        let first = self.history.partition_point(|(_, change)| change.revision <= revision);
        Ok(self.history.range(first..).map(|(_, change)| change.clone()).collect())
    }

    fn publish(&mut self, change: Change) {
        let change = Arc::new(change);
        self.last = change.revision;
        self.history.push_back((Instant::now(), change.clone()));
        self.forget_old_changes();
        for interest in interests(&change, self.groups.len()) {
            self.notify(&interest, &change);
        }
    }

    fn notify(&mut self, interest: &Interest, change: &Arc<Change>) {
        let Some(group) = self.groups.get(interest) else { return };
        if group.send(change.clone()).is_err() {
            self.groups.remove(interest);
        }
    }

    fn forget_old_changes(&mut self) {
        while self.history.len() > HISTORY_MIN {
            let aged = self.history.front().is_some_and(|(at, _)| at.elapsed() > HISTORY_AGE);
            if !aged && self.history.len() <= HISTORY_MAX {
                return;
            }
            if let Some((_, change)) = self.history.pop_front() {
                self.floor = change.revision;
            }
        }
    }
}

/// The groups that a change concerns; nothing is computed where there are no groups.
fn interests(change: &Change, groups: usize) -> Vec<Interest> {
    if groups == 0 {
        return Vec::new();
    }
    let entry = change.entry();
    let mut found = vec![Interest::All, Interest::Object(entry.key.to_string())];
    if !entry.namespace().is_empty() {
        found.push(Interest::Namespace(entry.namespace().to_string()));
    }
    for entry in [&change.new, &change.old].into_iter().flatten() {
        for (path, value) in &entry.fields {
            let interest = Interest::Field(path.to_string(), value.clone());
            if !found.contains(&interest) {
                found.push(interest);
            }
        }
    }
    found
}
