//! GET of one object, and of its status.

use hansa_api::status::ApiError;
use http::{Response, StatusCode};

use super::Call;
use crate::body::Body;
use crate::generic::list;
use crate::generic::options::{unreadable_version, version_parameter};

pub(super) async fn handle(call: &Call) -> Result<Response<Body>, ApiError> {
    let asked = match call.query.text("resourceVersion") {
        "" => 0,
        text => version_parameter(text).map_err(|error| unreadable_version(&error))?,
    };
    if asked > 0 {
        let cache = call.registry.cache(&call.served).await?;
        list::wait(&cache, asked).await?;
    }
    let entry = call.registry.get_entry(&call.served, &call.namespace, &call.name).await?;
    call.entry(StatusCode::OK, &entry)
}
