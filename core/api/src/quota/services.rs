//! What a Service uses: itself, a load balancer, node ports.

use serde_json::Value;

use super::{Amounts, one};
use crate::meta::{list_at, str_at};
use crate::quantity::Quantity;

const NAMES: [&str; 4] =
    ["count/services", "services", "services.loadbalancers", "services.nodeports"];

pub(super) fn measures(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn usage(service: &Value) -> Amounts {
    let balanced = str_at(service, &["spec", "type"]) == "LoadBalancer";
    let balancers = Quantity::from_units(i64::from(balanced));
    let ports = Quantity::from_units(i64::try_from(node_ports(service)).unwrap_or(i64::MAX));
    let values = [one(), one(), balancers, ports];
    NAMES.iter().map(|name| (*name).to_string()).zip(values).collect()
}

/// The node ports that it has or will get.
fn node_ports(service: &Value) -> usize {
    let ports = list_at(service, &["spec", "ports"]);
    match str_at(service, &["spec", "type"]) {
        "NodePort" => ports.len(),
        "LoadBalancer" if service["spec"]["allocateLoadBalancerNodePorts"] == false => {
            ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count()
        }
        "LoadBalancer" => ports.len(),
        _ => 0,
    }
}
