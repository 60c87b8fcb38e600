//! Request bodies are read whole, up to upstream's limit, before anything is decided on them.

use std::time::Duration;

use hansa_api::ApiError;
use http::{Request, Uri};
use http_body::Body as _;

use crate::body::{self, Body, CollectError, full};
use crate::request_info::query_value;

/// The largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 3 << 20;

/// Reads the body; 413 if it is too large, 400 if the client breaks off.
pub(super) async fn collect(request: Request<Body>) -> Result<Request<Body>, ApiError> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    match body::collect(body, MAX_BODY_BYTES).await {
        Ok(bytes) => Ok(Request::from_parts(parts, full(bytes))),
        Err(CollectError::TooLarge(limit)) => Err(ApiError::too_large(limit)),
        Err(error) => Err(ApiError::bad_request(format!("failed to {error}"))),
    }
}

/// How long the request may take: the server's limit, or less if `?timeout=` says so.
pub(super) fn deadline(uri: &Uri, limit: Duration) -> Duration {
    let asked = query_value(uri.query().unwrap_or_default(), "timeout");
    asked.and_then(|text| parse_duration(&text)).map_or(limit, |asked| asked.min(limit))
}

/// Go's durations as clients write them: `34s`, `1m30s`, `500ms`; zero means none.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let (unit, factor) = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)]
            .into_iter()
            .find(|(unit, _)| rest[digits..].starts_with(unit))?;
        total += number * factor;
        rest = &rest[digits + unit.len()..];
    }
    (total > 0.0).then(|| Duration::try_from_secs_f64(total).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let fits = collect(Request::new(full(vec![b'x'; MAX_BODY_BYTES]))).await.unwrap();
        let bytes = fits.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), MAX_BODY_BYTES);
        let error = collect(Request::new(full(vec![b'x'; MAX_BODY_BYTES + 1]))).await.unwrap_err();
        assert_eq!(error.code, 413);
    }

    #[test]
    fn a_client_may_ask_for_less_time_only() {
        let limit = Duration::from_secs(60);
        let of = |query: &str| deadline(&format!("/x?{query}").parse().unwrap(), limit);
        assert_eq!(of("timeout=5s"), Duration::from_secs(5));
        assert_eq!(of("timeout=1m30s"), limit);
        assert_eq!(of("timeout=500ms"), Duration::from_millis(500));
        assert_eq!(of("timeout=0s"), limit);
        assert_eq!(of("timeout=soon"), limit);
        assert_eq!(of("timeout=s"), limit);
    }
}
