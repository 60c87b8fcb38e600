//! Deletion.

use std::sync::Arc;

use futures::StreamExt;
use hansa_api::meta;
use hansa_api::status::{self, ApiError};
use hansa_storage::{Expect, KeyValue, Outcome};
use jiff::Timestamp;
use serde_json::Value;

use super::admit::{Attributes, Operation};
use super::catalog::Served;
use super::context::Context;
use super::entry::Entry;
use super::lifecycle::{self, Deletion};
use super::list::store_error;
use super::options::{DeleteOptions, Freshness, ListOptions};
use super::registry::{Registry, Written, group_resource};
use super::update::uid_conflict;
use super::{convert, encode};

const TRIES: usize = 64;
const AT_ONCE: usize = 16;

/// How a deletion ended.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; this is what it was.
    Gone(Value),
    /// The object is marked and goes later.
    Marked(Box<Written>),
}

impl Registry {
    /// Deletes the object `ctx` names, or marks it for deletion.
    ///
    /// # Errors
    /// 404 if there is no such object, 409 if a precondition fails, 403 from admission.
    pub async fn delete(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        for _ in 0..TRIES {
            let kv = self.read(served, &ctx.namespace, &ctx.name).await?;
            let old = self.decode(served, kv.clone()).await?;
            preconditions(served, &old, options)?;
            self.admit_deletion(served, ctx, &old).await?;
            if let Some(deleted) = self.try_delete(served, ctx, options, old, &kv).await? {
                return Ok(deleted);
            }
        }
        Err(ApiError::modified(&group_resource(served), &ctx.name))
    }

    async fn admit_deletion(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        old: &Value,
    ) -> Result<(), ApiError> {
        let attrs = Attributes {
            ctx,
            resource: &served.resource,
            operation: Operation::Delete,
            old: Some(old),
            registry: self,
        };
        self.admission().validate(&attrs, None).await
    }

    /// `None` if somebody else wrote in between.
    async fn try_delete(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        options: &DeleteOptions,
        old: Value,
        kv: &KeyValue,
    ) -> Result<Option<Deleted>, ApiError> {
        let dry_run = ctx.dry_run || options.dry_run;
        match lifecycle::plan(served, &old, options, Timestamp::now()) {
            Deletion::Remove if dry_run => Ok(Some(Deleted::Gone(old))),
            Deletion::Remove => self.remove(served, old, kv).await,
            Deletion::Mark(new) if !dry_run => self.mark(served, new, kv).await,
            Deletion::Mark(new) => Ok(Some(marked(served, new, kv.mod_revision))),
            Deletion::UnderWay => Ok(Some(marked(served, old, kv.mod_revision))),
        }
    }

    async fn remove(
        self: &Arc<Self>,
        served: &Arc<Served>,
        old: Value,
        kv: &KeyValue,
    ) -> Result<Option<Deleted>, ApiError> {
        let expect = Expect::Revision(kv.mod_revision);
        let outcome = self.storage.delete(&kv.key, expect).await.map_err(store_error)?;
        if let Outcome::Conflict { .. } = outcome {
            return Ok(None);
        }
        served.strategy.released(self, &old).await;
        Ok(Some(Deleted::Gone(old)))
    }

    async fn mark(
        &self,
        served: &Served,
        new: Value,
        kv: &KeyValue,
    ) -> Result<Option<Deleted>, ApiError> {
        let stored = convert::stored_bytes(served, &new).await?;
        let expect = Expect::Revision(kv.mod_revision);
        let put = self.storage.put(&kv.key, stored, expect, kv.lease).await;
        match put.map_err(store_error)? {
            Outcome::Committed { revision, .. } => Ok(Some(marked(served, new, revision))),
            Outcome::Conflict { .. } => Ok(None),
        }
    }

    /// Deletes everything a filter selects; answers what was selected. Objects that are gone
    /// meanwhile are no error; the first real error ends it.
    pub async fn delete_collection(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        options: &DeleteOptions,
        selection: &ListOptions,
    ) -> Result<Vec<Arc<Entry>>, ApiError> {
        let selection = ListOptions { freshness: Freshness::Consistent, ..selection.clone() };
        let found = self.list(served, &selection).await?.entries;
        let one = |entry: Arc<Entry>| {
            self.clone().delete_entry(served.clone(), ctx.clone(), options.clone(), entry)
        };
        let mut deletions =
            futures::stream::iter(found.clone().into_iter().map(one)).buffer_unordered(AT_ONCE);
        while let Some(deleted) = deletions.next().await {
            deleted?;
        }
        Ok(found)
    }

    async fn delete_entry(
        self: Arc<Self>,
        served: Arc<Served>,
        ctx: Context,
        options: DeleteOptions,
        entry: Arc<Entry>,
    ) -> Result<(), ApiError> {
        let ctx = Context {
            namespace: entry.namespace().to_string(),
            name: entry.name().to_string(),
            ..ctx
        };
        match self.delete(&served, &ctx, &options).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn marked(served: &Served, obj: Value, revision: u64) -> Deleted {
    let stored = encode::stored(&obj);
    Deleted::Marked(Box::new(Written::at(served, obj, stored, revision)))
}

fn preconditions(served: &Served, old: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let name = meta::name(old);
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != meta::uid(old)) {
        return Err(uid_conflict(served, name, uid, meta::uid(old)));
    }
    let current = meta::resource_version(old);
    match options.resource_version.as_deref().filter(|version| *version != current) {
        Some(asked) => {
            let why = format!(
                "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion \
                 in object meta: {current}"
            );
            Err(ApiError::conflict(&group_resource(served), name, why))
        }
        None => Ok(()),
    }
}

impl Deleted {
    /// What clients get: the marked object, or a `Status` that says what is gone.
    pub fn into_response(self, served: &Served) -> Value {
        match self {
            Self::Marked(written) => written.obj,
            Self::Gone(obj) => {
                status::success(&group_resource(served), meta::name(&obj), meta::uid(&obj))
            }
        }
    }
}
