//! DELETE of one object.

use hansa_api::meta;
use hansa_api::status::ApiError;
use http::{Response, StatusCode};
use serde_json::Value;

use super::{Call, read_body};
use crate::body::Body;
use crate::generic::decode;
use crate::generic::delete::Deleted;
use crate::generic::options::{DeleteOptions, Propagation, dry_run_value};
use crate::negotiate::body_format;

pub(super) async fn handle(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let options = read_options(call, body).await?;
    let ctx = call.context(options.dry_run, "");
    match call.registry.delete(&call.served, &ctx, &options).await? {
        Deleted::Marked(written) => call.object(StatusCode::OK, written.bytes),
        gone @ Deleted::Gone(_) => {
            Ok(call.document(StatusCode::OK, &gone.into_response(&call.served)))
        }
    }
}

/// The options in the body; where there is no body, in the query.
pub(super) async fn read_options(call: &Call, body: Body) -> Result<DeleteOptions, ApiError> {
    let format = body_format(&call.headers);
    let bytes = read_body::read(body).await?;
    let mut options = if bytes.is_empty() {
        from_query(call)?
    } else {
        from_body(&decode::parse(&bytes, format?, "DeleteOptions")?.obj)?
    };
    options.dry_run |= call.query.dry_run("DeleteOptions")?;
    Ok(options)
}

fn from_query(call: &Call) -> Result<DeleteOptions, ApiError> {
    let policy = match call.query.text("propagationPolicy") {
        "" => orphan_dependents(call.query.flag("orphanDependents")),
        text => Some(Propagation::parse(text)?),
    };
    Ok(DeleteOptions {
        grace_period_seconds: call.query.number("gracePeriodSeconds")?,
        propagation: policy,
        ..DeleteOptions::default()
    })
}

/// Reads a meta/v1 `DeleteOptions`.
pub(super) fn from_body(body: &Value) -> Result<DeleteOptions, ApiError> {
    if !body.is_object() {
        return Err(ApiError::bad_request("the body must be a DeleteOptions object"));
    }
    if !matches!(meta::kind(body), "" | "DeleteOptions") {
        return Err(ApiError::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions: {}",
            meta::kind(body)
        )));
    }
    for value in meta::list_at(body, &["dryRun"]) {
        dry_run_value("DeleteOptions", value.as_str().unwrap_or_default())?;
    }
    let text = |path: &[&str]| Some(meta::str_at(body, path).to_string()).filter(|t| !t.is_empty());
    let policy = match text(&["propagationPolicy"]) {
        Some(policy) => Some(Propagation::parse(&policy)?),
        None => orphan_dependents(meta::at(body, &["orphanDependents"]).and_then(Value::as_bool)),
    };
    Ok(DeleteOptions {
        dry_run: !meta::list_at(body, &["dryRun"]).is_empty(),
        grace_period_seconds: grace(body)?,
        propagation: policy,
        uid: text(&["preconditions", "uid"]),
        resource_version: text(&["preconditions", "resourceVersion"]),
    })
}

fn grace(body: &Value) -> Result<Option<i64>, ApiError> {
    match meta::at(body, &["gracePeriodSeconds"]) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(seconds) => Ok(Some(seconds.max(if seconds < 0 { 1 } else { 0 }))),
            None => Err(ApiError::bad_request("gracePeriodSeconds must be a whole number")),
        },
    }
}

fn orphan_dependents(orphan: Option<bool>) -> Option<Propagation> {
    orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_read_and_checked() {
        let options = from_body(&json!({"kind": "DeleteOptions", "gracePeriodSeconds": 5,
            "propagationPolicy": "Foreground", "preconditions": {"uid": "u"}}))
        .unwrap();
        assert_eq!(options.grace_period_seconds, Some(5));
        assert_eq!(options.propagation, Some(Propagation::Foreground));
        assert_eq!(options.uid.as_deref(), Some("u"));
        assert_eq!(
            from_body(&json!({"gracePeriodSeconds": -3})).unwrap().grace_period_seconds,
            Some(1)
        );
        for bad in [
            json!([]),
            json!({"kind": "Pod"}),
            json!({"propagationPolicy": "Never"}),
            json!({"gracePeriodSeconds": "soon"}),
            json!({"dryRun": ["Some"]}),
        ] {
            assert!(from_body(&bad).is_err(), "{bad}");
        }
    }
}
