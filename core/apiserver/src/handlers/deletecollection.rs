//! DELETE of a collection.

use hansa_api::status::ApiError;
use http::Response;

use super::{Call, delete, list};
use crate::body::Body;
use crate::generic::list::Listing;

pub(super) async fn handle(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let selection = call.list_options(false)?;
    let options = delete::read_options(call, body).await?;
    let ctx = call.context(options.dry_run, "");
    let entries = call.registry.delete_collection(&call.served, &ctx, &options, &selection).await?;
    let revision = call.registry.storage().current_revision().await;
    let listing = Listing {
        entries,
        revision: revision.map_err(crate::generic::list::store_error)?,
        continue_token: String::new(),
        remaining: None,
    };
    list::answer(call, listing)
}
