//! The registry: every object of every kind, behind one set of operations.
//!
//! Reads are here; each way of writing has its own file ([`super::create`], [`super::update`],
//! [`super::delete`]).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hansa_api::gvk::GroupResource;
use hansa_api::status::ApiError;
use hansa_storage::{Error, KeyValue, Storage};
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::admit::{Admission, AdmitAll};
use super::cache::Cache;
use super::catalog::{Catalog, Served};
use super::entry::{self, Entry};
use super::feed::Feed;
use super::filter::Filter;
use super::list::{self, Listing, store_error};
use super::options::{Freshness, ListOptions};
use super::render::Rendering;
use super::watcher::{Start, WatchSettings, Watcher, error_line};
use super::{cache, convert, encode};
use crate::metrics::ResourceCount;

const WATCH_MIN: Duration = Duration::from_secs(30 * 60);

/// See the module.
pub struct Registry {
    pub(super) storage: Arc<dyn Storage>,
    /// What is served.
    pub catalog: Arc<Catalog>,
    feed: Arc<Feed>,
    caches: RwLock<HashMap<String, Arc<Cache>>>,
    /// One start at a time for each cache; a converter that is slow holds up no other kind.
    starting: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    admission: OnceLock<Arc<dyn Admission>>,
    stop: CancellationToken,
}

/// What a write left behind.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object as it now is.
    pub obj: Value,
    /// The same as JSON.
    pub bytes: Bytes,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

impl Registry {
    /// A registry over a store; runs until `stop`.
    pub async fn new(
        storage: Arc<dyn Storage>,
        catalog: Arc<Catalog>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let feed = Feed::start(storage.clone(), stop.clone()).await?;
        Ok(Arc::new(Self {
            storage,
            catalog,
            feed,
            caches: RwLock::new(HashMap::new()),
            starting: Mutex::default(),
            admission: OnceLock::new(),
            stop,
        }))
    }

    /// Puts admission in front of every write; only the first call counts. Until then everything is
    /// admitted.
    pub fn set_admission(&self, admission: Arc<dyn Admission>) {
        if self.admission.set(admission).is_err() {
            tracing::warn!("admission was set before; keeping the first");
        }
    }

    pub(crate) fn admission(&self) -> Arc<dyn Admission> {
        self.admission.get().cloned().unwrap_or_else(|| Arc::new(AdmitAll))
    }

    /// The store itself, for health checks and metrics.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Ends when the server stops.
    pub fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// What is served under a group and plural, in its preferred version.
    pub fn served(&self, group: &str, plural: &str) -> Result<Arc<Served>, ApiError> {
        let snapshot = self.catalog.snapshot();
        snapshot.preferred(group, plural).cloned().ok_or_else(ApiError::no_such_resource)
    }

    /// The cache of a resource, started if need be. A cache of an older definition of a custom
    /// resource is closed and replaced.
    pub async fn cache(&self, served: &Arc<Served>) -> Result<Arc<Cache>, ApiError> {
        if let Some(cache) = self.running(served) {
            return Ok(cache);
        }
        let starting = self.starting.lock().entry(cache_key(served)).or_default().clone();
        let _one_at_a_time = starting.lock().await;
        if let Some(cache) = self.running(served) {
            return Ok(cache);
        }
        let cache = Cache::start(served.clone(), self.feed.clone(), self.storage.clone()).await?;
        if let Some(old) = self.caches.write().insert(cache_key(served), cache.clone()) {
            old.close();
        }
        Ok(cache)
    }

    /// What metrics tell of every resource that somebody reads.
    pub fn counts(&self) -> Vec<ResourceCount> {
        let mut counts: Vec<_> = self.caches.read().values().map(|cache| cache.count()).collect();
        counts.sort_by(|a, b| (&a.group, &a.resource).cmp(&(&b.group, &b.resource)));
        counts
    }

