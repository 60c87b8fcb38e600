//! Answers: one object, a document, or a stream of chunks, in the form the client accepts.

use bytes::{Bytes, BytesMut};
use futures::Stream;
use hansa_api::status::ApiError;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::Value;

use super::Call;
use crate::body::{self, Body, BoxError};
use crate::generic::entry::Form;
use crate::generic::registry::Written;
use crate::generic::table::{encode, render};
use crate::negotiate::compress::{Gzip, THRESHOLD, accepts_gzip};
use crate::responses::JSON;

const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
const WARNING: HeaderName = http::header::WARNING;

impl Call {
    /// Answers with a document that is no object of the resource: a Status, a Scale, a table.
    pub(crate) fn document(&self, code: StatusCode, value: &Value) -> Response<Body> {
        self.json(code, encode(value))
    }

    /// Answers with an object, rendered as the client asked.
    pub(crate) fn object(
        &self,
        code: StatusCode,
        bytes: Bytes,
    ) -> Result<Response<Body>, ApiError> {
        if self.accepted.form == Form::Whole {
            return Ok(self.json(code, bytes));
        }
        let obj = serde_json::from_slice(&bytes).map_err(ApiError::internal)?;
        let rendering = self.rendering()?;
        Ok(self.document(code, &render(&self.served, &obj, rendering)))
    }

    /// Answers a write, with its warnings.
    pub(crate) fn written(
        &self,
        code: StatusCode,
        written: Written,
        complaints: &[String],
    ) -> Result<Response<Body>, ApiError> {
        let mut response = self.object(code, written.bytes)?;
        warn(&mut response, complaints.iter().chain(&written.warnings));
        Ok(response)
    }

    /// Answers with JSON bytes, or with what they are in YAML, pretty or compressed.
    pub(crate) fn json(&self, code: StatusCode, bytes: Bytes) -> Response<Body> {
        let (bytes, media) = match self.reshaped(&bytes) {
            Some(reshaped) => reshaped,
            None => (bytes, JSON),
        };
        let gzip = self.compresses() && bytes.len() > THRESHOLD;
        let mut response = if gzip {
            let mut encoder = Gzip::new();
            let mut packed = BytesMut::from(encoder.push(&bytes));
            packed.extend_from_slice(&encoder.finish());
            compressed(body::full(packed.freeze()))
        } else {
            Response::new(body::full(bytes))
        };
        *response.status_mut() = code;
        response.headers_mut().insert(CONTENT_TYPE, media);
        response
    }

    /// YAML or indented JSON, if the client wants that.
    fn reshaped(&self, bytes: &Bytes) -> Option<(Bytes, HeaderValue)> {
        let pretty = self.query.flag("pretty").unwrap_or(false);
        if !self.accepted.yaml && !pretty {
            return None;
        }
        let value: Value = serde_json::from_slice(bytes).ok()?;
        if self.accepted.yaml {
            return Some((serde_saphyr::to_string(&value).ok()?.into(), YAML));
        }
        let mut text = serde_json::to_vec_pretty(&value).ok()?;
        text.push(b'\n');
        Some((text.into(), JSON))
    }

    fn compresses(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list") && accepts_gzip(&self.headers)
    }

    /// Whether a list must be collected before it is sent.
    pub(crate) fn needs_reshaping(&self) -> bool {
        self.accepted.yaml || self.query.flag("pretty").unwrap_or(false)
    }

    /// Answers with chunks of JSON as they come, compressed if the client likes.
    pub(crate) fn chunks<I>(&self, chunks: I) -> Response<Body>
    where
        I: Iterator<Item = Bytes> + Send + 'static,
    {
        let mut response = if self.compresses() {
            compressed(streaming(futures::stream::iter(gzipped(chunks))))
        } else {
            Response::new(streaming(futures::stream::iter(chunks)))
        };
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
    }
}

fn gzipped<I: Iterator<Item = Bytes>>(chunks: I) -> impl Iterator<Item = Bytes> {
    let mut state = Some((chunks, Gzip::new()));
    std::iter::from_fn(move || {
        let (mut chunks, mut gzip) = state.take()?;
        for chunk in chunks.by_ref() {
            let packed = gzip.push(&chunk);
            if !packed.is_empty() {
                state = Some((chunks, gzip));
                return Some(packed);
            }
        }
        Some(gzip.finish())
    })
}

fn compressed(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// A body of chunks.
pub(crate) fn streaming(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    use futures::StreamExt;
    let frames = chunks.map(|chunk| Ok::<_, BoxError>(Frame::data(chunk)));
    body::boxed(StreamBody::new(frames))
}

/// Adds `Warning: 299` headers (RFC 7234), as `kubectl` prints them.
pub(crate) fn warn(response: &mut Response<Body>, texts: impl Iterator<Item: AsRef<str>>) {
    for text in texts {
        let quoted =
            text.as_ref().replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
