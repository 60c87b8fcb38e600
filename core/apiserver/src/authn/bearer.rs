//! Bearer tokens, with a short memory of those already checked.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;

use super::service_account::{Error, Tokens};
use super::{Identity, x509::now_secs};
use crate::objects::Objects;

/// How long a successful check is remembered, in seconds (upstream's).
const MEMORY_SECS: u64 = 10;
/// How many checks are remembered at most.
const MEMORY_SIZE: usize = 4096;

type Digest = [u8; 32];

struct Remembered {
    identity: Arc<Identity>,
    until: u64,
}

/// Turns bearer tokens into users.
pub struct TokenAuthenticator {
    /// The issuer of ServiceAccount tokens.
    pub tokens: Tokens,
    memory: Mutex<HashMap<Digest, Remembered>>,
}

impl TokenAuthenticator {
    /// Believes the tokens of one issuer.
    pub fn new(tokens: Tokens) -> Self {
        Self { tokens, memory: Mutex::default() }
    }

    /// The user of a token for this server.
    pub async fn authenticate(
        &self,
        token: &str,
        objects: &dyn Objects,
    ) -> Result<Arc<Identity>, Error> {
        let now = now_secs();
        let digest = digest(token);
        if let Some(known) = self.recall(&digest, now) {
            return Ok(known);
        }
        let claims = self.tokens.verify(token, &[], now)?;
        claims.confirm(objects).await?;
        let identity = Arc::new(claims.identity());
        self.remember(digest, identity.clone(), claims.expires.min(now + MEMORY_SECS));
        Ok(identity)
    }

    fn recall(&self, digest: &Digest, now: u64) -> Option<Arc<Identity>> {
        let memory = self.memory.lock();
        memory.get(digest).filter(|known| known.until > now).map(|known| known.identity.clone())
    }

    fn remember(&self, digest: Digest, identity: Arc<Identity>, until: u64) {
        let mut memory = self.memory.lock();
        if memory.len() >= MEMORY_SIZE {
            let now = now_secs();
            memory.retain(|_, known| known.until > now);
        }
        if memory.len() < MEMORY_SIZE {
            memory.insert(digest, Remembered { identity, until });
        }
    }
}

fn digest(token: &str) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bearer_headers_only() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer_token(&headers), None);
        for (value, expected) in
            [("Bearer abc", Some("abc")), ("bearer  abc ", Some("abc")), ("Basic abc", None)]
        {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            assert_eq!(bearer_token(&headers), expected, "{value}");
        }
    }
}
