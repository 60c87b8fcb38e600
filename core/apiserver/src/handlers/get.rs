//! GET of one object, and of its status.

use hansa_api::status::{ApiError, Reason};
use http::{Response, StatusCode};

use super::Call;
use crate::body::Body;
use crate::generic::list;
use crate::generic::options::version_parameter;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>, ApiError> {
    let asked = match call.query.text("resourceVersion") {
        "" => 0,
        text => version_parameter(text).map_err(|error| {
            // Upstream has no reason for this one.
            ApiError { code: 500, ..ApiError::new(Reason::Unknown, error.to_string()) }
        })?,
    };
    if asked > 0 {
        let cache = call.registry.cache(&call.served).await?;
        list::wait(&cache, asked).await?;
    }
    let entry = call.registry.get_entry(&call.served, &call.namespace, &call.name).await?;
    call.entry(StatusCode::OK, &entry)
}
