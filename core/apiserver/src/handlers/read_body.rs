//! A request's body, bounded.

use bytes::Bytes;
use hansa_api::status::ApiError;

use crate::body::{self, Body, CollectError};

/// The largest body that is read, in bytes: 3 MiB, as upstream.
pub const BODY_LIMIT: usize = 3 << 20;

/// Reads a whole body.
///
/// # Errors
/// 413 above [`BODY_LIMIT`], 400 if the client breaks off.
pub(crate) async fn read(body: Body) -> Result<Bytes, ApiError> {
    match body::collect(body, BODY_LIMIT).await {
        Ok(bytes) => Ok(bytes),
        Err(CollectError::TooLarge(limit)) => Err(ApiError::too_large(limit)),
        Err(error) => Err(ApiError::bad_request(format!("failed to {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::full;

    #[tokio::test]
    async fn too_much_is_refused() {
        assert_eq!(read(full(vec![0; BODY_LIMIT])).await.unwrap().len(), BODY_LIMIT);
        assert_eq!(read(full(vec![0; BODY_LIMIT + 1])).await.unwrap_err().code, 413);
    }
}
