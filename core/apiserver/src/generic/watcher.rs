//! One watch: what a reader gets of a cache's changes, as lines of JSON or frames of protobuf.
//!
//! The state machine is linear: initial state, the mark that ends it, then changes and bookmarks
//! until the time is up. What is sent is shared with every other watcher of the same form.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use hansa_api::status::ApiError;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Interest, Subscription, View, WatchError};
use super::entry::{Change, Form};
use super::filter::Filter;
use super::render::{self, Rendering};
use crate::negotiate::Encoding;

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
const INITIAL_CHUNK: usize = 32 << 10;

/// What a watch sends besides the changes.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// Which objects.
    pub filter: Filter,
    /// In which form.
    pub rendering: Rendering,
    /// Whether to send bookmarks.
    pub bookmarks: bool,
    /// When it ends by itself.
    pub timeout: Duration,
}

/// Where a watch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is there; `mark` sends a bookmark that ends the initial state.
    State {
        /// Whether the initial state ends in a marked bookmark (WatchList).
        mark: bool,
    },
    /// With the first change after a revision.
    After(u64),
    /// With the next change.
    Now,
}

/// A running watch.
pub struct Watcher {
    cache: Arc<Cache>,
    settings: WatchSettings,
    interest: Interest,
    initial: VecDeque<Bytes>,
    subscription: Subscription,
    backlog: VecDeque<Arc<Change>>,
    seen: u64,
    deadline: Instant,
    next_bookmark: Instant,
    stop: CancellationToken,
    /// The next table is the first one, and says what its columns are.
    headers: bool,
    over: bool,
}

impl Watcher {
    /// Starts a watch on a cache.
    pub fn start(
        cache: Arc<Cache>,
        start: Start,
        settings: WatchSettings,
        stop: CancellationToken,
    ) -> Result<Self, WatchError> {
        let interest = settings.filter.interest(&cache.served);
        let now = Instant::now();
        let (initial, subscription, seen) = open(&cache, start, &settings, &interest)?;
        let headers = settings.rendering.form == Form::Table && initial.is_empty();
        Ok(Self {
            backlog: subscription.backlog.iter().cloned().collect(),
            deadline: now + settings.timeout,
            next_bookmark: now + jittered(BOOKMARK_EVERY),
            cache,
            settings,
            interest,
            initial,
            subscription,
            seen,
            headers,
            stop,
            over: false,
        })
    }

    /// The lines, until the watch ends.
    pub fn into_stream(self) -> impl Stream<Item = Bytes> + Send {
        futures::stream::unfold(self, |mut watcher| async move {
            let line = watcher.next().await?;
            Some((line, watcher))
        })
    }

