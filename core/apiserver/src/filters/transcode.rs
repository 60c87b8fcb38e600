//! Bodies in protobuf become JSON before anything reads them.

use hansa_api::ApiError;
use http::Request;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use crate::body::{Body, full};
use crate::filters::MAX_BODY_BYTES;
use crate::negotiate::media_type;
use crate::protobuf;
use crate::responses::JSON;

/// Decodes a protobuf body; any other passes as it is.
pub(super) async fn to_json(request: Request<Body>) -> Result<Request<Body>, ApiError> {
    if media_type(request.headers()) != protobuf::MEDIA_TYPE {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let bytes = crate::body::collect(body, MAX_BODY_BYTES).await;
    let bytes = bytes.map_err(|error| ApiError::bad_request(format!("failed to {error}")))?;
    parts.headers.insert(CONTENT_TYPE, JSON);
    parts.headers.remove(CONTENT_LENGTH);
    let json = if bytes.is_empty() { String::new() } else { protobuf::decode(&bytes)?.to_string() };
    Ok(Request::from_parts(parts, full(json)))
}
