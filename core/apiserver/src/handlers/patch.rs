//! PATCH: JSON Patch, merge patch, strategic merge patch; server-side apply has its own file.

use bytes::Bytes;
use hansa_api::field::FieldError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::patch::{PatchError, json, merge, strategic};
use hansa_api::schema::{TypeId, builtin, decode::DecodeError};
use hansa_api::status::ApiError;
use http::{Response, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;

use super::{Call, apply, read_body};
use crate::body::Body;
use crate::generic::catalog::Served;
use crate::generic::decode;
use crate::generic::options::{FieldValidation, WriteOptions};
use crate::generic::update::Part;
use crate::negotiate::media_type;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

/// A patch, ready to be applied as often as it takes.
#[derive(Debug)]
pub(super) enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7396.
    Merge(Value),
    /// Strategic merge, by the schema of a built-in type.
    Strategic(TypeId, Value),
}

pub(super) async fn handle(
    call: &Call,
    body: Body,
    part: Part,
) -> Result<Response<Body>, ApiError> {
    if media_type(&call.headers) == apply::MEDIA {
        return apply::handle(call, body, part).await;
    }
    let options = WriteOptions::parse_patch(&call.query, call.user_agent(), false)?;
    let kind = decode::kind_of(&call.served.resource);
    let patch = Patch::read_as(call, &kind, !call.served.is_custom(), body).await?;
    let ctx = call.context(options.dry_run, &options.field_manager);
    let complaints = Mutex::new(Vec::new());
    let make = |old: &Value| {
        let (obj, odd) = patched(&call.served, &patch, old, options.field_validation)?;
        *complaints.lock() = odd;
        Ok(obj)
    };
    let written = call.registry.update(&call.served, &ctx, part, make).await?;
    let complaints = complaints.into_inner();
    call.written(StatusCode::OK, written, &complaints)
}

impl Patch {
    /// Reads the patch that a request carries; `kind` is what it is applied to. Only built-in
    /// kinds know strategic patches.
    pub(super) async fn read_as(
        call: &Call,
        kind: &GroupVersionKind,
        builtin_kind: bool,
        body: Body,
    ) -> Result<Self, ApiError> {
        let strategic = if builtin_kind { builtin().type_of(kind) } else { None };
        let media = media_type(&call.headers);
        check_media(&media, strategic.is_some())?;
        let bytes = read_body::read(body).await?;
        Self::parse(&media, strategic, &bytes)
    }

    fn parse(media: &str, strategic: Option<TypeId>, bytes: &Bytes) -> Result<Self, ApiError> {
        let malformed = |error: &dyn std::fmt::Display| {
            ApiError::bad_request(format!("error decoding patch: {error}"))
        };
        let patch: Value = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        match (media, strategic) {
            (JSON_PATCH, _) if patch.is_array() => Ok(Self::Json(patch)),
            (JSON_PATCH, _) => Err(malformed(&"a JSON patch must be a list of operations")),
            _ if !patch.is_object() => Err(malformed(&"a merge patch must be a JSON object")),
            (STRATEGIC_PATCH, Some(id)) => Ok(Self::Strategic(id, patch)),
            _ => Ok(Self::Merge(patch)),
        }
    }

    /// The patched tree.
    pub(super) fn apply(&self, old: &Value) -> Result<Value, PatchError> {
        let mut obj = old.clone();
        match self {
            Self::Json(patch) => json::apply(&mut obj, patch)?,
            Self::Merge(patch) => merge::apply(&mut obj, patch)?,
            Self::Strategic(id, patch) => strategic::apply(builtin(), *id, &mut obj, patch)?,
        }
        Ok(obj)
    }
}

fn check_media(media: &str, strategic: bool) -> Result<(), ApiError> {
    let known: &[&str] = match strategic {
        true => &[JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, apply::MEDIA],
        false => &[JSON_PATCH, MERGE_PATCH, apply::MEDIA],
    };
    if known.contains(&media) { Ok(()) } else { Err(ApiError::unsupported_media_type(known)) }
}

/// The patched object, checked like any other; with what was odd about it.
fn patched(
    served: &Served,
    patch: &Patch,
    old: &Value,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), ApiError> {
    let mut obj = patch.apply(old)?;
    decode::check_type(&served.resource, &mut obj)?;
    let kind = decode::kind_of(&served.resource);
    let refuse = |obj: &Value, why: String| {
        let error = FieldError::invalid("patch", obj.to_string(), why);
        ApiError::invalid(&GroupVersionKind::default(), "", &[error])
    };
    let before = obj.clone();
    let unknown = served
        .strategy
        .prune(&served.resource, &mut obj)
        .map_err(|error| refuse(&before, error.message))?;
    match validation {
        FieldValidation::Ignore => Ok((obj, Vec::new())),
        FieldValidation::Strict if !unknown.is_empty() => {
            let error = DecodeError::Strict(unknown);
            tracing::debug!(kind = %kind, %error, "patch refused");
            Err(refuse(&before, error.to_string()))
        }
        _ => Ok((obj, unknown)),
    }
}
