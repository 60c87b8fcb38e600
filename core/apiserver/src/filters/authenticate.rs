//! Who sent the request: its client certificate, else whom a front proxy names, else its bearer token,
//! else nobody.

use std::sync::Arc;

use hansa_api::ApiError;
use http::Request;

use crate::authn::x509::Peer;
use crate::authn::{Identity, bearer_token, request_header};
use crate::body::Body;
use crate::server::ApiServer;

/// The user of a request that came with no identity of its own; 401 for bad credentials.
pub(super) async fn authenticate(
    server: &Arc<ApiServer>,
    request: &mut Request<Body>,
) -> Result<Arc<Identity>, ApiError> {
    let peer = request.extensions().get::<Peer>();
    if let Some(user) = peer.and_then(Peer::identity) {
        return Ok(user);
    }
    let vouched = matches!(peer, Some(Peer::FrontProxy));
    let rejected = peer.is_some_and(Peer::is_rejected);
    if vouched && let Some(user) = request_header::take(request.headers_mut()) {
        return Ok(Arc::new(user));
    }
    let user = match bearer_token(request.headers()) {
        Some(token) => by_token(server, token).await?,
        None if rejected => return Err(ApiError::unauthorized()),
        None => Arc::new(Identity::anonymous()),
    };
    // Nothing behind this filter needs the credential.
    request.headers_mut().remove(http::header::AUTHORIZATION);
    Ok(user)
}

async fn by_token(server: &Arc<ApiServer>, token: &str) -> Result<Arc<Identity>, ApiError> {
    let objects = server.objects();
    server.tokens.authenticate(token, &objects).await.map_err(|error| {
        tracing::debug!(%error, "bearer token refused");
        ApiError::unauthorized()
    })
}
