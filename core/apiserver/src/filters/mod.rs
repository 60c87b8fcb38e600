//! What every request passes, outermost first: accounting, the encoding of
//! documents, panic guard, authentication,
//! impersonation, authorization, in-flight limits, deadline, body limit; then it is routed.

mod account;
mod authenticate;
mod authorize;
mod body_limit;
mod in_flight;
mod negotiated;
mod panic_guard;
mod tracked;
mod transcode;

use std::sync::Arc;
use std::time::Duration;

use hansa_api::ApiError;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};

pub use body_limit::MAX_BODY_BYTES;
pub use in_flight::InFlightLimits;

use crate::authn::Identity;
use crate::body::Body;
use crate::request_info::RequestInfo;
use crate::responses;
use crate::server::ApiServer;

/// Handles one request from the first filter to the response.
pub async fn run(
    server: &Arc<ApiServer>,
    request: Request<Body>,
    identity: Option<Arc<Identity>>,
) -> Response<Body> {
    let info = Arc::new(RequestInfo::parse(request.method(), request.uri()));
    let account = account::Account::open(&info, &request);
    let wish = negotiated::Wish::of(&request);
    let inner = authenticated(server, &info, request, identity, &account);
    let response = panic_guard::guard(&info, inner).await;
    account.close(server, wish.grant(response).await)
}

async fn authenticated(
    server: &Arc<ApiServer>,
    info: &Arc<RequestInfo>,
    mut request: Request<Body>,
    identity: Option<Arc<Identity>>,
    account: &account::Account,
) -> Response<Body> {
    match admit(server, info, &mut request, identity).await {
        Ok(user) => {
            account.set_user(&user);
            request.extensions_mut().insert(user);
            within_limits(server, info, request).await
        }
        Err(error) => responses::error(&error),
    }
}

/// Authentication, impersonation, authorization: who the request acts as, if it may.
async fn admit(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: &mut Request<Body>,
    identity: Option<Arc<Identity>>,
) -> Result<Arc<Identity>, ApiError> {
    let user = match identity {
        Some(known) => known,
        None => authenticate::authenticate(server, request).await?,
    };
    let user = authorize::impersonate(server, user, request).await?;
    authorize::authorize(server, &user, info, request.uri()).await?;
    Ok(user)
}

async fn within_limits(
    server: &Arc<ApiServer>,
    info: &Arc<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    if info.is_long_running() {
        return crate::server::route(server, info, request).await;
    }
    let deadline = match body_limit::deadline(request.uri(), server.config.request_timeout) {
        Ok(deadline) => deadline,
        Err(error) => return responses::error(&error),
    };
    if server.aggregator.backend(&info.path).is_some() {
        // Another server does the work and has limits of its own; its slowness is nobody else's.
        return in_time(deadline, crate::server::route(server, info, request)).await;
    }
    let user = request.extensions().get::<Arc<Identity>>().cloned().unwrap_or_default();
    let _permit = match server.limits.enter(info, &user, &server.metrics).await {
        Ok(permit) => permit,
        Err(_) => return too_many(),
    };
    let work = async {
        match read_body(request).await {
            Ok(request) => crate::server::route(server, info, request).await,
            Err(error) => responses::error(&error),
        }
    };
    in_time(deadline, work).await
}

/// 429 in plain text, as upstream's limits answer.
fn too_many() -> Response<Body> {
    let text = format!("{}\n", in_flight::TOO_MANY);
    let mut response = responses::text(StatusCode::TOO_MANY_REQUESTS, text);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// 504 for what takes too long.
async fn in_time(limit: Duration, work: impl Future<Output = Response<Body>>) -> Response<Body> {
    match tokio::time::timeout(limit, work).await {
        Ok(response) => response,
        Err(_) => responses::error(&ApiError::timeout(
            "request did not complete within the allotted timeout",
            0,
        )),
    }
}

/// The whole body, as JSON if it was protobuf.
async fn read_body(request: Request<Body>) -> Result<Request<Body>, ApiError> {
    transcode::to_json(body_limit::collect(request).await?).await
}
