//! PATCH with `application/apply-patch+yaml`: server-side apply.

use bytes::Bytes;
use hansa_api::meta;
use hansa_api::status::ApiError;
use http::{Response, StatusCode};
use serde_json::Value;

use super::{Call, read_body};
use crate::body::Body;
use crate::generic::context::Context;
use crate::generic::decode::{self, Yaml};
use crate::generic::managed_fields::{self, Application};
use crate::generic::options::{FieldValidation, WriteOptions};
use crate::generic::update::Part;

/// The media type of parts of objects to apply.
pub(super) const MEDIA: &str = "application/apply-patch+yaml";

/// An apply request, ready to be tried as often as it takes.
pub(super) struct Apply {
    part: Value,
    /// What is odd about how the part is written.
    complaint: Option<String>,
    options: WriteOptions,
}

pub(super) async fn handle(
    call: &Call,
    body: Body,
    part: Part,
) -> Result<Response<Body>, ApiError> {
    let apply = Apply::read(call, body).await?;
    let ctx = apply.context(call);
    let subresource = call.subresource.as_str();
    let make = |live: &Value| {
        let (registry, served) = (&call.registry, &call.served);
        let applied =
            managed_fields::apply(registry, served, subresource, live, &apply.application())?;
        apply.check()?;
        Ok(applied)
    };
    let (code, written) = match part {
        Part::Whole => call.registry.apply(&call.served, &ctx, make).await?,
        _ => (StatusCode::OK, call.registry.update(&call.served, &ctx, part, make).await?),
    };
    apply.warn(call);
    call.written(code, written, &[])
}

impl Apply {
    pub(super) async fn read(call: &Call, body: Body) -> Result<Self, ApiError> {
        let options = WriteOptions::parse_patch(&call.query, call.user_agent(), true)?;
        let bytes = read_body::read(body).await?;
        let Yaml { value: part, complaint } = parse(&bytes)?;
        Ok(Self { part, complaint, options })
    }

    pub(super) fn context(&self, call: &Call) -> Context {
        let ctx = call.context(self.options.dry_run, &self.options.field_manager);
        Context { untracked: true, ..ctx }
    }

    pub(super) fn application(&self) -> Application<'_> {
        let WriteOptions { field_manager, force, .. } = &self.options;
        Application { part: &self.part, manager: field_manager, force: *force }
    }

    /// Refuses what is odd, if the client wishes so; upstream does that last.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        match (&self.complaint, self.options.field_validation) {
            (Some(complaint), FieldValidation::Strict) => {
                Err(ApiError::bad_request(format!("error strict decoding YAML: {complaint}")))
            }
            _ => Ok(()),
        }
    }

    /// Tells the client what is odd.
    pub(super) fn warn(&self, call: &Call) {
        if let (Some(complaint), FieldValidation::Warn) =
            (&self.complaint, self.options.field_validation)
        {
            call.warnings.add(complaint);
        }
    }
}

/// Reads the part; an empty body is an empty object, which is refused later for its kind.
fn parse(bytes: &Bytes) -> Result<Yaml, ApiError> {
    let malformed = |why: String| ApiError::bad_request(format!("error decoding YAML: {why}"));
    let converting = |why: String| format!("error converting YAML to JSON: {why}");
    let mut yaml = decode::yaml(bytes).map_err(|why| malformed(converting(why)))?;
    yaml.complaint = yaml.complaint.map(converting);
    match &yaml.value {
        Value::Object(_) => Ok(yaml),
        Value::Null => {
            yaml.value = Value::Object(meta::Fields::new());
            Ok(yaml)
        }
        other => Err(malformed(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value \
             of type map[string]interface {{}}",
            json_type(other)
        ))),
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        _ => "string",
    }
}