    fn running(&self, served: &Arc<Served>) -> Option<Arc<Cache>> {
        let cache = self.caches.read().get(&cache_key(served)).cloned()?;
        (Arc::ptr_eq(&cache.served, served) && cache.is_open()).then_some(cache)
    }

    /// Ends the watches of resources that are no longer served, and forgets their objects.
    pub fn close_unserved(&self) {
        let snapshot = self.catalog.snapshot();
        self.caches.write().retain(|_, cache| {
            let resource = &cache.served.resource;
            let current = snapshot.get(&resource.group, &resource.version, &resource.plural);
            let keep = current.is_some_and(|served| Arc::ptr_eq(served, &cache.served));
            if !keep {
                cache.close();
            }
            keep
        });
    }

    /// One object with its bytes, as new as the store.
    pub async fn get_entry(
        &self,
        served: &Arc<Served>,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Entry>, ApiError> {
        if let Some(entry) = self.get_shared(served, namespace, name).await? {
            return Ok(entry);
        }
        let kv = self.read(served, namespace, name).await?;
        let kv = convert::served_value(served, kv).await?;
        Entry::read(served, &kv).map(Arc::new).map_err(ApiError::internal)
    }

    /// The cached object, if the cache runs and is as new as the store.
    async fn get_shared(
        &self,
        served: &Arc<Served>,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Entry>>, ApiError> {
        let Some(cache) = self.running(served) else { return Ok(None) };
        let current = self.storage.current_revision().await.map_err(store_error)?;
        if cache.applied() < current {
            return Ok(None);
        }
        let key = served.resource.key(namespace, name);
        let relative = key.get(served.resource.storage_prefix.len()..).unwrap_or_default();
        cache.get(relative).map(Some).ok_or_else(|| not_found(served, name))
    }

    /// One object, as new as the store.
    pub async fn get(
        &self,
        served: &Served,
        namespace: &str,
        name: &str,
    ) -> Result<Value, ApiError> {
        let kv = self.read(served, namespace, name).await?;
        self.decode(served, kv).await
    }

    pub(super) async fn read(
        &self,
        served: &Served,
        namespace: &str,
        name: &str,
    ) -> Result<KeyValue, ApiError> {
        let key = served.resource.key(namespace, name);
        let (found, _) = self.storage.get(key.as_bytes()).await.map_err(store_error)?;
        found.ok_or_else(|| not_found(served, name))
    }

    pub(super) async fn decode(&self, served: &Served, kv: KeyValue) -> Result<Value, ApiError> {
        let kv = convert::served_value(served, kv).await?;
        let mut obj = encode::parse(&kv.value, kv.mod_revision).map_err(ApiError::internal)?;
        entry::to_served(served, &mut obj);
        Ok(obj)
    }

    /// One page of a list.
    pub async fn list(
        &self,
        served: &Arc<Served>,
        options: &ListOptions,
    ) -> Result<Listing, ApiError> {
        let cache = self.cache(served).await?;
        list::list(&cache, &*self.storage, options).await
    }

    /// Starts a watch. A start that is too old, or still to come, is no error here: the watch says so
    /// in its first line and ends, as upstream's does.
    pub async fn watch(
        &self,
        served: &Arc<Served>,
        options: &ListOptions,
        rendering: Rendering,
    ) -> Result<Result<Watcher, Bytes>, ApiError> {
        options.filter.check(served)?;
        let cache = self.cache(served).await?;
        let start = self.watch_start(&cache, options).await;
        let settings = WatchSettings {
            filter: options.filter.clone(),
            rendering,
            bookmarks: options.bookmarks,
            timeout: options.timeout_seconds.map_or_else(default_timeout, seconds),
        };
        let watcher = start.and_then(|start| {
            Watcher::start(cache, start, settings, self.stop.clone()).map_err(|e| e.to_api())
        });
        Ok(watcher.map_err(|error| error_line(&error, rendering.encoding)))
    }

    /// Upstream's rules: sendInitialEvents decides, and without it resourceVersion does.
    async fn watch_start(&self, cache: &Cache, options: &ListOptions) -> Result<Start, ApiError> {
        let initial = options.send_initial_events;
        if let Freshness::NotOlderThan(revision) | Freshness::Exact(revision) = options.freshness {
            if initial != Some(true) {
                return Ok(Start::After(revision));
            }
            list::wait(cache, revision).await?;
        }
        if options.freshness == Freshness::Consistent {
            let current = self.storage.current_revision().await.map_err(store_error)?;
            list::wait(cache, current).await?;
        }
        Ok(match initial {
            Some(false) => Start::Now,
            Some(true) | None => Start::State { mark: true },
        })
    }

    /// One object of a group and plural from the cache, as new as the store; for authorization and
    /// admission, which ask often. The parsed tree is shared.
    pub async fn get_cached(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, ApiError> {
        let served = self.served(group, plural)?;
        let cache = self.fresh_cache(&served).await?;
        let key = served.resource.key(namespace, name);
        let relative = key.get(served.resource.storage_prefix.len()..).unwrap_or_default();
        let found = cache.get(relative).ok_or_else(|| not_found(&served, name))?;
        Ok(found.value())
    }

    /// Every object of a group and plural in a namespace (all if empty), from the cache, as new as
    /// the store. The parsed trees are shared.
    pub async fn list_cached(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
    ) -> Result<Vec<Arc<Value>>, ApiError> {
        let served = self.served(group, plural)?;
        let cache = self.fresh_cache(&served).await?;
        Ok(cache.view(namespace).entries.iter().map(|entry| entry.value()).collect())
    }

    /// The objects of a group and plural that a filter selects, from the cache, as new as the
    /// store. Only the selected ones are parsed; the trees are shared.
    pub async fn select_cached(
        &self,
        group: &str,
        plural: &str,
        filter: &Filter,
    ) -> Result<Vec<Arc<Value>>, ApiError> {
        let served = self.served(group, plural)?;
        filter.check(&served)?;
        let cache = self.fresh_cache(&served).await?;
        let entries = cache.view(&filter.namespace).entries;
        let selected = entries.iter().filter(|entry| filter.matches(entry));
        Ok(selected.map(|entry| entry.value()).collect())
    }

    /// The current objects of a group and plural and every change that follows; for parts of the
    /// server that keep an index. The stream ends if the reader is too slow or the cache is closed:
    /// start again.
    pub async fn watch_cached(
        &self,
        group: &str,
        plural: &str,
    ) -> Result<(cache::View, cache::Subscription), ApiError> {
        let served = self.served(group, plural)?;
        let cache = self.fresh_cache(&served).await?;
        cache.view_and_watch("", cache::Interest::All).map_err(ApiError::internal)
    }

    async fn fresh_cache(&self, served: &Arc<Served>) -> Result<Arc<Cache>, ApiError> {
        let cache = self.cache(served).await?;
        let current = self.storage.current_revision().await.map_err(store_error)?;
        list::wait(&cache, current).await?;
        Ok(cache)
    }
}

fn cache_key(served: &Served) -> String {
    let resource = &served.resource;
    format!("{}/{}/{}", resource.group, resource.version, resource.plural)
}

/// How the resource is named in errors.
pub fn group_resource(served: &Served) -> GroupResource {
    GroupResource::new(served.resource.group.to_string(), served.resource.plural.to_string())
}

/// 404 for an object.
pub fn not_found(served: &Served, name: &str) -> ApiError {
    ApiError::not_found(&group_resource(served), name)
}

/// A client's own limit; a negative one is over.
fn seconds(asked: i64) -> Duration {
    Duration::from_secs(u64::try_from(asked).unwrap_or(0))
}

/// Between half an hour and an hour, as upstream's `min-request-timeout` has it.
fn default_timeout() -> Duration {
    WATCH_MIN.mul_f64(rand::random_range(1.0..2.0))
}
