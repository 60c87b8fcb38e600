//! What goes on to a kubelet, a pod or a Service: logs, exec, attach, port-forward, proxies.
//!
//! The API server decides where the request goes and tunnels bytes; the far end speaks the protocol
//! (WebSocket or SPDY) with the client.

mod admit;
mod logs;
mod rewrite;
mod sessions;
mod targets;
mod transport;
mod tunnel;

use std::sync::Arc;

use hansa_api::ApiError;
use http::{Request, Response};

pub use transport::KubeletTransport;
pub(crate) use transport::{Authority, Stream};
pub(crate) use tunnel::forward;

use crate::body::Body;
use crate::request_info::RequestInfo;
use crate::responses;
use crate::server::ApiServer;

/// Whether the request is one that this module answers.
pub fn is_stream(info: &RequestInfo) -> bool {
    if !info.api_group.is_empty() {
        return false;
    }
    matches!(
        (info.resource.as_str(), info.subresource.as_str()),
        ("pods", "log" | "exec" | "attach" | "portforward" | "proxy")
            | ("nodes" | "services", "proxy")
    )
}

/// Answers a streaming request.
pub async fn handle(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Response<Body> {
    match answer(server, info, request).await {
        Ok(response) => response,
        Err(error) => responses::error(&error),
    }
}

async fn answer(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let asked = admit::Asked::of(info, &request);
    asked.check(server, info).await?;
    match (info.resource.as_str(), info.subresource.as_str()) {
        ("pods", "log") => logs::handle(server, info, request).await,
        ("pods", "exec" | "attach" | "portforward") => {
            sessions::handle(server, info, request).await
        }
        ("pods", _) => targets::pod(server, info, request).await,
        ("nodes", _) => targets::node(server, info, request).await,
        _ => targets::service(server, info, request).await,
    }
}