    /// The next line or lines; `None` once the watch is over.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.initial.pop_front() {
                return Some(chunk);
            }
            if let Some(line) = self.next_known() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            if let Some(line) = self.wait().await {
                return Some(line);
            }
        }
    }

    fn next_known(&mut self) -> Option<Bytes> {
        while let Some(change) = self.backlog.pop_front() {
            if let Some(line) = self.line(&change) {
                return Some(line);
            }
        }
        None
    }

    async fn wait(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => self.finish(),
            received = self.subscription.live.recv() => match received {
                Ok(change) => self.line(&change),
                Err(RecvError::Lagged(_)) => self.catch_up(),
                Err(RecvError::Closed) => self.closed(),
            },
            () = tokio::time::sleep_until(self.deadline) => self.finish(),
            () = tokio::time::sleep_until(self.next_bookmark) => self.bookmark(),
        }
    }

    fn line(&mut self, change: &Change) -> Option<Bytes> {
        if change.revision <= self.seen {
            return None;
        }
        self.seen = change.revision;
        let event = self.settings.filter.event(change)?;
        let (rendering, served) = (self.settings.rendering, &self.cache.served);
        let headers = std::mem::take(&mut self.headers);
        self.cache.events.fetch_add(1, Ordering::Relaxed);
        let make = || render::event(served, change, event, rendering, headers);
        if rendering.is_shared() && !headers {
            Some(change.frame(event, rendering.form, rendering.encoding, make))
        } else {
            Some(make())
        }
    }

    /// The ring overtook this watcher: the history may still know what it missed.
    fn catch_up(&mut self) -> Option<Bytes> {
        match self.cache.watch_from(self.seen, self.interest.clone()) {
            Ok(subscription) => {
                self.backlog = subscription.backlog.iter().cloned().collect();
                self.subscription = subscription;
                None
            }
            Err(error) => self.fail(&error),
        }
    }

    /// The group was dissolved (nobody listened for a moment) or the cache was closed.
    fn closed(&mut self) -> Option<Bytes> {
        if self.cache.is_open() {
            return self.catch_up();
        }
        // As upstream, a watch on a kind that is gone or has changed just ends.
        self.over = true;
        None
    }

    fn fail(&mut self, error: &WatchError) -> Option<Bytes> {
        self.over = true;
        Some(error_line(&error.to_api(), self.settings.rendering.encoding))
    }

    /// The time is up: a last bookmark, so that the next watch starts where this one ended.
    fn finish(&mut self) -> Option<Bytes> {
        let line = self.bookmark();
        self.over = true;
        line
    }

    fn bookmark(&mut self) -> Option<Bytes> {
        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
        let applied = self.cache.applied();
        loop {
            match self.subscription.live.try_recv() {
                Ok(change) => self.backlog.push_back(change),
                Err(TryRecvError::Lagged(_)) => return self.catch_up(),
                Err(_) => break,
            }
        }
        if let Some(line) = self.next_known() {
            self.next_bookmark = Instant::now();
            return Some(line);
        }
        self.seen = self.seen.max(applied);
        if !self.settings.bookmarks {
            return None;
        }
        let headers = std::mem::take(&mut self.headers);
        let (served, rendering) = (&self.cache.served, self.settings.rendering);
        Some(render::bookmark(served, self.seen, false, rendering, headers))
    }
}

type Opened = (VecDeque<Bytes>, Subscription, u64);

fn open(
    cache: &Cache,
    start: Start,
    settings: &WatchSettings,
    interest: &Interest,
) -> Result<Opened, WatchError> {
    let namespace = &settings.filter.namespace;
    match start {
        Start::After(revision) => {
            Ok((VecDeque::new(), cache.watch_from(revision, interest.clone())?, revision))
        }
        Start::Now => {
            let (view, subscription) = cache.view_and_watch(namespace, interest.clone())?;
            Ok((VecDeque::new(), subscription, view.revision))
        }
        Start::State { mark } => {
            let (view, subscription) = cache.view_and_watch(namespace, interest.clone())?;
            Ok((initial_chunks(cache, &view, settings, mark), subscription, view.revision))
        }
    }
}

/// What is there, as ADDED lines packed into chunks, then the mark if it is wanted.
fn initial_chunks(
    cache: &Cache,
    view: &View,
    settings: &WatchSettings,
    mark: bool,
) -> VecDeque<Bytes> {
    let (served, rendering) = (&cache.served, settings.rendering);
    let mut chunks = VecDeque::new();
    let mut chunk = BytesMut::new();
    let mut headers = rendering.form == Form::Table;
    let wanted = view.entries.iter().filter(|entry| settings.filter.matches(entry));
    for entry in wanted {
        cache.events.fetch_add(1, Ordering::Relaxed);
        let object = render::entry(served, entry, rendering, std::mem::take(&mut headers));
        chunk.extend_from_slice(&render::frame("ADDED", &object, rendering.encoding));
        if chunk.len() >= INITIAL_CHUNK {
            chunks.push_back(chunk.split().freeze());
        }
    }
    if mark && settings.bookmarks {
        let mark = render::bookmark(served, view.revision, true, rendering, headers);
        chunk.extend_from_slice(&mark);
    }
    if !chunk.is_empty() {
        chunks.push_back(chunk.freeze());
    }
    chunks
}

/// An ERROR event: how a watch tells why it ends.
pub fn error_line(error: &ApiError, encoding: Encoding) -> Bytes {
    render::frame("ERROR", &render::encode(&error.to_status(), encoding), encoding)
}

/// Up to a tenth less, so that a thousand watchers do not all get their bookmark at once.
fn jittered(period: Duration) -> Duration {
    period.mul_f64(rand::random_range(0.9..1.0))
}
