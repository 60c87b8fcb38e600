//! Lists: from the cache where it can answer, from the store where the past is asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::status::{ApiError, Reason};
use hansa_storage::{Error, KeyValue, RangeQuery, Revision, Storage};

use super::cache::Cache;
use super::catalog::Served;
use super::convert;
use super::entry::Entry;
use super::options::{Freshness, ListOptions};
use super::token::ContinueToken;

/// How long a read waits for the cache to reach a revision.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// One page of objects.
#[derive(Debug)]
pub struct Listing {
    /// The objects, in key order.
    pub entries: Vec<Arc<Entry>>,
    /// The list's resourceVersion.
    pub revision: Revision,
    /// Where the next page starts, empty on the last one.
    pub continue_token: String,
    /// How many follow, where that is known.
    pub remaining: Option<u64>,
}

/// Where a page comes from; decided before anything is read.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// The cache, once it has seen what the store has.
    CacheConsistent,
    /// The cache as it is.
    CacheAny,
    /// The cache, once it has seen this revision.
    CacheAtLeast(Revision),
    /// The store as it stood then (`None` is now), from a key on.
    Store { revision: Option<Revision>, start: String },
}

fn plan(options: &ListOptions) -> Result<Plan, ApiError> {
    if !options.continue_token.is_empty() {
        let token = ContinueToken::decode(&options.continue_token)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        if !matches!(options.freshness, Freshness::Consistent | Freshness::Any) {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        return Ok(Plan::Store { revision: token.revision(), start: token.start });
    }
    Ok(match options.freshness {
        Freshness::Consistent => Plan::CacheConsistent,
        Freshness::Any => Plan::CacheAny,
        Freshness::NotOlderThan(revision) => Plan::CacheAtLeast(revision),
        Freshness::Exact(revision) => {
            Plan::Store { revision: Some(revision), start: String::new() }
        }
    })
}

/// Reads one page.
pub async fn list(
    cache: &Cache,
    storage: &dyn Storage,
    options: &ListOptions,
) -> Result<Listing, ApiError> {
    options.filter.check(&cache.served)?;
    match plan(options)? {
        Plan::CacheConsistent => {
            let current = storage.current_revision().await.map_err(store_error)?;
            wait(cache, current).await?;
            Ok(from_cache(cache, options, options.limit))
        }
        Plan::CacheAny => Ok(from_cache(cache, options, 0)),
        Plan::CacheAtLeast(revision) => {
            wait(cache, revision).await?;
            Ok(from_cache(cache, options, options.limit))
        }
        Plan::Store { revision, start } => {
            from_store(cache, storage, options, revision, &start).await
        }
    }
}

/// Waits until the cache has seen a revision; a revision from the future is a 504 as upstream's.
pub async fn wait(cache: &Cache, revision: Revision) -> Result<(), ApiError> {
    if cache.wait_for(revision, PATIENCE).await {
        return Ok(());
    }
    Err(too_large(revision, cache.applied()))
}

/// The answer to a resourceVersion that the store has not reached.
pub fn too_large(asked: Revision, current: Revision) -> ApiError {
    let message = format!("Too large resource version: {asked}, current: {current}");
    ApiError::timeout(message, 1).with_cause(
        "ResourceVersionTooLarge",
        "Too large resource version",
        "",
    )
}

fn from_cache(cache: &Cache, options: &ListOptions, limit: usize) -> Listing {
    if let Some(key) = options.filter.single_key(&cache.served) {
        let revision = cache.applied();
        let found = cache.get(&key).filter(|entry| options.filter.matches(entry));
        let revision = found.as_ref().map_or(revision, |entry| revision.max(entry.revision));
        return Listing::whole(found.into_iter().collect(), revision);
    }
    let view = cache.view(&options.filter.namespace);
    let mut entries = view.entries;
    if options.filter.selects() {
        entries.retain(|entry| options.filter.matches(entry));
    }
    cut(entries, view.revision, limit, !options.filter.selects())
}

/// Cuts a full list down to its first page.
fn cut(mut entries: Vec<Arc<Entry>>, revision: Revision, limit: usize, countable: bool) -> Listing {
    if limit == 0 || entries.len() <= limit {
        return Listing::whole(entries, revision);
    }
    let remaining = (entries.len() - limit) as u64;
    entries.truncate(limit);
    let last = entries.last().expect("a page holds at least one object");
    Listing {
        continue_token: ContinueToken::after(&last.key, revision).encode(),
        remaining: countable.then_some(remaining),
        entries,
        revision,
    }
}

impl Listing {
    fn whole(entries: Vec<Arc<Entry>>, revision: Revision) -> Self {
        Self { entries, revision, continue_token: String::new(), remaining: None }
    }
}

async fn from_store(
    cache: &Cache,
    storage: &dyn Storage,
    options: &ListOptions,
    revision: Option<Revision>,
    start: &str,
) -> Result<Listing, ApiError> {
    let mut page = Page::new(&cache.served, options, revision, start);
    while page.wants_more() {
        let found = storage.range(page.query()).await;
        let mut found = found.map_err(|error| past_error(error, options, start))?;
        found.kvs = convert::served_values(&cache.served, found.kvs).await?;
        page.take(found)?;
    }
    Ok(page.finish())
}

/// A page being filled from the store, several ranges long if a selector drops objects.
struct Page<'a> {
    served: &'a Served,
    options: &'a ListOptions,
    prefix: String,
    start: String,
    revision: Option<Revision>,
    entries: Vec<Arc<Entry>>,
    last_key: String,
    more: bool,
    remaining: u64,
}

