//! A request carried to an aggregated server, with the identity that it was authenticated as.

use std::sync::Arc;

use hansa_api::ApiError;
use http::{Request, Response, StatusCode};

use super::backend::Backend;
use crate::authn::{Identity, request_header};
use crate::body::Body;
use crate::responses;
use crate::server::ApiServer;
use crate::streaming::forward;

/// Answers a request that another server serves; 503 while that one is not available.
pub(crate) async fn handle(
    server: &Arc<ApiServer>,
    backend: &Backend,
    mut request: Request<Body>,
) -> Response<Body> {
    if !backend.available {
        return unavailable("service unavailable");
    }
    let user = request.extensions().get::<Arc<Identity>>().cloned().unwrap_or_default();
    request_header::put(request.headers_mut(), &user);
    match send(server, backend, request).await {
        Ok(response) => response,
        Err(why) => unavailable(&why),
    }
}

/// Sends a request as it is.
pub(super) async fn send(
    server: &Arc<ApiServer>,
    backend: &Backend,
    request: Request<Body>,
) -> Result<Response<Body>, String> {
    let to = backend.resolve(server).await.map_err(|error| {
        tracing::debug!(name = backend.name, %error, "failed to find the aggregated server");
        "service unavailable".to_string()
    })?;
    let trying = |why: String| format!("error trying to reach service: {why}");
    let stream = backend.connect(&to).await.map_err(trying)?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_string();
    let sent = forward(stream, &to, &path, request, server.stop.clone()).await;
    sent.map_err(|error: ApiError| error.message)
}

fn unavailable(why: &str) -> Response<Body> {
    responses::text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}
