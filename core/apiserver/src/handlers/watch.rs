//! Watches.

use hansa_api::status::ApiError;
use http::Response;
use http::header::CONTENT_TYPE;

use super::Call;
use super::respond::streaming;
use crate::body::{self, Body};
use crate::generic::options::ListOptions;
use crate::negotiate::check_stream;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>, ApiError> {
    check_stream(call.accepted)?;
    let mut options = ListOptions::parse(&call.query, &call.namespace, true)?;
    if !call.name.is_empty() {
        // The old path form `watch/…/NAME` names one object.
        options.filter = options.filter.with_field("metadata.name", &call.name);
    }
    let watch = call.registry.watch(&call.served, &options, call.rendering()?).await?;
    let body = match watch {
        Ok(watcher) => streaming(watcher.into_stream()),
        Err(line) => body::full(line),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, call.accepted.encoding.stream_type());
    Ok(response)
}
