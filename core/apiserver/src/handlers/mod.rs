//! One verb, one file: what a request does to the registry, and what the client reads back.
//!
//! [`dispatch`] is the only door; it takes requests that are authenticated and authorized.

mod apply;
mod binding;
mod create;
mod delete;
mod deletecollection;
mod eviction;
mod finalize;
mod get;
mod list;
mod patch;
mod read_body;
mod respond;
mod scale;
mod update;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use hansa_api::field::FieldError;
use hansa_api::status::{ApiError, Reason};
use http::{HeaderMap, Request, Response};

use crate::body::Body;
use crate::generic::catalog::Served;
use crate::generic::context::{Context, Identity, Warnings};
use crate::generic::entry::Form;
use crate::generic::options::{ListOptions, Query};
use crate::generic::registry::Registry;
use crate::generic::render::Rendering;
use crate::generic::resource::{Resource, Subresource};
use crate::generic::table::Include;
use crate::generic::update::Part;
use crate::negotiate::{Accepted, Offer, is_pretty, negotiate};
use crate::protobuf;
use crate::request_info::RequestInfo;

pub use read_body::BODY_LIMIT;
pub(crate) use respond::pretty;
pub(crate) use scale::scale_of;

/// One request on its way through a handler.
pub(crate) struct Call {
    pub(crate) registry: Arc<Registry>,
    pub(crate) served: Arc<Served>,
    pub(crate) user: Arc<Identity>,
    /// The API verb.
    pub(crate) verb: String,
    /// Empty for cluster-scoped resources.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) warnings: Warnings,
    pub(crate) accepted: Accepted,
}

