//! Questions posed as objects: who am I, may I, may they, and a token for this ServiceAccount.
//!
//! Nothing here is stored: the answer is the posted object with its status filled in.

mod access;
mod rules;
mod token_request;
mod token_review;

use std::sync::Arc;

use hansa_api::{ApiError, GroupResource};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::authn::Identity;
use crate::body::{self, Body};
use crate::request_info::RequestInfo;
use crate::responses;
use crate::server::ApiServer;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// One question on its way to its answer.
struct Question<'a> {
    server: &'a Arc<ApiServer>,
    info: &'a RequestInfo,
    user: Arc<Identity>,
    object: Value,
}

/// Whether the request is one that this module answers.
pub fn is_review(info: &RequestInfo) -> bool {
    let (group, resource) = (info.api_group.as_str(), info.resource.as_str());
    matches!(
        (group, resource, info.subresource.as_str()),
        ("", "serviceaccounts", "token")
            | (AUTHENTICATION, "tokenreviews" | "selfsubjectreviews", "")
            | (AUTHORIZATION, _, "")
    )
}

/// Answers a review or a token request.
pub async fn handle(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Response<Body> {
    match answer(server, info, request).await {
        Ok(object) => responses::object(StatusCode::CREATED, &object),
        Err(error) => responses::error(&error),
    }
}

async fn answer(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Value, ApiError> {
    if info.verb != "create" {
        return Err(ApiError::method_not_allowed(&resource_of(info), &info.verb));
    }
    let user = request.extensions().get::<Arc<Identity>>().cloned().unwrap_or_default();
    let object = read(request).await?;
    let question = Question { server, info, user, object };
    match info.resource.as_str() {
        "serviceaccounts" => token_request::answer(&question).await,
        "tokenreviews" => token_review::answer(&question).await,
        "selfsubjectreviews" => {
            Ok(question.answered(json!({"userInfo": user_info(&question.user)})))
        }
        "selfsubjectaccessreviews" => access::own(&question).await,
        "subjectaccessreviews" => access::of_subject(&question, "").await,
        "localsubjectaccessreviews" => access::of_subject(&question, &info.namespace).await,
        "selfsubjectrulesreviews" => rules::answer(&question),
        _ => Err(ApiError::no_such_resource()),
    }
}

async fn read(request: Request<Body>) -> Result<Value, ApiError> {
    let format = crate::negotiate::body_format(request.headers())?;
    let bytes = body::collect(request.into_body(), crate::filters::MAX_BODY_BYTES).await;
    let bytes = bytes.map_err(|error| ApiError::bad_request(format!("failed to {error}")))?;
    let object = crate::generic::decode::parse(&bytes, format, "object")?.obj;
    if object.is_object() {
        Ok(object)
    } else {
        Err(ApiError::bad_request("the object provided is no object"))
    }
}

fn resource_of(info: &RequestInfo) -> GroupResource {
    GroupResource::new(info.api_group.as_str(), info.resource.as_str())
}

impl Question<'_> {
    fn spec(&self) -> &Value {
        &self.object["spec"]
    }

    /// The posted object with kind, version and status.
    fn answered(&self, status: Value) -> Value {
        let mut object = self.object.clone();
        let info = self.info;
        object["apiVersion"] = match info.api_group.as_str() {
            "" => format!("{AUTHENTICATION}/v1"),
            group => format!("{group}/{}", info.api_version),
        }
        .into();
        object["kind"] = kind_of(&info.resource).into();
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        object["metadata"]["creationTimestamp"] = Value::Null;
        if !object["spec"].is_object() {
            object["spec"] = json!({});
        }
        object["status"] = status;
        object
    }
}

fn kind_of(resource: &str) -> &'static str {
    match resource {
        "serviceaccounts" => "TokenRequest",
        "tokenreviews" => "TokenReview",
        "selfsubjectreviews" => "SelfSubjectReview",
        "selfsubjectaccessreviews" => "SelfSubjectAccessReview",
        "subjectaccessreviews" => "SubjectAccessReview",
        "localsubjectaccessreviews" => "LocalSubjectAccessReview",
        _ => "SelfSubjectRulesReview",
    }
}

/// A user as `UserInfo` (authentication.k8s.io/v1).
fn user_info(user: &Identity) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_and_token_requests_are_recognised() {
        let of = |uri: &str| RequestInfo::parse(&http::Method::POST, &uri.parse().unwrap());
        for uri in [
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "/apis/authorization.k8s.io/v1/namespaces/a/localsubjectaccessreviews",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            "/api/v1/namespaces/a/serviceaccounts/b/token",
        ] {
            assert!(is_review(&of(uri)), "{uri}");
        }
        assert!(!is_review(&of("/api/v1/namespaces/a/serviceaccounts")));
    }

    #[tokio::test]
    async fn what_is_no_object_is_a_bad_request() {
        for body in ["", "[]", "{", "\u{1}"] {
            let request = Request::new(crate::body::full(body.to_string()));
            assert_eq!(read(request).await.unwrap_err().code, 400, "{body:?}");
        }
    }
}
