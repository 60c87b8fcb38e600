//! Content negotiation: which bytes a client sends, and which it can read.

pub mod accept;
pub mod compress;

use hansa_api::status::ApiError;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::generic::decode::Format;

pub use accept::{Accepted, Encoding, Offer, check_stream, is_pretty, negotiate};

/// The media types of bodies that describe objects.
pub const BODIES: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The format of a request's body; JSON if the client does not say.
///
/// # Errors
/// 415 for anything but JSON and YAML; protobuf became JSON in `filters/transcode` before.
pub fn body_format(headers: &HeaderMap) -> Result<Format, ApiError> {
    match media_type(headers).as_str() {
        "" | "application/json" => Ok(Format::Json),
        "application/yaml" => Ok(Format::Yaml),
        _ => Err(ApiError::unsupported_media_type(&BODIES)),
    }
}

/// The body's media type without parameters, lower case.
pub fn media_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_or_yaml() {
        let format = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, text.parse().unwrap());
            body_format(&headers)
        };
        assert_eq!(format("application/json; charset=utf-8").unwrap(), Format::Json);
        assert_eq!(format("application/YAML").unwrap(), Format::Yaml);
        for odd in ["application/cbor", "text/html"] {
            assert_eq!(format(odd).unwrap_err().code, 415, "{odd}");
        }
        assert_eq!(body_format(&HeaderMap::new()).unwrap(), Format::Json);
    }
}