impl<'a> Page<'a> {
    fn new(
        served: &'a Served,
        options: &'a ListOptions,
        revision: Option<Revision>,
        start: &str,
    ) -> Self {
        Self {
            served,
            options,
            prefix: served.resource.key_prefix(&options.filter.namespace),
            start: format!("{}{start}", served.resource.storage_prefix),
            revision,
            entries: Vec::new(),
            last_key: String::new(),
            more: true,
            remaining: 0,
        }
    }

    fn wants_more(&self) -> bool {
        self.more && (self.options.limit == 0 || self.entries.len() < self.options.limit)
    }

    fn query(&self) -> RangeQuery {
        let start = self.start.starts_with(&self.prefix).then(|| Bytes::from(self.start.clone()));
        RangeQuery {
            prefix: Bytes::from(self.prefix.clone()),
            start,
            limit: self.options.limit,
            revision: self.revision,
        }
    }

    fn take(&mut self, found: hansa_storage::RangeResult) -> Result<(), ApiError> {
        self.revision = Some(found.revision);
        (self.more, self.remaining) = (found.more, found.remaining);
        let limit = self.options.limit;
        for (at, kv) in found.kvs.iter().enumerate() {
            self.take_one(kv)?;
            if limit > 0 && self.entries.len() == limit && at + 1 < found.kvs.len() {
                self.more = true;
                break;
            }
        }
        self.start = format!("{}{}\0", self.served.resource.storage_prefix, self.last_key);
        Ok(())
    }

    fn take_one(&mut self, kv: &KeyValue) -> Result<(), ApiError> {
        let entry = Entry::read(self.served, kv).map_err(ApiError::internal)?;
        self.last_key = entry.key.to_string();
        if self.options.filter.matches(&entry) {
            self.entries.push(Arc::new(entry));
        }
        Ok(())
    }

    fn finish(self) -> Listing {
        let revision = self.revision.unwrap_or_default();
        if !self.more || self.options.limit == 0 {
            return Listing::whole(self.entries, revision);
        }
        Listing {
            continue_token: ContinueToken::after(&self.last_key, revision).encode(),
            remaining: (!self.options.filter.selects()).then_some(self.remaining),
            entries: self.entries,
            revision,
        }
    }
}

/// Upstream's text for a continue token whose revision was compacted away.
const EXPIRED_CONTINUE: &str = "The provided continue parameter is too old to display a \
    consistent list result. You can start a new list without the continue parameter, or use the \
    continue token in this response to retrieve the remainder of the results. Continuing with the \
    provided token results in an inconsistent list - objects that were created, modified, or \
    deleted between the time the first chunk was returned and now may show up in the list.";

/// A read of the past that failed; an expired page offers the inconsistent rest.
fn past_error(error: Error, options: &ListOptions, start: &str) -> ApiError {
    match error {
        Error::Compacted { .. } if options.continue_token.is_empty() => {
            ApiError::expired("The resourceVersion for the provided list is too old.")
        }
        Error::Compacted { compacted, .. } => {
            let rest = ContinueToken::after(start.trim_end_matches('\0'), compacted).inconsistent();
            expired_with(rest.encode())
        }
        Error::Future { requested, current } => {
            let mut error = too_large(requested, current);
            // Nobody waits for it, so no time is named to come back at.
            error.details.get_or_insert_default().retry_after_seconds = 0;
            error
        }
        other => store_error(other),
    }
}

fn expired_with(token: String) -> ApiError {
    let mut error = ApiError::expired(EXPIRED_CONTINUE);
    error.continue_token = Some(token);
    error
}

/// The store's failure as the API tells it.
pub fn store_error(error: Error) -> ApiError {
    match error {
        Error::Unavailable(_) | Error::Lagged(_) => {
            tracing::warn!(%error, "the store does not answer");
            ApiError::new(Reason::ServiceUnavailable, format!("storage is not available: {error}"))
        }
        Error::Compacted { requested, compacted } => {
            ApiError::too_old_resource_version(requested, compacted)
        }
        Error::Future { requested, current } => too_large(requested, current),
        other => {
            tracing::error!(error = %other, "the store failed");
            ApiError::internal(other)
        }
    }
}
