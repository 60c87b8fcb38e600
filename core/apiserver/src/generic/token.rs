//! Continue tokens: where the next page of a list starts, and at which revision.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use hansa_api::schema::decode::syntax_error;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

/// Reads tokens as upstream does, which does not look at bits that are left over.
const READER: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// A page's start; opaque to clients, base64 of JSON as upstream writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContinueToken {
    v: String,
    /// The revision of the list; -1 reads the rest as it is now.
    pub rv: i64,
    /// The relative key that the page starts at, inclusive.
    pub start: String,
}

/// A token that this server did not make.
#[derive(Debug, thiserror::Error)]
#[error("invalid continue token: continue key is not valid: {0}")]
pub struct TokenError(String);

impl ContinueToken {
    /// The page that follows `last_key`, at `revision`.
    pub fn after(last_key: &str, revision: u64) -> Self {
        let rv = i64::try_from(revision).unwrap_or(i64::MAX);
        Self { v: VERSION.into(), rv, start: format!("{last_key}\0") }
    }

    /// The same page without a promise of consistency.
    pub fn inconsistent(&self) -> Self {
        Self { rv: -1, ..self.clone() }
    }

    /// The revision to read at; `None` is now.
    pub fn revision(&self) -> Option<u64> {
        u64::try_from(self.rv).ok()
    }

    /// What clients get.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("three plain fields encode");
        URL_SAFE_NO_PAD.encode(json)
    }

    /// Reads what a client sent back.
    ///
    /// # Errors
    /// If this server cannot have made it.
    pub fn decode(text: &str) -> Result<Self, TokenError> {
        let json = READER.decode(text).map_err(|error| TokenError(illegal(error, text)))?;
        let token: Self = serde_json::from_slice(&json)
            .map_err(|error| TokenError(syntax_error(&json, &error)))?;
        let why = match token.v.as_str() {
            VERSION if token.rv == 0 => {
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
            }
            VERSION if token.start.is_empty() => "encoded start key empty (version meta.k8s.io/v1)",
            VERSION if !is_clean(&token.start) => &token.start,
            VERSION => return Ok(token),
            other => {
                let why = format!("server does not recognize this encoded version {other}");
                return Err(TokenError(why));
            }
        };
        Err(TokenError(why.to_string()))
    }
}

/// Whether a key stays below its resource: no part of it is empty or leads elsewhere.
fn is_clean(key: &str) -> bool {
    let key = key.strip_prefix('/').unwrap_or(key);
    key.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn illegal(error: base64::DecodeError, text: &str) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
            at
        }
        _ => text.len(),
    };
    format!("illegal base64 data at input byte {at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_trip_and_forgeries_do_not() {
        let token = ContinueToken::after("default/web-1", 42);
        assert_eq!(ContinueToken::decode(&token.encode()).unwrap(), token);
        assert_eq!(token.inconsistent().revision(), None);
        let forged = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for (bad, why) in [
            ("a%".to_string(), "illegal base64 data at input byte 1"),
            ("bad".to_string(), "invalid character 'm' looking for beginning of value"),
            (forged(r#"{"v":"v9","rv":1,"start":"a"}"#), "this encoded version v9"),
            (forged(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#), "start resourceVersion"),
            (forged(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#), "start key empty"),
            (forged(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}"#), "../secrets/a"),
        ] {
            let error = ContinueToken::decode(&bad).unwrap_err().to_string();
            assert!(error.starts_with("invalid continue token: continue key is not valid"));
            assert!(error.contains(why), "{error}");
        }
    }
}
