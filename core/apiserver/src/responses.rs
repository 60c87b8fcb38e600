//! The few answers that are not objects of the registry: Status, JSON documents, plain text.

use std::io::Write;

use bytes::Bytes;
use hansa_api::ApiError;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, RETRY_AFTER,
};
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use crate::body::{Body, full};

/// The media type of JSON answers.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The Status of a failure, with `Retry-After` where the failure names a time.
pub fn error(error: &ApiError) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = object(code, &error.to_status());
    let wait = error.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if wait > 0 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}

/// Marks a JSON answer that clients may also want in another encoding.
#[derive(Clone, Copy, Debug)]
pub struct ApiObject;

/// How many bytes a body of chunks has.
#[derive(Clone, Copy, Debug)]
pub struct TotalSize(pub u64);

/// An object of the API that is none of the registry's: a Status, a review, a list of resources.
pub fn object(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = json(code, value);
    response.extensions_mut().insert(ApiObject);
    response
}

/// A JSON document, whatever the client accepts.
pub fn json(code: StatusCode, value: &Value) -> Response<Body> {
    bytes(code, JSON, value.to_string())
}

/// Plain text.
pub fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    bytes(code, TEXT, text)
}

/// Any bytes of one media type.
pub fn bytes(code: StatusCode, media: HeaderValue, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, media);
    response
}

/// The answer to a path that is not there.
pub fn page_not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Bytes that many clients ask for again and again: with an ETag, and compressed once.
#[derive(Clone)]
pub struct Document {
    plain: Bytes,
    gzip: Bytes,
    etag: HeaderValue,
}

impl Document {
    /// Takes the bytes as they are; the ETag is their hash.
    pub fn new(plain: Bytes) -> Self {
        let etag = format!("\"{}\"", hash(&plain));
        let etag = HeaderValue::from_str(&etag).expect("hexadecimal is a valid header");
        Self { gzip: gzip(&plain), plain, etag }
    }

    /// The hash of the bytes, in hexadecimal.
    pub fn hash(&self) -> &str {
        self.etag.to_str().unwrap_or_default().trim_matches('"')
    }

    /// The bytes, or 304 if the client has them; compressed if the client can read that.
    pub fn answer(&self, headers: &HeaderMap, media: HeaderValue) -> Response<Body> {
        let known = headers.get(IF_NONE_MATCH).is_some_and(|known| *known == self.etag);
        let zipped = !known && accepts_gzip(headers);
        let mut response = match (known, zipped) {
            (true, _) => bytes(StatusCode::NOT_MODIFIED, media, Bytes::new()),
            (false, true) => bytes(StatusCode::OK, media, self.gzip.clone()),
            (false, false) => bytes(StatusCode::OK, media, self.plain.clone()),
        };
        if zipped {
            let headers = response.headers_mut();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response.headers_mut().insert(ETAG, self.etag.clone());
        response
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|list| list.split(',').any(|one| one.trim().starts_with("gzip")))
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes every write");
    encoder.finish().expect("memory takes every write").into()
}

/// Upper-case hexadecimal SHA-256.
pub fn hash(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_document_is_sent_once_per_version_and_zipped_on_request() {
        let document = Document::new(Bytes::from_static(b"{\"a\":1}"));
        let mut headers = HeaderMap::new();
        let first = document.answer(&headers, JSON);
        let etag = first.headers()[ETAG].clone();
        assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "{\"a\":1}");
        headers.insert(ACCEPT_ENCODING, "gzip".parse().unwrap());
        let zipped = document.answer(&headers, JSON);
        assert_eq!(zipped.headers()[CONTENT_ENCODING], "gzip");
        assert_eq!(zipped.into_body().collect().await.unwrap().to_bytes()[..2], [0x1f, 0x8b]);
        headers.insert(IF_NONE_MATCH, etag);
        assert_eq!(document.answer(&headers, JSON).status(), 304);
    }

    #[test]
    fn a_failure_says_when_to_come_back() {
        let response = error(&ApiError::too_many_requests("busy", 3));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "3");
    }
}
