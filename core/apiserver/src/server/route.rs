//! Which handler a request goes to, once it passed the filters.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};

use super::ApiServer;
use crate::authn::Identity;
use crate::body::Body;
use crate::metrics::render_resources;
use crate::request_info::RequestInfo;
use crate::{aggregation, discovery, health, openapi, responses, review, streaming, version};

/// Routes a request; what is no special case is the generic registry's.
pub(crate) async fn route(
    server: &Arc<ApiServer>,
    info: &Arc<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    if let Some(backend) = server.aggregator.backend(&info.path) {
        return aggregation::handle(server, &backend, request).await;
    }
    if !info.is_resource_request {
        return path(server, info, request).await;
    }
    if review::is_review(info) {
        return review::handle(server, info, request).await;
    }
    if streaming::is_stream(info) {
        return streaming::handle(server, info, request).await;
    }
    let user = request.extensions().get::<Arc<Identity>>().cloned().unwrap_or_default();
    crate::handlers::dispatch(&server.registry, user, info, request).await
}

async fn path(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return method_not_allowed();
    }
    if let Some((question, one)) = health::Question::of(&info.path) {
        let store = server.registry.storage().health().await.map_err(|error| error.to_string());
        let checks = server.health.checks(question, store);
        let query = request.uri().query().unwrap_or_default();
        return health::answer(question, one, query, &checks);
    }
    let parts: Vec<&str> = info.path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["version"] => responses::json(StatusCode::OK, &version::document()),
        ["metrics"] => metrics(server).await,
        ["api" | "apis", ..] => discovery::handle(server, &parts, &request),
        ["openapi", rest @ ..] => openapi::handle(server, rest, request).await,
        [".well-known", "openid-configuration"] => {
            responses::json(StatusCode::OK, &server.tokens.tokens.openid_configuration())
        }
        ["openid", "v1", "jwks"] => jwks(server),
        [""] => discovery::paths(server),
        _ => responses::page_not_found(),
    }
}

fn jwks(server: &Arc<ApiServer>) -> Response<Body> {
    let media = http::HeaderValue::from_static("application/jwk-set+json");
    responses::bytes(StatusCode::OK, media, server.tokens.tokens.jwks().to_string())
}

async fn metrics(server: &Arc<ApiServer>) -> Response<Body> {
    let size = server.registry.storage().size_bytes().await.unwrap_or(0);
    let mut extra = format!(
        "# HELP apiserver_storage_size_bytes Size of the storage database file in bytes.\n\
         # TYPE apiserver_storage_size_bytes gauge\napiserver_storage_size_bytes {size}\n"
    );
    extra.push_str(&render_resources(&server.registry.counts()));
    let media = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    responses::bytes(StatusCode::OK, media, server.metrics.render(&extra))
}

fn method_not_allowed() -> Response<Body> {
    responses::text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n")
}
