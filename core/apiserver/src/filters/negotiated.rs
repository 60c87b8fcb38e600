//! Documents and failures in the encoding that the client asked for.
//!
//! Handlers make them as JSON and mark them; this filter is the one place that turns them into YAML,
//! protobuf or indented JSON. Objects of the registry have their own, shared bytes.

use hansa_api::ApiError;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Request, Response};
use serde_json::Value;

use crate::body::{self, Body};
use crate::filters::MAX_BODY_BYTES;
use crate::generic::render;
use crate::handlers::pretty;
use crate::negotiate::{Accepted, Encoding, Offer, is_pretty, negotiate};
use crate::request_info::{is_true, query_value};
use crate::responses::{self, ApiObject};

/// What a request says of the answer it wants.
pub(super) struct Wish {
    headers: HeaderMap,
    pretty: Option<bool>,
}

impl Wish {
    /// Remembers it.
    pub(super) fn of(request: &Request<Body>) -> Self {
        let kept = |name: &http::HeaderName| {
            request.headers().get(name).map(|value| (name.clone(), value.clone()))
        };
        let query = request.uri().query().unwrap_or_default();
        let pretty = match query.contains("pretty") {
            true => query_value(query, "pretty").filter(|text| !text.is_empty()),
            false => None,
        };
        Self {
            headers: [ACCEPT, USER_AGENT].iter().filter_map(kept).collect(),
            pretty: pretty.map(|text| is_true(&text)),
        }
    }

    /// The answer as it is wished for, if it is a document.
    pub(super) async fn grant(&self, response: Response<Body>) -> Response<Body> {
        if response.extensions().get::<ApiObject>().is_none() {
            return response;
        }
        match negotiate(&self.headers, Offer::DOCUMENT) {
            Ok(accepted) => self.encoded(accepted, response).await,
            // A failure is told in JSON rather than hidden behind another one.
            Err(_) if !response.status().is_success() => response,
            Err(error) => responses::error(&error),
        }
    }

    async fn encoded(&self, accepted: Accepted, response: Response<Body>) -> Response<Body> {
        let indent = accepted.pretty || is_pretty(self.pretty, &self.headers);
        if accepted.encoding == Encoding::Json && !indent {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        let tree = match body::collect(body, MAX_BODY_BYTES).await {
            Ok(bytes) => serde_json::from_slice::<Value>(&bytes).unwrap_or_default(),
            Err(error) => return responses::error(&ApiError::internal(error)),
        };
        let bytes = match accepted.encoding {
            Encoding::Json => pretty(&tree),
            encoding => render::encode(&tree, encoding),
        };
        parts.headers.insert(CONTENT_TYPE, accepted.encoding.media_type());
        parts.headers.remove(CONTENT_LENGTH);
        Response::from_parts(parts, body::full(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf;

    async fn granted(accept: &str, agent: &str, response: Response<Body>) -> (String, Vec<u8>) {
        let request = Request::builder().header(ACCEPT, accept).header(USER_AGENT, agent);
        let wish = Wish::of(&request.body(body::empty()).unwrap());
        let response = wish.grant(response).await;
        let media = response.headers()[CONTENT_TYPE].to_str().unwrap().to_string();
        (media, body::collect(response.into_body(), 1 << 20).await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn failures_speak_the_clients_language() {
        let failure = || responses::error(&ApiError::unauthorized());
        let (media, bytes) = granted(protobuf::MEDIA_TYPE, "x", failure()).await;
        assert_eq!(media, protobuf::MEDIA_TYPE);
        assert_eq!(protobuf::decode(&bytes).unwrap()["reason"], "Unauthorized");
        let (media, bytes) = granted("application/yaml", "x", failure()).await;
        assert_eq!(media, "application/yaml");
        assert!(bytes.starts_with(b"apiVersion") || bytes.starts_with(b"kind"));
        let (_, bytes) = granted("*/*", "curl/8", failure()).await;
        assert!(bytes.starts_with(b"{\n"));
        let (media, _) = granted("text/html", "x", failure()).await;
        assert_eq!(media, "application/json", "a failure is told all the same");
    }

    #[tokio::test]
    async fn a_document_that_nobody_can_read_is_not_acceptable() {
        let document = responses::object(http::StatusCode::OK, &serde_json::json!({"kind": "X"}));
        let (_, bytes) = granted("text/html", "x", document).await;
        let told: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(told["code"], 406);
    }
}
