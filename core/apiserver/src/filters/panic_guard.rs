//! A panic in a handler is one client's 500, not everybody's outage.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use hansa_api::ApiError;
use http::Response;

use crate::body::Body;
use crate::request_info::RequestInfo;
use crate::responses;

const MESSAGE: &str = "This request caused apiserver to panic. Look in the logs for details.";

/// Runs a handler; its panic becomes a 500.
pub(super) async fn guard(
    info: &RequestInfo,
    work: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let cause = cause_of(&*panic);
            tracing::error!(verb = %info.verb, path = %info.path, cause, "handler panicked");
            responses::error(&ApiError::internal(MESSAGE))
        }
    }
}

fn cause_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_with_500() {
        let response = guard(&RequestInfo::default(), async { panic!("boom") }).await;
        assert_eq!(response.status(), 500);
    }
}
