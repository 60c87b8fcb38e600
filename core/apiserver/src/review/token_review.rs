//! TokenReview: whether a token is good, and whose it is.

use hansa_api::{ApiError, meta};
use serde_json::{Value, json};

use super::{Question, user_info};
use crate::authn::Identity;
use crate::authn::service_account::Error;
use crate::authn::x509::now_secs;

/// Checks `spec.token` for `spec.audiences` (the server's own if there are none).
pub(super) async fn answer(question: &Question<'_>) -> Result<Value, ApiError> {
    let token = meta::str_at(question.spec(), &["token"]);
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let asked = meta::list_at(question.spec(), &["audiences"]);
    let asked: Vec<String> = asked.iter().filter_map(Value::as_str).map(String::from).collect();
    let status = match check(question, token, &asked).await {
        Ok((user, audiences)) => json!({
            "authenticated": true, "user": user_info(&user), "audiences": audiences,
        }),
        Err(error) => json!({"authenticated": false, "user": {}, "error": error.to_string()}),
    };
    Ok(question.answered(status))
}

async fn check(
    question: &Question<'_>,
    token: &str,
    asked: &[String],
) -> Result<(Identity, Vec<String>), Error> {
    let server = question.server;
    let tokens = &server.tokens.tokens;
    let claims = tokens.verify(token, asked, now_secs())?;
    claims.confirm(&server.objects()).await?;
    let accepted = if asked.is_empty() { tokens.audiences() } else { asked };
    let audiences =
        claims.audiences.iter().filter(|audience| accepted.contains(audience)).cloned().collect();
    Ok((claims.identity(), audiences))
}
