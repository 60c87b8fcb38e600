//! What goes wrong, in the API's own terms: [`ApiError`], its wire form `Status`, and field errors.

use serde_json::{Map, Value, json};

use crate::field::{FieldError, aggregate};
use crate::gvk::{GroupResource, GroupVersionKind};

/// Why a request failed, as `Status.reason` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    UnsupportedMediaType,
    RequestEntityTooLarge,
    TooManyRequests,
    Timeout,
    ServerTimeout,
    InternalError,
    ServiceUnavailable,
    Unknown,
}

impl Reason {
    /// The word on the wire; `Unknown` is the empty string.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Expired => "Expired",
            Self::Invalid => "Invalid",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::TooManyRequests => "TooManyRequests",
            Self::Timeout => "Timeout",
            Self::ServerTimeout => "ServerTimeout",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Unknown => "",
        }
    }

    /// The reason of this word; `Unknown` for words that are not known here.
    pub fn parse(word: &str) -> Self {
        const ALL: [Reason; 18] = [
            Reason::BadRequest,
            Reason::Unauthorized,
            Reason::Forbidden,
            Reason::NotFound,
            Reason::AlreadyExists,
            Reason::Conflict,
            Reason::Gone,
            Reason::Expired,
            Reason::Invalid,
            Reason::MethodNotAllowed,
            Reason::NotAcceptable,
            Reason::UnsupportedMediaType,
            Reason::RequestEntityTooLarge,
            Reason::TooManyRequests,
            Reason::Timeout,
            Reason::ServerTimeout,
            Reason::InternalError,
            Reason::ServiceUnavailable,
        ];
        ALL.into_iter().find(|reason| reason.as_str() == word).unwrap_or(Self::Unknown)
    }

    /// The HTTP status code that goes with it.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Gone | Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::ServerTimeout | Self::InternalError | Self::Unknown => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
        }
    }
}

/// One of the several things that were wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Such as `FieldValueInvalid`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field's path, if one is to blame.
    pub field: String,
}

/// What a failure is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// The API group.
    pub group: String,
    /// A resource or a kind, as upstream has it for the reason at hand.
    pub kind: String,
    /// The object's UID.
    pub uid: String,
    /// The several things that were wrong.
    pub causes: Vec<Cause>,
    /// Seconds to wait before trying again; 0 says nothing.
    pub retry_after_seconds: u32,
}

/// A failure as clients see it; [`ApiError::to_status`] is the only way to the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status code.
    pub code: u16,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// Where a list that expired midway may go on, inconsistently (`metadata.continue`).
    pub continue_token: Option<String>,
}

/// What a write with a stale resourceVersion is told.
pub const OPTIMISTIC_LOCK: &str = "the object has been modified; please apply your changes to the \
                                   latest version and try again";

