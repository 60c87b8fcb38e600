//! Request bodies are read whole, up to upstream's limit, before anything is decided on them.

use std::time::Duration;

use hansa_api::ApiError;
use http::{Request, Uri};
use http_body::Body as _;

use crate::body::{self, Body, CollectError, full};
use crate::request_info::query_value;

/// The largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 3 << 20;

const UNITS_SECS: [(&str, f64); 7] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
];

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
///
/// # Errors
/// 400 if that is no duration.
pub(super) fn deadline(uri: &Uri, limit: Duration) -> Result<Duration, ApiError> {
    let asked = query_value(uri.query().unwrap_or_default(), "timeout").unwrap_or_default();
    if asked.is_empty() {
        return Ok(limit);
    }
    match parse_duration(&asked) {
        Ok(asked) if asked.is_zero() => Ok(limit),
        Ok(asked) => Ok(asked.min(limit)),
        Err(why) => Err(ApiError::bad_request(format!(
            "invalid timeout specified in the request URL - time: {why} {asked:?}"
        ))),
    }
}

/// Go's durations as clients write them: `34s`, `1m30s`, `500ms`; none are below zero here.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || "invalid duration".to_string();
    let is_number = |char: char| char.is_ascii_digit() || char == '.';
    let mut total = 0.0;
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest.is_empty() {
        return Err(invalid());
    }
    while rest != "0" && !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let number: f64 = number.parse().map_err(|_| invalid())?;
        total += number * unit_secs(unit)?;
        rest = tail;
    }
    let total = if text.starts_with('-') { 0.0 } else { total };
    Duration::try_from_secs_f64(total).map_err(|_| invalid())
}

fn unit_secs(unit: &str) -> Result<f64, String> {
    if unit.is_empty() {
        return Err("missing unit in duration".to_string());
    }
    let known = UNITS_SECS.into_iter().find(|(name, _)| *name == unit);
    known.map(|(_, secs)| secs).ok_or_else(|| format!("unknown unit {unit:?} in duration"))
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
        for (query, secs) in [
            ("", 60.0),
            ("timeout=5s", 5.0),
            ("timeout=1m30s", 60.0),
            ("timeout=500ms", 0.5),
            ("timeout=0s", 60.0),
            ("timeout=0", 60.0),
            ("timeout=-1h", 60.0),
        ] {
            assert_eq!(of(query).unwrap(), Duration::from_secs_f64(secs), "{query}");
        }
        for (query, why) in [
            ("timeout=soon", "time: invalid duration \"soon\""),
            ("timeout=s", "time: invalid duration \"s\""),
            ("timeout=5", "time: missing unit in duration \"5\""),
            ("timeout=5y", "time: unknown unit \"y\" in duration \"5y\""),
            ("timeout=1e999s", "time: "),
        ] {
            let error = of(query).unwrap_err();
            assert!(error.code == 400 && error.message.contains(why), "{query}: {error}");
        }
    }
}