/// Answers one resource request.
///
/// The caller has authenticated and authorized it and handles what is no object: discovery,
/// reviews, token requests, and the streaming subresources (log, exec, attach, proxy, …).
pub async fn dispatch(
    registry: &Arc<Registry>,
    user: Arc<Identity>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Response<Body> {
    match answer(registry, user, info, request).await {
        Ok(response) => response,
        Err(error) => crate::responses::error(&error),
    }
}

async fn answer(
    registry: &Arc<Registry>,
    user: Arc<Identity>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let served = registry
        .catalog
        .get(&info.api_group, &info.api_version, &info.resource)
        .ok_or_else(ApiError::no_such_resource)?;
    check_scope(&served.resource, info)?;
    let (parts, body) = request.into_parts();
    let call = Call {
        registry: registry.clone(),
        user,
        verb: info.verb.clone(),
        namespace: namespace_of(&served.resource, info),
        name: path_name(info),
        subresource: info.subresource.clone(),
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        accepted: negotiate(&parts.headers, offer(&served, info))?,
        headers: parts.headers,
        warnings: Warnings::default(),
        served,
    };
    call.check_verb()?;
    let warnings = call.warnings.clone();
    let deprecation = call.served.resource.deprecation.clone();
    let mut response = call.run(body).await.unwrap_or_else(|error| crate::responses::error(&error));
    respond::warn(&mut response, deprecation.iter());
    respond::warn(&mut response, warnings.take().iter());
    Ok(response)
}

/// Custom resources have no protobuf encoding; their `scale` has.
fn offer(served: &Served, info: &RequestInfo) -> Offer {
    let kind = crate::generic::decode::kind_of(&served.resource);
    Offer {
        forms: true,
        protobuf: info.subresource == "scale" || protobuf::is_known(&kind),
        collection: matches!(info.verb.as_str(), "list" | "watch"),
    }
}

/// The name in the path; the one that a field selector pins is the filter's business.
fn path_name(info: &RequestInfo) -> String {
    info.parts.get(1).cloned().unwrap_or_default()
}

fn namespace_of(resource: &Resource, info: &RequestInfo) -> String {
    if resource.namespaced { info.namespace.clone() } else { String::new() }
}

/// A namespaced object needs a namespace in its path; a cluster-scoped one must not have one.
fn check_scope(resource: &Resource, info: &RequestInfo) -> Result<(), ApiError> {
    let placed = !info.namespace.is_empty() && info.resource != "namespaces";
    if !resource.namespaced {
        return if placed { Err(ApiError::no_such_resource()) } else { Ok(()) };
    }
    match (placed, info.verb.as_str()) {
        (true, _) | (false, "list" | "watch") => Ok(()),
        (false, "create" | "deletecollection" | "") => Err(not_allowed()),
        (false, _) => Err(ApiError::no_such_resource()),
    }
}

/// 405 as upstream words it.
fn not_allowed() -> ApiError {
    let message = "the server does not allow this method on the requested resource";
    let details = Some(Box::default());
    ApiError { details, ..ApiError::new(Reason::MethodNotAllowed, message) }
}

impl Call {
    fn check_verb(&self) -> Result<(), ApiError> {
        let verbs = match self.subresource.as_str() {
            "" => &self.served.resource.verbs,
            _ => &self.sub()?.verbs,
        };
        let known = verbs.iter().any(|verb| *verb == self.verb.as_str());
        if known && self.is_placed() { Ok(()) } else { Err(not_allowed()) }
    }

    /// Objects are made in a collection and changed where they are.
    fn is_placed(&self) -> bool {
        match (self.subresource.as_str(), self.verb.as_str()) {
            ("", "create") => self.name.is_empty(),
            ("", "update" | "patch") => !self.name.is_empty(),
            _ => true,
        }
    }

    fn sub(&self) -> Result<&Subresource, ApiError> {
        self.served.resource.subresource(&self.subresource).ok_or_else(ApiError::no_such_resource)
    }

    async fn run(self, body: Body) -> Result<Response<Body>, ApiError> {
        match (self.subresource.as_str(), self.verb.as_str()) {
            ("", "list") => list::handle(&self).await,
            ("", "watch") => watch::handle(&self).await,
            ("", "create") if self.served.resource.plural == "bindings" => {
                binding::handle_legacy(&self, body).await
            }
            ("", "create") => create::handle(&self, body).await,
            ("", "delete") => delete::handle(&self, body).await,
            ("", "deletecollection") => deletecollection::handle(&self, body).await,
            ("" | "status" | "approval" | "ephemeralcontainers" | "resize", "get") => {
                get::handle(&self).await
            }
            ("", "update") => update::handle(&self, body, Part::Whole).await,
            ("", "patch") => patch::handle(&self, body, Part::Whole).await,
            ("status", "update") => update::handle(&self, body, Part::Status).await,
            ("status", "patch") => patch::handle(&self, body, Part::Status).await,
            ("approval" | "ephemeralcontainers" | "resize", "update") => {
                update::handle(&self, body, Part::Sub).await
            }
            ("approval" | "ephemeralcontainers" | "resize", "patch") => {
                patch::handle(&self, body, Part::Sub).await
            }
            ("scale", _) => scale::handle(&self, body).await,
            ("binding", "create") => binding::handle(&self, body).await,
            ("eviction", "create") => eviction::handle(&self, body).await,
            ("finalize", "update") => finalize::handle(&self, body).await,
            _ => Err(ApiError::no_such_resource()),
        }
    }

    /// The write as strategies and admission see it.
    fn context(&self, dry_run: bool, field_manager: &str) -> Context {
        Context {
            user: self.user.clone(),
            verb: self.verb.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            subresource: self.subresource.clone(),
            dry_run,
            field_manager: field_manager.to_string(),
            untracked: false,
            warnings: self.warnings.clone(),
        }
    }

    fn user_agent(&self) -> &str {
        let header = self.headers.get(http::header::USER_AGENT);
        header.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What a list or watch selects; the old path form `watch/…/NAME` names one object.
    fn list_options(&self, watch: bool) -> Result<ListOptions, ApiError> {
        let mut options = ListOptions::parse(&self.query, &self.namespace, watch)?;
        if !self.name.is_empty() {
            let fields = &options.filter.fields;
            if !fields.is_empty() && fields.required_value("metadata.name") != Some(&self.name) {
                let message = "fieldSelector metadata.name doesn't match requested name";
                return Err(ApiError::bad_request(message));
            }
            options.filter = options.filter.with_field("metadata.name", &self.name);
        }
        Ok(options)
    }

    /// How the client wants to see objects.
    fn rendering(&self) -> Result<Rendering, ApiError> {
        let Accepted { form, beta, encoding, .. } = self.accepted;
        let include = match self.query.text("includeObject") {
            _ if form != Form::Table => Include::Metadata,
            "" | "Metadata" => Include::Metadata,
            "None" => Include::Nothing,
            "Object" => Include::Object,
            other => return Err(odd_include(other)),
        };
        Ok(Rendering { form, include, beta, encoding })
    }

    /// Whether JSON is indented for a person.
    fn is_pretty(&self) -> bool {
        self.accepted.pretty || is_pretty(self.query.flag("pretty"), &self.headers)
    }
}

fn odd_include(value: &str) -> ApiError {
    let why = "must be 'Metadata', 'Object', 'None', or empty";
    let error = FieldError::invalid("includeObject", value, why);
    ApiError::bad_request(format!("Unable to convert to Table as requested: {error}"))
}