impl ApiError {
    /// A failure with no details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code: reason.code(),
            reason,
            message: message.into(),
            details: None,
            continue_token: None,
        }
    }

    fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.group.clone_from(&resource.group);
        details.kind.clone_from(&resource.resource);
        details.name = name.into();
        self
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Adds one cause.
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause { reason: reason.into(), message: message.into(), field: field.into() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// 400: the request itself makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// 401: nobody knows who asks.
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized")
    }

    /// 403: `pods "x" is forbidden: why`; without a name `pods is forbidden: why`.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl std::fmt::Display) -> Self {
        let message = if resource.resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {name:?} is forbidden: {why}")
        };
        Self::new(Reason::Forbidden, message).about(resource, name)
    }

    /// 404: `pods "x" not found`.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(Reason::NotFound, format!("{resource} {name:?} not found")).about(resource, name)
    }

    /// 404 for a path or a resource that is not served.
    pub fn no_such_resource() -> Self {
        let message = "the server could not find the requested resource";
        let mut error = Self::new(Reason::NotFound, message);
        error.details = Some(Box::default());
        error
    }

    /// 409: `pods "x" already exists`.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} {name:?} already exists");
        Self::new(Reason::AlreadyExists, message).about(resource, name)
    }

    /// 409 after all tries to generate a name met one that was taken.
    pub fn generate_name_conflict(resource: &GroupResource, name: &str) -> Self {
        let message = format!(
            "{resource} {name:?} already exists, the server was not able to generate a unique \
             name for the object"
        );
        Self::new(Reason::AlreadyExists, message).about(resource, name).retry_after(1)
    }

    /// 409: `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl std::fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(Reason::Conflict, message).about(resource, name)
    }

    /// 409: somebody else wrote the object in between.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(resource, name, OPTIMISTIC_LOCK)
    }

    /// 410 with reason `Gone`.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(Reason::Gone, message)
    }

    /// 410 with reason `Expired`: the resourceVersion or continue token asked for is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// 410: `too old resource version: asked (oldest)`.
    pub fn too_old_resource_version(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// 422: `Deployment.apps "x" is invalid: …` with one cause per field error.
    pub fn invalid(kind: &GroupVersionKind, name: &str, errors: &[FieldError]) -> Self {
        let subject = format!("{} {name:?} is invalid", kind.qualified());
        let message = match aggregate(errors) {
            list if list.is_empty() => subject,
            list => format!("{subject}: {list}"),
        };
        let details = Details {
            name: name.into(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes: errors.iter().map(FieldError::to_cause).collect(),
            ..Details::default()
        };
        Self { details: Some(Box::new(details)), ..Self::new(Reason::Invalid, message) }
    }

    /// 405: the resource is there, the verb is not.
    pub fn method_not_allowed(resource: &GroupResource, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind \"{resource}\"");
        Self::new(Reason::MethodNotAllowed, message).about(resource, "")
    }

    /// 406: no media type in `Accept` is one we make.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let message = format!("only the following media types are accepted: {list}");
        Self::new(Reason::NotAcceptable, message)
    }

    /// 415: the body's media type is none we read.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(Reason::UnsupportedMediaType, message)
    }

    /// 413: the body is over the limit, in bytes.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity is too large: limit is {limit}");
        Self::new(Reason::RequestEntityTooLarge, message)
    }

    /// 429: come back in so many seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(Reason::TooManyRequests, message).retry_after(retry_after_seconds)
    }

    /// 504: the request ran out of time.
    pub fn timeout(message: impl std::fmt::Display, retry_after_seconds: u32) -> Self {
        Self::new(Reason::Timeout, format!("Timeout: {message}")).retry_after(retry_after_seconds)
    }

    /// 500 with reason `ServerTimeout`: not now, but soon.
    pub fn server_timeout(resource: &GroupResource, verb: &str, retry_after_seconds: u32) -> Self {
        let message = format!(
            "The {verb} operation against {resource} could not be completed at this time, please \
             try again."
        );
        let error = Self::new(Reason::ServerTimeout, message).about(resource, verb);
        error.retry_after(retry_after_seconds)
    }

    /// 500: our fault.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string();
        let message = format!("Internal error occurred: {cause}");
        Self::new(Reason::InternalError, message).with_cause("", cause, "")
    }

    /// 503: not ready, or overloaded.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Reason::ServiceUnavailable, message)
    }

    /// Whether the reason is `NotFound`.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// Whether the reason is `Conflict`.
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// Whether the reason is `AlreadyExists`.
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }

    /// The `Status` object that goes over the wire.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if self.reason != Reason::Unknown {
            status["reason"] = self.reason.as_str().into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_json();
        }
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = token.as_str().into();
        }
        status
    }
}

impl Details {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        put(&mut map, "name", &self.name);
        put(&mut map, "group", &self.group);
        put(&mut map, "kind", &self.kind);
        put(&mut map, "uid", &self.uid);
        if !self.causes.is_empty() {
            map.insert("causes".into(), self.causes.iter().map(Cause::to_json).collect());
        }
        if self.retry_after_seconds > 0 {
            map.insert("retryAfterSeconds".into(), self.retry_after_seconds.into());
        }
        Value::Object(map)
    }
}

impl Cause {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        put(&mut map, "reason", &self.reason);
        put(&mut map, "message", &self.message);
        put(&mut map, "field", &self.field);
        Value::Object(map)
    }
}

fn put(map: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        map.insert(key.into(), text.into());
    }
}

/// The `Status` of a deletion that is done: `kind`, `name`, `group` and `uid` of what is gone.
pub fn success(resource: &GroupResource, name: &str, uid: &str) -> Value {
    let details = Details {
        name: name.into(),
        group: resource.group.clone(),
        kind: resource.resource.clone(),
        uid: uid.into(),
        ..Details::default()
    };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details.to_json(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_that_clients_match() {
        let pods = GroupResource::new("", "pods");
        let deployments = GroupResource::new("apps", "deployments");
        assert_eq!(ApiError::not_found(&pods, "x").message, r#"pods "x" not found"#);
        assert_eq!(
            ApiError::modified(&deployments, "web").message,
            "Operation cannot be fulfilled on deployments.apps \"web\": the object has been \
             modified; please apply your changes to the latest version and try again"
        );
        let why = r#"User "jo" cannot list resource "pods""#;
        assert_eq!(
            ApiError::forbidden(&pods, "", why).message,
            r#"pods is forbidden: User "jo" cannot list resource "pods""#
        );
    }

    #[test]
    fn an_invalid_object_carries_a_cause_per_field() {
        let kind = GroupVersionKind::new("apps", "v1", "Deployment");
        let errors = [
            FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0"),
            FieldError::required("spec.selector", ""),
        ];
        let status = ApiError::invalid(&kind, "web", &errors).to_status();
        assert_eq!(
            status["message"],
            "Deployment.apps \"web\" is invalid: [spec.replicas: Invalid value: -1: must be \
             greater than or equal to 0, spec.selector: Required value]"
        );
        assert_eq!(status["code"], 422);
        assert_eq!(status["details"]["causes"][1]["reason"], "FieldValueRequired");
        assert_eq!(status["details"]["causes"][1]["field"], "spec.selector");
    }
}
