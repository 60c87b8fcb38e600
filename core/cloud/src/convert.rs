//! Nodes and Services as a provider sees them.

use hansa_api::k8s_openapi::api::core::v1::{
    LoadBalancerIngress, Node, NodeAddress, Service, ServicePort,
};
use hansa_extension::cloud::{Address, AddressKind, LbIngress, LbPort, LbSpec, NodeRef, Proto};

/// A node as the provider sees it.
pub(crate) fn node_ref(node: &Node) -> NodeRef {
    let labels = node.metadata.labels.iter().flatten();
    let provider_id = node.spec.as_ref().and_then(|spec| spec.provider_id.clone());
    NodeRef {
        name: node.metadata.name.clone().unwrap_or_default(),
        provider_id: provider_id.unwrap_or_default(),
        labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
        addresses: addresses(node).iter().filter_map(address).collect(),
    }
}

/// The node's addresses.
pub(crate) fn addresses(node: &Node) -> &[NodeAddress] {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    addresses.map(Vec::as_slice).unwrap_or_default()
}

fn address(address: &NodeAddress) -> Option<Address> {
    let kind = AddressKind::parse(&address.type_)?;
    Some(Address { kind, value: address.address.clone() })
}

/// A Service as the provider sees it.
pub(crate) fn lb_spec(cluster: &str, service: &Service) -> LbSpec {
    let meta = &service.metadata;
    let spec = service.spec.clone().unwrap_or_default();
    let annotations = meta.annotations.iter().flatten();
    LbSpec {
        cluster: cluster.into(),
        uid: meta.uid.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        ports: spec.ports.iter().flatten().map(port).collect(),
        source_ranges: spec.load_balancer_source_ranges.unwrap_or_default(),
        session_affinity: spec.session_affinity.as_deref() == Some("ClientIP"),
        external_traffic_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        health_port: number(spec.health_check_node_port),
        annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect(),
        current: ingress(service).iter().map(current).collect(),
    }
}

fn port(port: &ServicePort) -> LbPort {
    LbPort {
        name: port.name.clone().unwrap_or_default(),
        proto: match port.protocol.as_deref() {
            Some("UDP") => Proto::Udp,
            Some("SCTP") => Proto::Sctp,
            _ => Proto::Tcp,
        },
        port: number(Some(port.port)),
        node_port: number(port.node_port),
    }
}

fn number(port: Option<i32>) -> u16 {
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0)
}

/// The addresses in the Service's status.
pub(crate) fn ingress(service: &Service) -> &[LoadBalancerIngress] {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    status.and_then(|lb| lb.ingress.as_ref()).map(Vec::as_slice).unwrap_or_default()
}

/// An address of a status as the provider writes it.
pub(crate) fn current(ingress: &LoadBalancerIngress) -> LbIngress {
    LbIngress {
        ip: ingress.ip.clone().unwrap_or_default(),
        hostname: ingress.hostname.clone().unwrap_or_default(),
        ip_mode: ingress.ip_mode.clone().unwrap_or_default(),
    }
}

/// A provider's address as the status has it; an IP without a mode is a VIP.
pub(crate) fn published(ingress: &LbIngress) -> LoadBalancerIngress {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mode = if ingress.ip_mode.is_empty() { "VIP" } else { &ingress.ip_mode };
    LoadBalancerIngress {
        ip: some(&ingress.ip),
        hostname: some(&ingress.hostname),
        ip_mode: some(&ingress.ip).map(|_| mode.to_owned()),
        ports: None,
    }
}
