//! Continue tokens: where the next page of a list starts, and at which revision.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

/// A page's start; opaque to clients, base64 of JSON as upstream writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContinueToken {
    v: String,
    /// The revision of the list; -1 reads the rest as it is now.
    pub rv: i64,
    /// The relative key that the page starts at, inclusive.
    pub start: String,
}

/// A token that this server did not make.
#[derive(Debug, thiserror::Error)]
#[error("continue key is not valid: {0}")]
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
    pub fn decode(text: &str) -> Result<Self, TokenError> {
        let error = |why: &dyn std::fmt::Display| TokenError(why.to_string());
        let json = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|e| error(&e))?;
        let token: Self = serde_json::from_slice(&json).map_err(|e| error(&e))?;
        match token.v.as_str() {
            VERSION if token.rv == 0 => Err(TokenError(
                "incorrect encoded start resourceVersion \
                (version meta.k8s.io/v1)"
                    .into(),
            )),
            VERSION if token.start.is_empty() || token.start.starts_with('/') => {
                Err(TokenError("invalid continue key".into()))
            }
            VERSION => Ok(token),
            other => Err(TokenError(format!(
                "server does not recognize this encoded version \
                {other:?}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_trip_and_forgeries_do_not() {
        let token = ContinueToken::after("default/web-1", 42);
        assert_eq!(ContinueToken::decode(&token.encode()).unwrap(), token);
        assert_eq!(token.inconsistent().revision(), None);
        for bad in ["%", "e30", &URL_SAFE_NO_PAD.encode(r#"{"v":"v9","rv":1,"start":"a"}"#)] {
            let error = ContinueToken::decode(bad).unwrap_err().to_string();
            assert!(error.starts_with("continue key is not valid: "), "{error}");
        }
    }
}
