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
use crate::generic::entry::Entry;
use crate::generic::registry::Written;
use crate::generic::render;
use crate::negotiate::compress::{Gzip, THRESHOLD, accepts_gzip};
use crate::negotiate::{Accepted, Encoding};
use crate::responses::TotalSize;

const WARNING: HeaderName = http::header::WARNING;

impl Call {
    /// Answers with a document that is no object of the resource: a Status, a Scale, a table.
    pub(crate) fn document(&self, code: StatusCode, value: &Value) -> Response<Body> {
        let encoding = self.accepted.encoding;
        let bytes = match encoding {
            Encoding::Json if self.is_pretty() => pretty(value),
            _ => render::encode(value, encoding),
        };
        self.bytes(code, bytes)
    }

    /// Answers with a cached object, rendered as the client asked.
    pub(crate) fn entry(
        &self,
        code: StatusCode,
        entry: &Entry,
    ) -> Result<Response<Body>, ApiError> {
        let rendering = self.rendering()?;
        if self.needs_reshaping() {
            let tree = render::tree(&self.served, &entry.parsed(), rendering, true);
            return Ok(self.document(code, &tree));
        }
        Ok(self.bytes(code, render::entry(&self.served, entry, rendering, true)))
    }

    /// Answers with an object, rendered as the client asked.
    pub(crate) fn object(&self, code: StatusCode, obj: &Value) -> Result<Response<Body>, ApiError> {
        let tree = render::tree(&self.served, obj, self.rendering()?, true);
        Ok(self.document(code, &tree))
    }

    /// Answers a write, with its warnings.
    pub(crate) fn written(
        &self,
        code: StatusCode,
        written: Written,
        complaints: &[String],
    ) -> Result<Response<Body>, ApiError> {
        let plain = self.accepted == Accepted::default() && !self.is_pretty();
        let mut response = match plain {
            true => self.bytes(code, written.bytes),
            false => self.object(code, &written.obj)?,
        };
        warn(&mut response, complaints.iter().chain(&written.warnings));
        Ok(response)
    }

    /// Answers with bytes in the encoding that the client asked for, compressed if they are many.
    pub(crate) fn bytes(&self, code: StatusCode, bytes: Bytes) -> Response<Body> {
        let mut response = if self.compresses(bytes.len()) {
            let mut encoder = Gzip::new();
            let mut packed = BytesMut::from(encoder.push(&bytes));
            packed.extend_from_slice(&encoder.finish());
            compressed(body::full(packed.freeze()))
        } else {
            Response::new(body::full(bytes))
        };
        *response.status_mut() = code;
        self.stamp(&mut response);
        response
    }

    fn stamp(&self, response: &mut Response<Body>) {
        response.headers_mut().insert(CONTENT_TYPE, self.accepted.encoding.media_type());
    }

    fn compresses(&self, size: usize) -> bool {
        let reads = matches!(self.verb.as_str(), "get" | "list");
        reads && size > THRESHOLD && accepts_gzip(&self.headers)
    }

    /// Whether an answer must be made from trees: YAML and indented JSON.
    pub(crate) fn needs_reshaping(&self) -> bool {
        match self.accepted.encoding {
            Encoding::Json => self.is_pretty(),
            Encoding::Yaml => true,
            Encoding::Protobuf => false,
        }
    }

    /// Answers with `size` bytes in chunks, compressed if the client likes.
    pub(crate) fn chunks<I>(&self, size: usize, chunks: I) -> Response<Body>
    where
        I: Iterator<Item = Bytes> + Send + 'static,
    {
        let mut response = if self.compresses(size) {
            compressed(streaming(futures::stream::iter(gzipped(chunks))))
        } else {
            Response::new(streaming(futures::stream::iter(chunks)))
        };
        self.stamp(&mut response);
        response.extensions_mut().insert(TotalSize(size as u64));
        response
    }
}

/// Indented JSON with an end of line, for people.
pub(crate) fn pretty(value: &Value) -> Bytes {
    let mut text = serde_json::to_vec_pretty(value).expect("a JSON tree encodes into memory");
    text.push(b'\n');
    text.into()
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
