//! PUT of an object or of its status.

use hansa_api::status::ApiError;
use http::{Response, StatusCode};
use serde_json::Value;

use super::{Call, read_body};
use crate::body::Body;
use crate::generic::context::Context;
use crate::generic::decode::{self, Decoded};
use crate::generic::metadata;
use crate::generic::options::WriteOptions;
use crate::generic::registry::Written;
use crate::generic::update::Part;
use crate::negotiate::body_format;

pub(super) async fn handle(
    call: &Call,
    body: Body,
    part: Part,
) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions", call.user_agent())?;
    let format = body_format(&call.headers)?;
    let bytes = read_body::read(body).await?;
    let decoded = decode::object(&call.served, &bytes, format, options.field_validation)?;
    let ctx = call.context(options.dry_run, &options.field_manager);
    metadata::check_name(&decoded.obj, &call.name)?;
    let (code, written) = write(call, &ctx, part, &decoded).await?;
    call.written(code, written, &decoded.complaints)
}

async fn write(
    call: &Call,
    ctx: &Context,
    part: Part,
    decoded: &Decoded,
) -> Result<(StatusCode, Written), ApiError> {
    let (registry, served) = (&call.registry, &call.served);
    let wanted = |_: &Value| Ok(decoded.obj.clone());
    match registry.update(served, ctx, part, wanted).await {
        Err(error)
            if error.is_not_found()
                && part == Part::Whole
                && served.strategy.allow_create_on_update() =>
        {
            let written = registry.create(served, ctx, decoded.obj.clone()).await?;
            Ok((StatusCode::CREATED, written))
        }
        done => Ok((StatusCode::OK, done?)),
    }
}
