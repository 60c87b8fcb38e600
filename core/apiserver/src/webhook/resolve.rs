//! From a Service to an address that can be dialled.

use std::sync::Arc;

use hansa_api::meta;
use rand::seq::IndexedRandom;
use serde_json::Value;

use crate::generic::filter::Filter;
use crate::generic::registry::Registry;

/// A ready endpoint of a Service's port, or the Service's own address where it has none.
pub(super) async fn service(
    registry: &Arc<Registry>,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<(String, u16), String> {
    let service = registry.get_cached("", "services", namespace, name).await;
    let service = service.map_err(|error| error.message)?;
    let ports = meta::list_at(&service, &["spec", "ports"]);
    if meta::str_at(&service, &["spec", "type"]) == "ExternalName" {
        return Ok((meta::str_at(&service, &["spec", "externalName"]).to_string(), port));
    }
    let wanted = ports.iter().find(|one| one["port"] == port);
    let wanted =
        wanted.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let port_name = meta::str_at(wanted, &["name"]);
    let endpoints = endpoints(registry, namespace, name, port_name).await;
    if let Some(chosen) = endpoints.choose(&mut rand::rng()) {
        return Ok(chosen.clone());
    }
    match meta::str_at(&service, &["spec", "clusterIP"]) {
        "" | "None" => Err(format!("no endpoints available for service {name:?}")),
        _ if !meta::at(&service, &["spec", "selector"]).is_none_or(Value::is_null) => {
            Err(format!("no endpoints available for service {name:?}"))
        }
        address => Ok((address.to_string(), port)),
    }
}

async fn endpoints(
    registry: &Arc<Registry>,
    namespace: &str,
    name: &str,
    port_name: &str,
) -> Vec<(String, u16)> {
    let filter = Filter::all(namespace);
    let slices = registry.select_cached("discovery.k8s.io", "endpointslices", &filter).await;
    let slices = slices.unwrap_or_default();
    let own = slices.iter().filter(|slice| {
        let labels = meta::labels(slice);
        labels.and_then(|labels| labels.get("kubernetes.io/service-name")?.as_str()) == Some(name)
    });
    own.flat_map(|slice| ready(slice, port_name)).collect()
}

fn ready(slice: &Value, port_name: &str) -> Vec<(String, u16)> {
    let ports = meta::list_at(slice, &["ports"]);
    let named = ports.iter().find(|port| meta::str_at(port, &["name"]) == port_name);
    let number = named.and_then(|port| meta::int_at(port, &["port"]));
    let Some(number) = number.and_then(|port| u16::try_from(port).ok()) else { return Vec::new() };
    let endpoints = meta::list_at(slice, &["endpoints"]).iter();
    let up = endpoints.filter(|one| one["conditions"]["ready"] != Value::Bool(false));
    let addresses = up.filter_map(|one| one["addresses"].get(0)?.as_str());
    addresses.map(|address| (address.to_string(), number)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_ready_endpoints_of_the_port_are_taken() {
        let slice = json!({
            "ports": [{"name": "x", "port": 1}, {"name": "", "port": 8443}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"]},
            ],
        });
        let found = ready(&slice, "");
        assert_eq!(found, [("10.0.0.1".to_string(), 8443), ("10.0.0.3".to_string(), 8443)]);
        assert!(ready(&slice, "y").is_empty());
    }
}
