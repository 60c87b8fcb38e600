//! `namespaces/finalize`: the namespace controller takes `spec.finalizers` off.

use hansa_api::meta;
use hansa_api::status::ApiError;
use http::{Response, StatusCode};
use serde_json::Value;

use super::{Call, read_body};
use crate::body::Body;
use crate::generic::decode;
use crate::generic::options::WriteOptions;
use crate::generic::update::Part;
use crate::negotiate::body_format;

pub(super) async fn handle(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions", call.user_agent())?;
    let format = body_format(&call.headers)?;
    let bytes = read_body::read(body).await?;
    let decoded = decode::object(&call.served, &bytes, format, options.field_validation)?;
    let ctx = call.context(options.dry_run, &options.field_manager);
    let make = |old: &Value| Ok(finalized(old, &decoded.obj));
    let written = call.registry.update(&call.served, &ctx, Part::Raw, make).await?;
    call.written(StatusCode::OK, written, &decoded.complaints)
}

/// The stored namespace with the finalizers that the caller leaves.
fn finalized(old: &Value, wanted: &Value) -> Value {
    let mut obj = old.clone();
    let left = meta::list_at(wanted, &["spec", "finalizers"]).to_vec();
    let spec = meta::fields_mut(&mut obj, &["spec"]);
    if left.is_empty() {
        spec.remove("finalizers");
    } else {
        spec.insert("finalizers".into(), left.into());
    }
    for field in ["uid", "resourceVersion"] {
        meta::set_text(&mut obj, field, meta::str_at(wanted, &["metadata", field]));
    }
    obj
}
