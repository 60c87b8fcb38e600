//! Whether the user may: impersonation first, then the request itself.

use std::sync::Arc;

use hansa_api::ApiError;
use http::{Request, Uri};

use crate::authn::{Identity, impersonate as wish};
use crate::authz::{Attributes, Decision};
use crate::body::Body;
use crate::request_info::{RequestInfo, query_value};
use crate::server::ApiServer;

/// Whom the request acts as: the user, or whom it may impersonate.
pub(super) async fn impersonate(
    server: &Arc<ApiServer>,
    user: Arc<Identity>,
    request: &mut Request<Body>,
) -> Result<Arc<Identity>, ApiError> {
    let Some(wish) = wish::requested(request.headers()).map_err(ApiError::internal)? else {
        return Ok(user);
    };
    for needed in &wish.needed {
        let attrs = Attributes {
            user: &user,
            verb: "impersonate",
            namespace: &needed.namespace,
            group: needed.group,
            resource: needed.resource,
            subresource: &needed.subresource,
            name: &needed.name,
            path: "",
            is_resource: true,
            field_selector: "",
        };
        ask(server, &attrs).await?;
    }
    wish::strip(request.headers_mut());
    Ok(Arc::new(wish.identity))
}

/// 403 if the user may not.
pub(super) async fn authorize(
    server: &Arc<ApiServer>,
    user: &Identity,
    info: &RequestInfo,
    uri: &Uri,
) -> Result<(), ApiError> {
    let field_selector = match info.verb.as_str() {
        "list" | "watch" | "deletecollection" => {
            query_value(uri.query().unwrap_or_default(), "fieldSelector").unwrap_or_default()
        }
        _ => String::new(),
    };
    let attrs = Attributes { field_selector: &field_selector, ..Attributes::of(user, info) };
    ask(server, &attrs).await
}

async fn ask(server: &Arc<ApiServer>, attrs: &Attributes<'_>) -> Result<(), ApiError> {
    match server.authorizer.authorize(attrs, &server.objects()).await {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) => Err(attrs.forbidden(&reason)),
    }
}
