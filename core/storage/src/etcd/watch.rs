//! Watches on etcd: resumed after a lost connection, and watched over themselves, since a stream to
//! a server that has died can stay silent for ever.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream};
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use super::{Inner, MESSAGE_LIMIT, convert, unavailable};
use crate::{Error, Revision, WatchItem, WatchStream};

/// The watch id of progress that was asked for, which is the whole stream's.
const ALL_WATCHES: i64 = -1;
/// The first pause before a lost watch is begun anew; it doubles up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Begins a watch; returns when etcd has confirmed it.
pub(super) async fn start(
    inner: Arc<Inner>,
    prefix: Bytes,
    from: Option<Revision>,
) -> Result<WatchStream, Error> {
    let (connection, created) = connect(&inner, &prefix, from).await?;
    let next = from.unwrap_or(created + 1);
    let progress = inner.progress.subscribe();
    let pending = VecDeque::new();
    let watch = Watch { inner, prefix, next, connection, progress, pending };
    let stream = futures::stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        match watch.next_item().await {
            Ok(item) => Some((Ok(item), Some(watch))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(stream.boxed())
}

/// One stream to one server.
struct Connection {
    requests: WatchRequestSender,
    responses: WatchResponseStream,
}

/// Opens a stream; returns it with the revision at which etcd confirmed the watch.
async fn connect(
    inner: &Inner,
    prefix: &[u8],
    from: Option<Revision>,
) -> Result<(Connection, Revision), Error> {
    let (key, end) = inner.keyspace.range(prefix, prefix);
    let options = WatchOptions::new()
        .with_range(end)
        .with_prev_key()
        .with_progress_notify()
        .with_start_revision(from.unwrap_or(0) as i64);
    let mut client = inner.client.watch_client().max_decoding_message_size(MESSAGE_LIMIT);
    let opened = timeout(inner.watch_patience, async {
        let stream = client.watch(key, Some(options)).await?;
        let (requests, mut responses) = stream.split();
        let created = responses.message().await?;
        Ok::<_, etcd_client::Error>((Connection { requests, responses }, created))
    });
    let (connection, created) = opened
        .await
        .map_err(|_| Error::Unavailable("etcd does not answer to a watch".into()))?
        .map_err(|error| unavailable(&error))?;
    let created = created.ok_or_else(|| Error::Unavailable("the watch was closed".into()))?;
    if created.canceled() {
        return Err(cancelled(inner, &created, from.unwrap_or(0)));
    }
    Ok((connection, convert::revision(created.header())))
}

/// Why etcd ended a watch.
fn cancelled(inner: &Inner, response: &WatchResponse, requested: Revision) -> Error {
    match response.compact_revision() as Revision {
        0 => Error::Unavailable(response.cancel_reason().to_owned()),
        compacted => {
            inner.compacted.fetch_max(compacted, Ordering::Relaxed);
            Error::Compacted { requested, compacted }
        }
    }
}

/// What the stream has to say.
enum Signal {
    Response(Box<WatchResponse>),
    /// The stream is of no use any more.
    Lost(String),
    ProgressWanted,
    Silent,
}

struct Watch {
    inner: Arc<Inner>,
    prefix: Bytes,
    /// The first revision not yet delivered.
    next: Revision,
    connection: Connection,
    progress: tokio::sync::watch::Receiver<u64>,
    pending: VecDeque<WatchItem>,
}

impl Watch {
    async fn next_item(&mut self) -> Result<WatchItem, Error> {
        let mut asked = false;
        loop {
            if let Some(item) = self.pending.pop_front() {
                return Ok(item);
            }
            match self.signal().await {
                Signal::Response(response) => {
                    asked = false;
                    self.take(&response)?;
                }
                Signal::Lost(why) => self.resume(&why).await?,
                Signal::Silent if asked => {
                    asked = false;
                    self.resume("the stream is silent").await?;
                }
                Signal::Silent => asked = self.ask_progress().await?,
                Signal::ProgressWanted => drop(self.ask_progress().await?),
            }
        }
    }

    async fn signal(&mut self) -> Signal {
        tokio::select! {
            biased;
            message = self.connection.responses.message() => match message {
                Ok(Some(response)) => Signal::Response(Box::new(response)),
                Ok(None) => Signal::Lost("the stream was closed".into()),
                Err(error) => Signal::Lost(error.to_string()),
            },
            Ok(()) = self.progress.changed() => Signal::ProgressWanted,
            () = sleep(self.inner.watch_patience) => Signal::Silent,
        }
    }

    /// Asks for a sign of life; always true.
    async fn ask_progress(&mut self) -> Result<bool, Error> {
        if let Err(error) = self.connection.requests.request_progress().await {
            self.resume(&error.to_string()).await?;
        }
        Ok(true)
    }

    fn take(&mut self, response: &WatchResponse) -> Result<(), Error> {
        if response.canceled() {
            return Err(cancelled(&self.inner, response, self.next));
        }
        for (revision, events) in self.inner.keyspace.by_revision(response.events()) {
            if revision >= self.next {
                self.next = revision + 1;
                self.pending.push_back(WatchItem::Events(events));
            }
        }
        let trusted = response.watch_id() != ALL_WATCHES || self.inner.exact_progress;
        let revision = convert::revision(response.header());
        let is_progress = response.events().is_empty() && !response.created();
        if is_progress && trusted && revision + 1 >= self.next {
            self.next = revision + 1;
            self.pending.push_back(WatchItem::Progress(revision));
        }
        Ok(())
    }

    /// Begins the watch anew where it was lost.
    async fn resume(&mut self, why: &str) -> Result<(), Error> {
        tracing::debug!(why, from = self.next, "resuming a watch");
        let deadline = Instant::now() + self.inner.resume_for;
        let (mut pause, longest) = PAUSES;
        loop {
            match connect(&self.inner, &self.prefix, Some(self.next)).await {
                Ok((connection, _)) => {
                    self.connection = connection;
                    return Ok(());
                }
                Err(Error::Unavailable(_)) if Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}
