//! The one watch on the store that feeds every cache, in commit order.
//!
//! Because a single stream carries every key, the last revision applied says of all caches at once
//! how fresh they are: a consistent read needs no per-resource progress.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use hansa_storage::{Error, Event, Revision, Storage, WatchItem};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;

/// Everything that the API server stores lies under this.
pub const ROOT: &[u8] = b"/registry/";

const RETRY: Duration = Duration::from_millis(200);

/// Routes commits to caches.
pub struct Feed {
    storage: Arc<dyn Storage>,
    sinks: Mutex<HashMap<String, Vec<Weak<Cache>>>>,
    applied: watch::Sender<Revision>,
}

impl Feed {
    /// Starts feeding until `stop`; fails if the store does not answer.
    pub async fn start(
        storage: Arc<dyn Storage>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let revision = storage.current_revision().await?;
        let feed = Arc::new(Self {
            storage,
            sinks: Mutex::new(HashMap::new()),
            applied: watch::channel(revision).0,
        });
        let task = feed.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = task.run() => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(feed)
    }

    /// The last revision that every cache has seen.
    pub fn applied(&self) -> Revision {
        *self.applied.borrow()
    }

    /// Waits until every cache has seen `revision`; false if that takes longer than `patience`.
    pub async fn wait_for(&self, revision: Revision, patience: Duration) -> bool {
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|seen| *seen >= revision);
        tokio::time::timeout(patience, reached).await.is_ok_and(|seen| seen.is_ok())
    }

    /// Sends the changes under `prefix` to a cache from now on.
    pub fn attach(&self, prefix: &str, cache: &Arc<Cache>) {
        let mut sinks = self.sinks.lock();
        sinks.entry(prefix.to_string()).or_default().push(Arc::downgrade(cache));
    }

    async fn run(&self) {
        loop {
            match self.follow().await {
                Err(Error::Compacted { compacted, .. }) => self.start_over(compacted).await,
                Err(error) => tracing::debug!(%error, "the store's watch ended; resuming"),
                Ok(()) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn follow(&self) -> Result<(), Error> {
        let mut stream = self.storage.watch(ROOT, Some(self.applied() + 1)).await?;
        while let Some(item) = stream.next().await {
            match item? {
                WatchItem::Events(events) => self.apply(&events),
                WatchItem::Progress(revision) => self.advance(revision),
            }
        }
        Ok(())
    }

    fn apply(&self, events: &[Event]) {
        let Some(last) = events.iter().map(revision_of).max() else { return };
        let mut sinks = self.sinks.lock();
        for event in events {
            if let Some(prefix) =
                prefix_of(key_of(event)).find(|prefix| sinks.contains_key(*prefix))
            {
                deliver(&mut sinks, prefix, event);
            }
        }
        drop(sinks);
        self.advance(last);
    }

    fn advance(&self, revision: Revision) {
        self.applied.send_if_modified(|applied| {
            let newer = revision > *applied;
            *applied = revision.max(*applied);
            newer
        });
    }

    /// History is gone: drop every cache (readers start new ones) and go on from now.
    async fn start_over(&self, compacted: Revision) {
        tracing::warn!(compacted, "missed changes that were compacted; caches start over");
        for cache in self.sinks.lock().drain().flat_map(|(_, caches)| caches) {
            if let Some(cache) = cache.upgrade() {
                cache.close();
            }
        }
        if let Ok(revision) = self.storage.current_revision().await {
            self.advance(revision);
        }
    }
}

fn deliver(sinks: &mut HashMap<String, Vec<Weak<Cache>>>, prefix: &str, event: &Event) {
    let Some(caches) = sinks.get_mut(prefix) else { return };
    caches.retain(|cache| match cache.upgrade() {
        Some(cache) => {
            cache.apply(event);
            true
        }
        None => false,
    });
}

/// The revision that a change was made at.
pub(super) fn revision_of(event: &Event) -> Revision {
    match event {
        Event::Put { kv, .. } => kv.mod_revision,
        Event::Delete { revision, .. } => *revision,
    }
}

fn key_of(event: &Event) -> &[u8] {
    match event {
        Event::Put { kv, .. } => &kv.key,
        Event::Delete { previous, .. } => &previous.key,
    }
}

/// The prefixes that may own a key: `/registry/a/` and `/registry/a/b/`.
fn prefix_of(key: &[u8]) -> impl Iterator<Item = &str> {
    let key = std::str::from_utf8(key).unwrap_or_default();
    let rest = key.get(ROOT.len()..).unwrap_or_default();
    let ends = rest.match_indices('/').take(2).map(|(at, _)| ROOT.len() + at + 1);
    ends.map(move |end| &key[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_a_resource_or_a_grouped_resource() {
        let prefixes: Vec<_> = prefix_of(b"/registry/apps/deployments/default/web").collect();
        assert_eq!(prefixes, ["/registry/apps/", "/registry/apps/deployments/"]);
        let prefixes: Vec<_> = prefix_of(b"/registry/namespaces/default").collect();
        assert_eq!(prefixes, ["/registry/namespaces/"]);
        assert_eq!(prefix_of(b"/x").count(), 0);
    }
}
