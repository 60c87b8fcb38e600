//! Configuration objects, compiled once and kept current by a watch, so that a request reads none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hansa_api::ApiError;
use serde_json::Value;

use crate::generic::cache::{Subscription, View};
use crate::generic::entry::Entry;
use crate::generic::registry::Registry;

const RETRY: Duration = Duration::from_millis(500);

type Compiled<T> = BTreeMap<Arc<str>, (u64, Vec<Arc<T>>)>;

/// What one resource's objects compile to, in the order of their names.
pub(super) struct Index<T> {
    current: ArcSwap<Vec<Arc<T>>>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { current: ArcSwap::default() }
    }
}

/// Which resource is followed, and what becomes of an object.
pub(super) struct Source<T> {
    pub(super) group: &'static str,
    pub(super) plural: &'static str,
    pub(super) compile: fn(&Value) -> Vec<T>,
}

impl<T: Send + Sync + 'static> Index<T> {
    /// Reads the resource, then follows it until the server stops. A resource that is not served
    /// (yet) has no objects.
    pub(super) async fn follow(registry: &Arc<Registry>, source: Source<T>) -> Arc<Self> {
        let (index, mut compiled) = (Arc::new(Self::default()), Compiled::new());
        let first = index.load(registry, &source, &mut compiled).await.ok();
        let (registry, follower) = (registry.clone(), index.clone());
        tokio::spawn(async move {
            let stop = registry.stop_token().clone();
            stop.run_until_cancelled(follower.keep(&registry, &source, compiled, first)).await;
        });
        index
    }

    /// Everything, as of now.
    pub(super) fn all(&self) -> Arc<Vec<Arc<T>>> {
        self.current.load_full()
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.current.load().is_empty()
    }

    async fn keep(
        &self,
        registry: &Arc<Registry>,
        source: &Source<T>,
        mut compiled: Compiled<T>,
        first: Option<Subscription>,
    ) {
        let mut subscription = first;
        loop {
            match subscription.take() {
                Some(mut changes) => {
                    while let Ok(change) = changes.live.recv().await {
                        match &change.new {
                            Some(new) => take(source, &mut compiled, new),
                            None => drop(compiled.remove(&change.entry().key)),
                        }
                        self.publish(&compiled);
                    }
                }
                None => tokio::time::sleep(RETRY).await,
            }
            subscription = self.load(registry, source, &mut compiled).await.ok();
        }
    }

    async fn load(
        &self,
        registry: &Arc<Registry>,
        source: &Source<T>,
        compiled: &mut Compiled<T>,
    ) -> Result<Subscription, ApiError> {
        let (View { entries, .. }, changes) =
            registry.watch_cached(source.group, source.plural).await?;
        self.set(source, compiled, &entries);
        Ok(changes)
    }

    fn set(&self, source: &Source<T>, compiled: &mut Compiled<T>, entries: &[Arc<Entry>]) {
        compiled.retain(|key, _| entries.iter().any(|entry| entry.key == *key));
        for entry in entries {
            take(source, compiled, entry);
        }
        self.publish(compiled);
    }

    fn publish(&self, compiled: &Compiled<T>) {
        let all = compiled.values().flat_map(|(_, made)| made).cloned().collect();
        self.current.store(Arc::new(all));
    }
}

/// Compiles an object unless that was done for this very version.
fn take<T>(source: &Source<T>, compiled: &mut Compiled<T>, entry: &Entry) {
    let known = compiled.get(&entry.key).is_some_and(|(revision, _)| *revision == entry.revision);
    if !known {
        let made = (source.compile)(&entry.parsed()).into_iter().map(Arc::new).collect();
        compiled.insert(entry.key.clone(), (entry.revision, made));
    }
}
