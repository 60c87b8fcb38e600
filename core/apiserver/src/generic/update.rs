//! Changes: one loop for PUT, PATCH and every subresource that writes.

use std::sync::Arc;

use bytes::Bytes;
use hansa_api::field::FieldError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::meta;
use hansa_api::status::ApiError;
use hansa_storage::{Expect, KeyValue, Outcome};
use serde_json::Value;

use super::admit::{Attributes, Operation};
use super::catalog::Served;
use super::context::Context;
use super::create::invalid;
use super::lifecycle;
use super::list::store_error;
use super::registry::{Registry, Written, group_resource};
use super::{convert, managed_fields, metadata};

/// How often a write without a resourceVersion starts over after losing a race.
const TRIES: usize = 64;

/// Which part of an object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Whole,
    /// The status, labels and annotations.
    Status,
    /// What the kind lets a subresource of another name change.
    Sub,
    /// Whatever the caller changed: bindings and finalize, which do their own checks.
    Raw,
}

/// What the loop is to do with one attempt.
enum Attempt {
    Done(Box<Written>),
    Conflict,
}

impl Registry {
    /// Changes the object `ctx` names: `make` gets the current object and returns the wanted one,
    /// and runs again if somebody else wrote in between and the client named no resourceVersion.
    ///
    /// # Errors
    /// 404 if there is no such object, 409 if the resourceVersion or uid is not the current one,
    /// 422 if the result is invalid, and whatever `make` and admission say.
    pub async fn update(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        part: Part,
        make: impl Fn(&Value) -> Result<Value, ApiError> + Send + Sync,
    ) -> Result<Written, ApiError> {
        for _ in 0..TRIES {
            let kv = self.read(served, &ctx.namespace, &ctx.name).await?;
            let old = self.decode(served, kv.clone()).await?;
            let wanted = make(&old)?;
            let race = Race::of(served, ctx, part);
            let pinned = precondition(served, race, &wanted, &old)?;
            match self.attempt(served, ctx, part, wanted, &old, &kv).await? {
                Attempt::Done(written) => return Ok(*written),
                Attempt::Conflict if pinned => break,
                Attempt::Conflict => {}
            }
        }
        Err(ApiError::modified(&group_resource(served), &ctx.name))
    }

    async fn attempt(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        part: Part,
        mut obj: Value,
        old: &Value,
        kv: &KeyValue,
    ) -> Result<Attempt, ApiError> {
        metadata::place(served, ctx, &mut obj)?;
        if !ctx.untracked {
            served.default(&mut obj);
            managed_fields::track(self, served, ctx, part, old, &mut obj);
        }
        prepare(served, ctx, part, &mut obj, old);
        if part != Part::Raw {
            self.admit_and_check(served, ctx, part, &mut obj, old).await?;
        }
        managed_fields::ignore_times(&mut obj, old);
        let warnings = served.strategy.warnings(&obj, Some(old));
        let attempt = self.write_change(served, ctx, obj, old, kv).await?;
        Ok(match attempt {
            Attempt::Done(mut written) => {
                written.warnings = warnings;
                Attempt::Done(written)
            }
            Attempt::Conflict => Attempt::Conflict,
        })
    }

    async fn admit_and_check(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        part: Part,
        obj: &mut Value,
        old: &Value,
    ) -> Result<(), ApiError> {
        let attrs = Attributes {
            ctx,
            resource: &served.resource,
            operation: Operation::Update,
            old: Some(old),
            registry: self,
        };
        let admission = self.admission();
        let fields = managed_fields::of(obj);
        admission.mutate(&attrs, obj).await?;
        managed_fields::keep_valid(ctx, fields, obj);
        served.default(obj);
        check(served, ctx, part, obj, old)?;
        admission.validate(&attrs, Some(obj)).await
    }

    async fn write_change(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        mut obj: Value,
        old: &Value,
        kv: &KeyValue,
    ) -> Result<Attempt, ApiError> {
        let reserved = served.strategy.reserve(self, ctx, &mut obj, Some(old)).await?;
        let stored = convert::stored_bytes(served, &obj).await?;
        if lifecycle::is_complete(served, &obj) {
            return self.complete(served, ctx, obj, stored, kv).await;
        }
        if ctx.dry_run || stored == kv.value {
            return Ok(done(Written::at(served, obj, stored, kv.mod_revision)));
        }
        let expect = Expect::Revision(kv.mod_revision);
        let put = self.storage.put(&kv.key, stored.clone(), expect, kv.lease).await;
        let Outcome::Committed { revision, .. } = put.map_err(store_error)? else {
            return Ok(Attempt::Conflict);
        };
        if let Some(reserved) = reserved {
            reserved.commit();
        }
        Ok(done(Written::at(served, obj, stored, revision)))
    }

    /// The change took away what held a dying object: it goes.
    async fn complete(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        obj: Value,
        stored: Bytes,
        kv: &KeyValue,
    ) -> Result<Attempt, ApiError> {
        if ctx.dry_run {
            return Ok(done(Written::at(served, obj, stored, kv.mod_revision)));
        }
        let expect = Expect::Revision(kv.mod_revision);
        let deleted = self.storage.delete(&kv.key, expect).await.map_err(store_error)?;
        let Outcome::Committed { revision, .. } = deleted else { return Ok(Attempt::Conflict) };
        served.strategy.released(self, &obj).await;
        Ok(done(Written::at(served, obj, stored, revision)))
    }
}

