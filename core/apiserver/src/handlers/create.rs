//! POST of a new object.

use hansa_api::status::ApiError;
use http::{Response, StatusCode};

use super::{Call, read_body};
use crate::body::Body;
use crate::generic::decode;
use crate::generic::options::WriteOptions;
use crate::negotiate::body_format;

pub(super) async fn handle(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions", call.user_agent())?;
    let format = body_format(&call.headers)?;
    let bytes = read_body::read(body).await?;
    let decoded = decode::object(&call.served, &bytes, format, options.field_validation)?;
    let ctx = call.context(options.dry_run, &options.field_manager);
    let written = call.registry.create(&call.served, &ctx, decoded.obj).await?;
    call.written(StatusCode::CREATED, written, &decoded.complaints)
}
