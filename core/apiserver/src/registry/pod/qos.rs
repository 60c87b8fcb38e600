//! The quality-of-service class of a pod.

use hansa_api::meta::{list_at, map_at};
use hansa_api::quantity::Quantity;
use serde_json::Value;

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed` if every container's cpu and memory limits equal its requests, `BestEffort` if
/// nobody asks for any, `Burstable` otherwise.
pub(crate) fn class(pod_spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers: Vec<_> = lists.iter().flat_map(|list| list_at(pod_spec, &[list])).collect();
    if containers.iter().all(|container| COUNTED.iter().all(|name| asks_nothing(container, name))) {
        return "BestEffort";
    }
    let guaranteed =
        containers.iter().all(|container| COUNTED.iter().all(|name| is_pinned(container, name)));
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// An amount of one resource, if it is above zero.
fn amount(container: &Value, list: &str, resource: &str) -> Option<Quantity> {
    let text = map_at(container, &["resources", list])?.get(resource)?.as_str()?;
    text.parse().ok().filter(|quantity: &Quantity| !quantity.is_zero())
}

fn asks_nothing(container: &Value, resource: &str) -> bool {
    ["requests", "limits"].iter().all(|list| amount(container, list, resource).is_none())
}

fn is_pinned(container: &Value, resource: &str) -> bool {
    let limit = amount(container, "limits", resource);
    let request = amount(container, "requests", resource);
    limit.is_some() && (request.is_none() || request == limit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let cases = [
            (json!([{}]), "BestEffort"),
            (json!([{"resources": {"limits": both, "requests": both}}]), "Guaranteed"),
            (json!([{"resources": {"limits": both}}]), "Guaranteed"),
            (json!([{"resources": {"limits": both}}, {}]), "Burstable"),
            (json!([{"resources": {"requests": {"cpu": "1m"}}}]), "Burstable"),
            (json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort"),
        ];
        for (containers, expected) in cases {
            assert_eq!(class(&json!({ "containers": containers })), expected, "{containers}");
        }
    }
}
