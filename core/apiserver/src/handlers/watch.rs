//! Watches.

use hansa_api::status::ApiError;
use http::Response;
use http::header::CONTENT_TYPE;

use super::Call;
use super::respond::streaming;
use crate::body::{self, Body};
use crate::negotiate::check_stream;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>, ApiError> {
    check_stream(call.accepted)?;
    let options = call.list_options(true)?;
    let watch = call.registry.watch(&call.served, &options, call.rendering()?).await?;
    let body = match watch {
        Ok(watcher) => streaming(watcher.into_stream()),
        Err(line) => body::full(line),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, call.accepted.encoding.stream_type());
    Ok(response)
}
