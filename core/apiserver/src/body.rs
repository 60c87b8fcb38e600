//! The one body type of requests and responses, streaming both ways.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};

/// What a body may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or response's body; in-process clients and TLS connections use the same one.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body of these bytes; shared, not copied.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body without bytes.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Boxes any body whose error can be told.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It has more bytes than the limit.
    #[error("read the body: it has more than {0} bytes")]
    TooLarge(usize),
    /// The sender broke off.
    #[error("read the body")]
    Broken(#[source] BoxError),
}

/// Reads a body whole, if it has no more than `limit` bytes.
///
/// # Errors
/// If it is larger, or breaks off.
pub async fn collect(mut body: Body, limit: usize) -> Result<Bytes, CollectError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(CollectError::Broken)?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(CollectError::TooLarge(limit));
        }
        if whole.is_empty() && http_body::Body::is_end_stream(&body) {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
