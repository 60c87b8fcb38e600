//! SubjectAccessReview and its relatives: what the authorizer would say.

use std::collections::BTreeMap;

use hansa_api::{ApiError, meta};
use serde_json::{Value, json};

use super::Question;
use crate::authn::Identity;
use crate::authz::{Attributes, Decision};

/// About the one who asks.
pub(super) async fn own(question: &Question<'_>) -> Result<Value, ApiError> {
    decide(question, &question.user).await
}

/// About anybody; a local review is about its namespace.
pub(super) async fn of_subject(question: &Question<'_>, place: &str) -> Result<Value, ApiError> {
    let spec = question.spec();
    let subject = Identity {
        name: meta::str_at(spec, &["user"]).to_string(),
        uid: meta::str_at(spec, &["uid"]).to_string(),
        groups: strings(&spec["groups"]),
        extra: extra(&spec["extra"]),
    };
    if subject.name.is_empty() && subject.groups.is_empty() {
        return Err(ApiError::bad_request("spec.user or spec.groups: at least one must be given"));
    }
    let asked = meta::str_at(spec, &["resourceAttributes", "namespace"]);
    if !place.is_empty() && asked != place {
        return Err(ApiError::bad_request(format!(
            "spec.resourceAttributes.namespace: must be the namespace of the request, {place:?}"
        )));
    }
    decide(question, &subject).await
}

async fn decide(question: &Question<'_>, subject: &Identity) -> Result<Value, ApiError> {
    let attrs = attributes(question.spec(), subject)?;
    let server = question.server;
    let (allowed, reason) = match server.authorizer.authorize(&attrs, &server.objects()).await {
        Decision::Allow(reason) => (true, reason),
        Decision::Deny(reason) => (false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    Ok(question.answered(status))
}

/// Exactly one of the two kinds of attributes has to be there.
fn attributes<'a>(spec: &'a Value, user: &'a Identity) -> Result<Attributes<'a>, ApiError> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() == path.is_object() {
        return Err(ApiError::bad_request(
            "spec.resourceAttributes: exactly one of nonResourceAttributes or resourceAttributes \
             must be specified",
        ));
    }
    let is_resource = resource.is_object();
    let of = if is_resource { resource } else { path };
    Ok(Attributes {
        user,
        verb: meta::str_at(of, &["verb"]),
        namespace: meta::str_at(resource, &["namespace"]),
        group: meta::str_at(resource, &["group"]),
        resource: meta::str_at(resource, &["resource"]),
        subresource: meta::str_at(resource, &["subresource"]),
        name: meta::str_at(resource, &["name"]),
        path: meta::str_at(path, &["path"]),
        is_resource,
        field_selector: meta::str_at(resource, &["fieldSelector", "rawSelector"]),
    })
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(String::from).collect()
}

fn extra(value: &Value) -> BTreeMap<String, Vec<String>> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(key, values)| (key.clone(), strings(values))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_about_a_resource_or_a_path() {
        let user = Identity::default();
        let both = json!({"resourceAttributes": {}, "nonResourceAttributes": {}});
        assert!(attributes(&both, &user).is_err());
        assert!(attributes(&json!({}), &user).is_err());
        let spec = json!({"resourceAttributes": {"verb": "get", "resource": "pods"}});
        let attrs = attributes(&spec, &user).unwrap();
        assert!(attrs.is_resource);
        assert_eq!((attrs.verb, attrs.resource), ("get", "pods"));
        let spec = json!({"nonResourceAttributes": {"verb": "get", "path": "/healthz"}});
        assert_eq!(attributes(&spec, &user).unwrap().path, "/healthz");
    }
}
