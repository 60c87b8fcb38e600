//! The Service `default/kubernetes` and its endpoints: how pods find the API server.

use std::sync::Arc;

use hansa_api::ApiError;
use serde_json::Value;

use super::bootstrap::ensure;
use super::{ApiServer, parts};
use crate::registry::bootstrap::{Seed, kubernetes_endpoints, kubernetes_service};

/// Makes the Service, its Endpoints and its EndpointSlice what they should be.
pub(super) async fn reconcile(server: &Arc<ApiServer>) -> Result<(), ApiError> {
    let range = parts::service_range(&server.config).map_err(ApiError::internal)?;
    let (address, port) = (server.config.advertise_address, server.config.advertise_port);
    let service = kubernetes_service(&range, port);
    ensure(server, service.group, service.plural, service.object, |_| None).await?;
    for Seed { group, plural, object } in kubernetes_endpoints(&address.to_string(), port) {
        let wanted = object.clone();
        let change = |live: &Value| replaced(live, &wanted, &["subsets", "endpoints", "ports"]);
        ensure(server, group, plural, object, change).await?;
    }
    Ok(())
}

/// The live object with these fields as wanted; `None` if they are. What defaulting added below
/// them counts as wanted.
fn replaced(live: &Value, wanted: &Value, fields: &[&str]) -> Option<Value> {
    if fields.iter().all(|field| contains(&live[*field], &wanted[*field])) {
        return None;
    }
    let mut next = live.clone();
    for field in fields.iter().filter(|field| !wanted[**field].is_null()) {
        next[*field] = wanted[*field].clone();
    }
    Some(next)
}

/// Whether everything in `part` is in `whole`; lists have to be of the same length.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (_, Value::Null) => true,
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|own| contains(own, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            let same = whole.iter().zip(part).all(|(own, value)| contains(own, value));
            whole.len() == part.len() && same
        }
        _ => whole == part,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_moved_server_changes_its_endpoints_only() {
        let [_, wanted] = kubernetes_endpoints("10.0.0.1", 6443);
        let [_, old] = kubernetes_endpoints("127.0.0.1", 6443);
        let fields = ["subsets", "endpoints", "ports"];
        let mut live = wanted.object.clone();
        live["endpoints"][0]["conditions"]["serving"] = true.into();
        assert_eq!(replaced(&live, &wanted.object, &fields), None);
        let moved = replaced(&old.object, &wanted.object, &fields).unwrap();
        assert_eq!(moved["endpoints"][0]["addresses"], json!(["10.0.0.1"]));
        assert_eq!(moved.get("subsets"), None);
    }
}
