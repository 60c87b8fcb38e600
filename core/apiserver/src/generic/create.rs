//! Creation, by itself and by server-side apply.

use std::sync::Arc;

use hansa_api::gvk::GroupVersionKind;
use hansa_api::meta;
use hansa_api::status::ApiError;
use hansa_storage::{Expect, Outcome};
use http::StatusCode;
use serde_json::Value;

use super::admit::{Attributes, Operation};
use super::catalog::Served;
use super::context::Context;
use super::list::store_error;
use super::registry::{Registry, Written, group_resource};
use super::update::Part;
use super::{convert, encode, managed_fields, metadata};

/// How often a generated name may meet one that is taken.
const NAME_TRIES: usize = 8;

impl Registry {
    /// Creates an object: defaults, admission, validation, one durable write.
    ///
    /// # Errors
    /// 400 for metadata that contradicts the request, 403 from admission, 409 if the name is taken,
    /// 422 if the object is invalid.
    pub async fn create(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        obj: Value,
    ) -> Result<Written, ApiError> {
        let base = meta::generate_name_base(&obj).to_string();
        let generated = meta::name(&obj).is_empty() && !base.is_empty() && ctx.name.is_empty();
        for _ in 1..NAME_TRIES {
            match self.try_create(served, ctx, obj.clone(), generated.then_some(&base)).await {
                Err(error) if generated && error.is_already_exists() => {}
                done => return done,
            }
        }
        let last = self.try_create(served, ctx, obj, generated.then_some(&base)).await;
        last.map_err(|error| match &error.details {
            Some(details) if generated && error.is_already_exists() => {
                ApiError::generate_name_conflict(&group_resource(served), &details.name)
            }
            _ => error,
        })
    }

    /// Server-side apply: `make` gets the live object that `ctx` names, or an empty one if there is
    /// none, and returns the wanted one with its managed fields. The code says whether it was
    /// created.
    ///
    /// # Errors
    /// As [`update`](Registry::update) and [`create`](Registry::create).
    pub async fn apply(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        make: impl Fn(&Value) -> Result<Value, ApiError> + Send + Sync,
    ) -> Result<(StatusCode, Written), ApiError> {
        for _ in 0..NAME_TRIES {
            match self.update(served, ctx, Part::Whole, &make).await {
                Err(error) if error.is_not_found() => {}
                done => return Ok((StatusCode::OK, done?)),
            }
            let mut obj = make(&Value::Object(meta::Fields::new()))?;
            check_new(served, ctx, &obj)?;
            meta::set_text(&mut obj, "resourceVersion", "");
            match self.create(served, ctx, obj).await {
                Err(error) if error.is_already_exists() => {}
                done => return Ok((StatusCode::CREATED, done?)),
            }
        }
        Err(ApiError::modified(&group_resource(served), &ctx.name))
    }

    async fn try_create(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        mut obj: Value,
        base: Option<&String>,
    ) -> Result<Written, ApiError> {
        if let Some(base) = base {
            meta::set_text(&mut obj, "name", &meta::generate_name(base));
        }
        prepare(served, ctx, &mut obj)?;
        if let Some(why) = served.strategy.refuses_creation() {
            return Err(ApiError::forbidden(&group_resource(served), meta::name(&obj), why));
        }
        let nothing = Value::Object(meta::Fields::new());
        managed_fields::track(self, served, ctx, Part::Whole, &nothing, &mut obj);
        served.strategy.prepare_create(ctx, &mut obj);
        let attrs = Attributes {
            ctx,
            resource: &served.resource,
            operation: Operation::Create,
            old: None,
            registry: self,
        };
        let admission = self.admission();
        let fields = managed_fields::of(&obj);
        admission.mutate(&attrs, &mut obj).await?;
        managed_fields::keep_valid(ctx, fields, &mut obj);
        served.default(&mut obj);
        check(served, &obj)?;
        admission.validate(&attrs, Some(&obj)).await?;
        let warnings = served.strategy.warnings(&obj, None);
        let mut written = self.write_new(served, ctx, obj).await?;
        written.warnings = warnings;
        Ok(written)
    }

    async fn write_new(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ctx: &Context,
        mut obj: Value,
    ) -> Result<Written, ApiError> {
        let key = served.resource.key(meta::namespace(&obj), meta::name(&obj));
        let reserved = served.strategy.reserve(self, ctx, &mut obj, None).await?;
        if ctx.dry_run {
            let (found, _) = self.storage.get(key.as_bytes()).await.map_err(store_error)?;
            return match found {
                Some(_) => Err(taken(served, &obj)),
                None => Ok(Written { bytes: encode::stored(&obj), obj, warnings: Vec::new() }),
            };
        }
        let stored = convert::stored_bytes(served, &obj).await?;
        let put = self.storage.put(key.as_bytes(), stored.clone(), Expect::Absent, 0).await;
        let Outcome::Committed { revision, .. } = put.map_err(store_error)? else {
            return Err(taken(served, &obj));
        };
        if let Some(reserved) = reserved {
            reserved.commit();
        }
        Ok(Written::at(served, obj, stored, revision))
    }
}

impl Written {
    /// An object whose stored bytes were committed at a revision.
    pub(super) fn at(served: &Served, mut obj: Value, stored: bytes::Bytes, revision: u64) -> Self {
        let same = obj["apiVersion"] == served.resource.storage_version.as_ref();
        let served_bytes = if same { stored } else { encode::stored(&obj) };
        meta::set_text(&mut obj, "resourceVersion", &revision.to_string());
        Self { bytes: encode::with_revision(&served_bytes, revision), obj, warnings: Vec::new() }
    }
}

/// What is applied where nothing is must name itself, and not another object.
fn check_new(served: &Served, ctx: &Context, obj: &Value) -> Result<(), ApiError> {
    let (uid, name) = (meta::uid(obj), &ctx.name);
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was \
             found"
        );
        return Err(ApiError::conflict(&group_resource(served), name, why));
    }
    if meta::name(obj).is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    Ok(())
}

fn prepare(served: &Served, ctx: &Context, obj: &mut Value) -> Result<(), ApiError> {
    metadata::place(served, ctx, obj)?;
    if served.resource.has_status()
        && !served.strategy.keeps_status_on_create()
        && let Some(fields) = obj.as_object_mut()
    {
        fields.remove("status");
    }
    metadata::create(served, obj)?;
    served.default(obj);
    Ok(())
}

fn check(served: &Served, obj: &Value) -> Result<(), ApiError> {
    let mut errors = metadata::validate(served, obj);
    errors.extend(served.strategy.validate_create(obj));
    if errors.is_empty() { Ok(()) } else { Err(invalid(served, obj, &errors)) }
}

/// 422 with these field errors.
pub(super) fn invalid(
    served: &Served,
    obj: &Value,
    errors: &[hansa_api::field::FieldError],
) -> ApiError {
    let resource = &served.resource;
    let kind = GroupVersionKind::new(
        resource.group.to_string(),
        resource.version.to_string(),
        resource.kind.to_string(),
    );
    ApiError::invalid(&kind, meta::name(obj), errors)
}

fn taken(served: &Served, obj: &Value) -> ApiError {
    ApiError::already_exists(&group_resource(served), meta::name(obj))
}
