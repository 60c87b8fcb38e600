//! Credentials: a member's token is renewed before 80 % of its life is over.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use hansa_api::k8s_openapi::ByteString;
use hansa_api::k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use hansa_api::k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use hansa_client::kube::api::{Api, PostParams};
use hansa_federation_api::kinds::LocalSecretReference;
use jiff::Timestamp;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::members::Member;

/// The part of a token's life after which it is renewed, in percent: early enough that several
/// tries
/// fit before 80.
const RENEW_AT: i64 = 70;
/// Between two tries that failed.
const RETRY: Duration = Duration::from_secs(30);

/// What a token says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Claims {
    sub: String,
    iat: i64,
    exp: i64,
}

impl Claims {
    /// Reads a token without checking it: whoever it is for does that.
    fn of(token: &str) -> Option<Self> {
        let payload = token.split('.').nth(1)?;
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// The namespace and the name of the service account.
    fn account(&self) -> Option<(&str, &str)> {
        self.sub.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    fn lifetime(&self) -> i64 {
        (self.exp - self.iat).max(0)
    }

    /// Seconds until the token is due for renewal.
    fn due_in(&self, now: Timestamp) -> i64 {
        self.iat + self.lifetime() * RENEW_AT / 100 - now.as_second()
    }
}

/// Renews a member's token while its connection lasts. A new token makes a new connection, which
/// renews in its turn; a token without an end is left alone.
pub async fn run(hub: Arc<Hub>, member: Arc<Member>, secret: LocalSecretReference) {
    let Some(claims) = Claims::of(member.access.token()) else { return };
    let mut wait = seconds(claims.due_in(Timestamp::now()));
    loop {
        tokio::select! {
            () = member.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        match renew(&hub, &member, &claims, &secret).await {
            Ok(()) => return tracing::info!(cluster = %member.name, "renewed the member's token"),
            Err(error) => {
                tracing::warn!(cluster = %member.name, %error, "the member's token is not renewed");
                wait = RETRY;
            }
        }
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

async fn renew(
    hub: &Hub,
    member: &Member,
    claims: &Claims,
    secret: &LocalSecretReference,
) -> Result<()> {
    let not_ours = || Error::Unusable("the token is no service account's".into());
    let (namespace, name) = claims.account().ok_or_else(not_ours)?;
    let accounts: Api<ServiceAccount> = Api::namespaced(member.client.clone(), namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(claims.lifetime()),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let params = PostParams::default();
    let answer = member.call(accounts.create_token_request(name, &params, &request)).await?;
    let empty = || Error::Unusable("the member answered without a token".into());
    let token = answer.status.and_then(|s| s.token).ok_or_else(empty)?;
    let secrets: Api<Secret> = Api::namespaced(hub.client.clone(), &secret.namespace);
    let mut after = secrets.get(&secret.name).await.map_err(Error::Hub)?;
    after.data.get_or_insert_default().insert("token".into(), ByteString(token.into_bytes()));
    let params = PostParams::default();
    secrets.replace(&secret.name, &params, &after).await.map(drop).map_err(Error::Hub)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload);
        format!("e30.{payload}.sig")
    }

    #[test]
    fn a_token_is_due_before_four_fifths_of_its_life() {
        let token =
            token(r#"{"sub":"system:serviceaccount:karmada-cluster:eu","iat":1000,"exp":2000}"#);
        let claims = Claims::of(&token).unwrap();
        assert_eq!(claims.account(), Some(("karmada-cluster", "eu")));
        assert_eq!(claims.due_in(Timestamp::from_second(1000).unwrap()), 700);
        assert!(claims.due_in(Timestamp::from_second(1800).unwrap()) < 0);
    }

    #[test]
    fn a_token_without_an_end_is_left_alone() {
        assert_eq!(Claims::of("opaque"), None);
        assert_eq!(Claims::of(&token(r#"{"sub":"x"}"#)), None);
    }
}
