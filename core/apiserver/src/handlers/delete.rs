//! DELETE of one object.

use hansa_api::field::FieldError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::meta;
use hansa_api::schema::builtin;
use hansa_api::schema::decode::conform;
use hansa_api::status::ApiError;
use http::{Response, StatusCode};
use serde_json::Value;

use super::{Call, read_body};
use crate::body::Body;
use crate::generic::decode;
use crate::generic::delete::Deleted;
use crate::generic::options::{DeleteOptions, Propagation, dry_run_value};
use crate::generic::resource::Resource;
use crate::negotiate::body_format;

const OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

pub(super) async fn handle(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let options = read_options(call, body).await?;
    let ctx = call.context(options.dry_run, "");
    match call.registry.delete(&call.served, &ctx, &options).await? {
        Deleted::Marked(written) => call.object(StatusCode::OK, &written.obj),
        Deleted::Gone(obj) if is_shown(&call.served.resource) => call.object(StatusCode::OK, &obj),
        gone @ Deleted::Gone(_) => {
            Ok(call.document(StatusCode::OK, &gone.into_response(&call.served)))
        }
    }
}

/// Resources whose DELETE answers with what is gone; the others answer with a `Status`.
const SHOWN: [(&str, &[&str]); 3] = [
    (
        "",
        &[
            "namespaces",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "podtemplates",
            "resourcequotas",
            "serviceaccounts",
            "services",
        ],
    ),
    (
        "storage.k8s.io",
        &[
            "csidrivers",
            "csinodes",
            "storageclasses",
            "volumeattachments",
            "volumeattributesclasses",
        ],
    ),
    (
        "resource.k8s.io",
        &["deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"],
    ),
];

/// What who deletes jobs and does not say how is told.
const CHILDREN_STAY: &str = "child pods are preserved by default when jobs are deleted; set \
                             propagationPolicy=Background to remove them or set \
                             propagationPolicy=Orphan to suppress this warning";

fn is_shown(resource: &Resource) -> bool {
    let is_own = |(group, plurals): &&(&str, &[&str])| {
        *group == resource.group && plurals.contains(&&*resource.plural)
    };
    SHOWN.iter().any(|shown| is_own(&shown))
}

/// The options in the body; where there is no body, in the query.
pub(super) async fn read_options(call: &Call, body: Body) -> Result<DeleteOptions, ApiError> {
    let format = body_format(&call.headers);
    let bytes = read_body::read(body).await?;
    let mut options = if bytes.is_empty() {
        from_query(call)?
    } else {
        let body = decode::object_tree(&bytes, format?).map_err(ApiError::bad_request)?;
        from_body(&body.obj)?
    };
    options.dry_run |= call.query.dry_run("DeleteOptions")?;
    let resource = &call.served.resource;
    let jobs = resource.group == "batch" && resource.plural == "jobs";
    if jobs && options.propagation.is_none() {
        call.warnings.add(CHILDREN_STAY);
    }
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
    let body = &checked(body)?;
    for value in meta::list_at(body, &["dryRun"]) {
        dry_run_value("DeleteOptions", value.as_str().unwrap_or_default())?;
    }
    let text = |path: &[&str]| Some(meta::str_at(body, path).to_string()).filter(|t| !t.is_empty());
    let grace = meta::int_at(body, &["gracePeriodSeconds"]);
    Ok(DeleteOptions {
        dry_run: !meta::list_at(body, &["dryRun"]).is_empty(),
        grace_period_seconds: grace.map(|seconds| if seconds < 0 { 1 } else { seconds }),
        propagation: propagation(body)?,
        uid: text(&["preconditions", "uid"]),
        resource_version: text(&["preconditions", "resourceVersion"]),
    })
}

/// A `DeleteOptions` with the right types: an option that is misread must not delete.
fn checked(body: &Value) -> Result<Value, ApiError> {
    if !body.is_object() {
        return Err(ApiError::bad_request("the body must be a DeleteOptions object"));
    }
    if !matches!(meta::kind(body), "" | "DeleteOptions") {
        return Err(ApiError::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions: {}",
            meta::kind(body)
        )));
    }
    let mut body = body.clone();
    if let Some(id) = builtin().type_named(OPTIONS) {
        let kind = GroupVersionKind::new("", "v1", "DeleteOptions");
        conform(builtin(), id, &mut body).map_err(|error| error.for_kind(&kind))?;
    }
    Ok(body)
}

fn propagation(body: &Value) -> Result<Option<Propagation>, ApiError> {
    let orphan = meta::at(body, &["orphanDependents"]).and_then(Value::as_bool);
    match (meta::at(body, &["propagationPolicy"]).and_then(Value::as_str), orphan) {
        (None, orphan) => Ok(orphan_dependents(orphan)),
        (Some(policy), None) => Propagation::parse(policy).map(Some),
        (Some(policy), Some(_)) => {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            let error = FieldError::invalid("propagationPolicy", policy, why);
            let kind = GroupVersionKind::new("meta.k8s.io", "v1", "DeleteOptions");
            Err(ApiError::invalid(&kind, "", &[error]))
        }
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
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            json!({"gracePeriodSeconds": "soon"}),
            json!({"preconditions": {"uid": 1}}),
            json!({"preconditions": "none"}),
            json!({"dryRun": ["Some"]}),
        ] {
            assert!(from_body(&bad).is_err(), "{bad}");
        }
    }
}
