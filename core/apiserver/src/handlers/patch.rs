//! PATCH: JSON Patch, merge patch, strategic merge patch; server-side apply has its own file.

use bytes::Bytes;
use hansa_api::field::FieldError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::patch::{PatchError, json, merge, strategic};
use hansa_api::schema::decode::{DecodeError, conform, json_type, syntax_error};
use hansa_api::schema::{TypeId, builtin};
use hansa_api::status::{ApiError, Reason};
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
    let (media, strategic, bytes) = read(call, &kind, !call.served.is_custom(), body).await?;
    // An object that is not there is told before a patch that is none.
    let patch = Patch::parse(&media, strategic, &bytes);
    let ctx = call.context(options.dry_run, &options.field_manager);
    let complaints = Mutex::new(Vec::new());
    let make = |old: &Value| {
        let patch = patch.as_ref().map_err(Clone::clone)?;
        let (obj, odd) = patched(&call.served, patch, old, options.field_validation)?;
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
        let (media, strategic, bytes) = read(call, kind, builtin_kind, body).await?;
        Self::parse(&media, strategic, &bytes)
    }

    fn parse(media: &str, strategic: Option<TypeId>, bytes: &Bytes) -> Result<Self, ApiError> {
        let malformed = |error: &dyn std::fmt::Display| {
            let decoding = if media == STRATEGIC_PATCH { "" } else { "error decoding patch: " };
            ApiError::bad_request(format!("{decoding}{error}"))
        };
        let patch: Value = serde_json::from_slice(bytes)
            .map_err(|error| malformed(&syntax_error(bytes, &error)))?;
        if media == JSON_PATCH {
            json::check(&patch).map_err(|error| malformed(&error))?;
            return Ok(Self::Json(patch));
        }
        if !patch.is_object() {
            return Err(malformed(&format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                json_type(&patch)
            )));
        }
        match (media, strategic) {
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

    /// What a refusal shows: a strategic patch itself, or what another one made of the object.
    fn shown(&self, result: &Value) -> String {
        match self {
            Self::Strategic(_, patch) => go_text(patch),
            _ => result.to_string(),
        }
    }
}

/// The media type, the type of strategic patches and the bytes of a request's patch.
async fn read(
    call: &Call,
    kind: &GroupVersionKind,
    builtin_kind: bool,
    body: Body,
) -> Result<(String, Option<TypeId>, Bytes), ApiError> {
    let strategic = if builtin_kind { builtin().type_of(kind) } else { None };
    let media = media_type(&call.headers);
    check_media(&media, strategic.is_some())?;
    Ok((media, strategic, read_body::read(body).await?))
}

fn check_media(media: &str, strategic: bool) -> Result<(), ApiError> {
    let known: &[&str] = match strategic {
        true => &[JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, apply::MEDIA],
        false => &[JSON_PATCH, MERGE_PATCH, apply::MEDIA],
    };
    match (known.contains(&media), media) {
        (true, _) => Ok(()),
        (false, STRATEGIC_PATCH) => Err(ApiError::unsupported_media_type(known)),
        // What no kind takes does not get as far as a handler.
        (false, _) => {
            let error = ApiError::new(Reason::UnsupportedMediaType, "415: Unsupported Media Type");
            Err(ApiError { details: Some(Box::default()), ..error })
        }
    }
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
    let before = obj.clone();
    let refuse = |why: String| {
        let value = patch.shown(&before);
        let error = FieldError::invalid("patch", value, why);
        ApiError::invalid(&GroupVersionKind::default(), "", &[error])
    };
    let unknown = match patch {
        Patch::Strategic(id, _) => {
            conform(builtin(), *id, &mut obj).map_err(|error| refuse(unconverted(&error)))?
        }
        _ => {
            let pruned = served.strategy.prune(&served.resource, &mut obj);
            pruned.map_err(|error| refuse(error.message))?
        }
    };
    match validation {
        FieldValidation::Ignore => Ok((obj, Vec::new())),
        FieldValidation::Strict if !unknown.is_empty() => {
            Err(refuse(DecodeError::Strict(unknown).to_string()))
        }
        _ => Ok((obj, unknown)),
    }
}

/// What upstream says where a strategic patch leaves a value of another type: it converts trees
/// there, and reads JSON elsewhere.
fn unconverted(error: &DecodeError) -> String {
    let DecodeError::Type { found, expected, .. } = error else { return error.to_string() };
    let from = match found.split(' ').next().unwrap_or_default() {
        "number" if found.contains('.') => "float64",
        "number" => "int64",
        "array" => "slice",
        "object" => "map",
        simple => simple,
    };
    match expected.as_str() {
        list if list.starts_with("[]") => format!("cannot restore slice from {from}"),
        map if map.starts_with("map[") => format!("cannot restore map from {from}"),
        "intstr.IntOrString" => error.to_string(),
        object if object.contains('.') => format!("cannot restore struct from: {from}"),
        "string" if from == "int64" => format!("cannot convert {from} to {expected}"),
        "int32" | "int64" if from == "float64" => format!("cannot convert {from} to {expected}"),
        simple => format!("unrecognized type: {simple}"),
    }
}

/// A tree as Go prints it: `map[a:[1 b] c:<nil>]`.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_str());
            let texts = fields.iter().map(|(key, value)| format!("{key}:{}", go_text(value)));
            format!("map[{}]", texts.collect::<Vec<_>>().join(" "))
        }
        simple => simple.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_strategic_patch_that_does_not_fit_is_shown_as_it_came() {
        let kind = GroupVersionKind::new("apps", "v1", "Deployment");
        let id = builtin().type_of(&kind).expect("it is built in");
        let cases = [
            (json!({"replicas": "x"}), "map[spec:map[replicas:x]]", "unrecognized type: int32"),
            (json!({"paused": 1}), "map[spec:map[paused:1]]", "unrecognized type: bool"),
            (json!({"template": []}), "map[spec:map[template:[]]]", "struct from: slice"),
            (
                json!({"template": {"spec": {"hostname": 5}}}),
                "map[spec:map[template:map[spec:map[hostname:5]]]]",
                "cannot convert int64 to string",
            ),
        ];
        for (spec, shown, why) in cases {
            let patch = Patch::Strategic(id, json!({"spec": spec}));
            let mut obj = json!({"spec": spec});
            let error = unconverted(&conform(builtin(), id, &mut obj).unwrap_err());
            assert_eq!(patch.shown(&Value::Null), shown);
            assert!(error.contains(why), "{shown}: {error}");
        }
    }
}