fn done(written: Written) -> Attempt {
    Attempt::Done(Box::new(written))
}

/// What a write may do when others write too.
#[derive(Clone, Copy)]
struct Race {
    /// Whether a resourceVersion may be missing.
    unconditional: bool,
    /// Whether the current resourceVersion in the result is a demand of the client, and not just
    /// what the patched object had.
    demands: bool,
    /// Whether another uid is a demand, too, and not a change of what cannot be changed.
    demands_uid: bool,
}

impl Race {
    fn of(served: &Served, ctx: &Context, part: Part) -> Self {
        let free = part == Part::Raw || ctx.subresource == "scale";
        Self {
            unconditional: free || served.strategy.allow_unconditional_update(),
            demands: ctx.verb != "patch",
            demands_uid: ctx.verb != "patch" || ctx.subresource == "scale",
        }
    }
}

/// Checks the resourceVersion and uid that the client sent; true if it sent a resourceVersion that
/// must still be the current one when the write happens.
fn precondition(
    served: &Served,
    race: Race,
    wanted: &Value,
    old: &Value,
) -> Result<bool, ApiError> {
    let (uid, current) = (meta::uid(wanted), meta::uid(old));
    if !uid.is_empty() && uid != current {
        return Err(match race.demands_uid {
            true => uid_conflict(served, meta::name(old), uid, current),
            false => {
                let error = FieldError::invalid("metadata.uid", uid, "field is immutable");
                invalid(served, old, &[error])
            }
        });
    }
    match meta::resource_version(wanted) {
        "" | "0" if race.unconditional => Ok(false),
        "" | "0" => Err(unconditional(served, old)),
        version if version == meta::resource_version(old) => Ok(race.demands),
        version => {
            super::options::parse_version(version)?;
            Err(ApiError::modified(&group_resource(served), meta::name(old)))
        }
    }
}

/// 422: the kind is changed by those alone who have seen it; named by its resource.
fn unconditional(served: &Served, old: &Value) -> ApiError {
    let why = "must be specified for an update";
    let error = FieldError::invalid("metadata.resourceVersion", 0, why);
    let resource = &served.resource;
    let subject = GroupVersionKind::new(
        resource.group.to_string(),
        resource.version.to_string(),
        resource.plural.to_string(),
    );
    ApiError::invalid(&subject, meta::name(old), &[error])
}

/// 409: the object is another one of the same name.
pub(super) fn uid_conflict(served: &Served, name: &str, asked: &str, current: &str) -> ApiError {
    let why =
        format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {current}");
    ApiError::conflict(&group_resource(served), name, why)
}

fn prepare(served: &Served, ctx: &Context, part: Part, obj: &mut Value, old: &Value) {
    match part {
        Part::Raw => metadata::restore(obj, old),
        Part::Status => prepare_status(served, ctx, obj, old),
        Part::Sub => {
            metadata::restore(obj, old);
            served.strategy.prepare_sub_update(ctx, obj, old);
        }
        Part::Whole => {
            metadata::restore(obj, old);
            if served.resource.has_status() {
                copy_status(obj, old);
            }
            served.default(obj);
            served.strategy.prepare_update(ctx, obj, old);
            metadata::count_generation(served, obj, old);
        }
    }
}

fn prepare_status(served: &Served, ctx: &Context, obj: &mut Value, old: &Value) {
    let wanted = std::mem::replace(obj, old.clone());
    copy_status(obj, &wanted);
    copy_field(meta::metadata_mut(obj), &wanted["metadata"], "managedFields");
    if served.strategy.status_may_change_metadata() {
        for field in ["labels", "annotations"] {
            copy_field(meta::metadata_mut(obj), &wanted["metadata"], field);
        }
    }
    metadata::restore(obj, old);
    served.default(obj);
    served.strategy.prepare_status_update(ctx, obj, old);
}

fn copy_status(to: &mut Value, from: &Value) {
    if let Some(fields) = to.as_object_mut() {
        copy_field(fields, from, "status");
    }
}

fn copy_field(to: &mut meta::Fields, from: &Value, field: &str) {
    match from.get(field).filter(|value| !value.is_null()) {
        Some(value) => to.insert(field.into(), value.clone()),
        None => to.remove(field),
    };
}

fn check(
    served: &Served,
    ctx: &Context,
    part: Part,
    obj: &Value,
    old: &Value,
) -> Result<(), ApiError> {
    let mut errors = metadata::validate(served, obj);
    errors.extend(metadata::validate_update(obj, old));
    errors.extend(match part {
        Part::Whole => served.strategy.validate_update(obj, old),
        Part::Status => served.strategy.validate_status_update(obj, old),
        Part::Sub => served.strategy.validate_sub_update(&ctx.subresource, obj, old),
        Part::Raw => Vec::new(),
    });
    if errors.is_empty() { Ok(()) } else { Err(invalid(served, obj, &errors)) }
}
