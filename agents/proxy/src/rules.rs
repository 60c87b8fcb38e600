//! What the addresses of one Service lead to, as a plain function of it and its EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use hansa_api::k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// A transport protocol that is proxied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// An address that clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frontend {
    /// Where clients connect.
    pub address: SocketAddr,
    /// With which protocol.
    pub protocol: Protocol,
}

/// What an address leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `namespace/name:port`, for logs.
    pub service: String,
    /// Where connections go; none refuses them.
    pub endpoints: Vec<SocketAddr>,
    /// How long a client keeps its endpoint; `None` is not at all.
    pub affinity: Option<Duration>,
}

/// All addresses of a Service.
pub type Rules = BTreeMap<Frontend, Target>;

/// Default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY: Duration = Duration::from_secs(10_800);

/// The addresses of a Service on the node `node`, which serves NodePorts on `node_addresses`.
pub fn render(
    service: &Service,
    slices: &[Arc<EndpointSlice>],
    node: &str,
    node_addresses: &[IpAddr],
) -> Rules {
    let mut rules = Rules::new();
    let Some(spec) = service.spec.as_ref().filter(|spec| is_proxied(spec)) else { return rules };
    for port in spec.ports.iter().flatten() {
        let Some(protocol) = protocol(port.protocol.as_deref()) else { continue };
        let all = endpoints(slices, port, protocol);
        let inside = policy(&all, spec.internal_traffic_policy.as_deref(), node);
        let outside = policy(&all, spec.external_traffic_policy.as_deref(), node);
        let mut add = |ip: IpAddr, number: i32, endpoints: &[SocketAddr]| {
            let Ok(number) = u16::try_from(number) else { return };
            let address = SocketAddr::new(ip, number);
            let target = target(service, spec, port, endpoints.to_vec());
            rules.insert(Frontend { address, protocol }, target);
        };
        cluster_ips(spec).for_each(|ip| add(ip, port.port, &inside));
        outside_ips(service, spec).for_each(|ip| add(ip, port.port, &outside));
        if let Some(node_port) = port.node_port.filter(|number| *number > 0) {
            node_addresses.iter().for_each(|ip| add(*ip, node_port, &outside));
        }
    }
    rules
}

fn is_proxied(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() != Some("ExternalName") && spec.cluster_ip.as_deref() != Some("None")
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

fn cluster_ips(spec: &ServiceSpec) -> impl Iterator<Item = IpAddr> + '_ {
    let listed = spec.cluster_ips.iter().flatten();
    let all: BTreeSet<_> =
        listed.chain(&spec.cluster_ip).filter_map(|ip| ip.parse().ok()).collect();
    all.into_iter()
}

fn outside_ips<'a>(
    service: &'a Service,
    spec: &'a ServiceSpec,
) -> impl Iterator<Item = IpAddr> + 'a {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    // KEP-1860: with ipMode Proxy the load balancer terminates connections itself.
    let vips = ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    let vips = vips.filter_map(|ingress| ingress.ip.as_ref());
    vips.chain(spec.external_ips.iter().flatten()).filter_map(|ip| ip.parse().ok())
}

fn target(
    service: &Service,
    spec: &ServiceSpec,
    port: &ServicePort,
    endpoints: Vec<SocketAddr>,
) -> Target {
    let meta = &service.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
    let timeout = spec.session_affinity_config.as_ref().and_then(|config| {
        let seconds = config.client_ip.as_ref()?.timeout_seconds?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    });
    Target {
        service: format!("{}/{}:{}", text(&meta.namespace), text(&meta.name), text(&port.name)),
        endpoints,
        affinity: sticky.then(|| timeout.unwrap_or(AFFINITY)),
    }
}

/// An endpoint, as far as choosing it goes.
struct Candidate {
    address: SocketAddr,
    node: Option<String>,
    ready: bool,
    /// Passes its checks while it terminates.
    draining: bool,
}

fn endpoints(
    slices: &[Arc<EndpointSlice>],
    port: &ServicePort,
    protocol_wanted: Protocol,
) -> Vec<Candidate> {
    let wanted_name = port.name.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let named = ports
            .filter(|port| port.name.as_deref().unwrap_or_default() == wanted_name)
            .filter(|port| protocol(port.protocol.as_deref()) == Some(protocol_wanted));
        let numbers: Vec<_> = named.filter_map(|port| u16::try_from(port.port?).ok()).collect();
        for endpoint in slice.endpoints.iter().flatten() {
            found.extend(numbers.iter().filter_map(|number| candidate(endpoint, *number)));
        }
    }
    found
}

fn candidate(endpoint: &Endpoint, port: u16) -> Option<Candidate> {
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    Some(Candidate {
        address: SocketAddr::new(ip, port),
        node: endpoint.node_name.clone(),
        ready,
        draining: serving && conditions.terminating.unwrap_or(false),
    })
}

/// The ready endpoints that a traffic policy allows; where none is ready, those that still serve
/// while they terminate (KEP-1669).
fn policy(all: &[Candidate], policy: Option<&str>, node: &str) -> Vec<SocketAddr> {
    let local = policy == Some("Local");
    let allowed =
        || all.iter().filter(move |candidate| !local || candidate.node.as_deref() == Some(node));
    let mut chosen: BTreeSet<_> =
        allowed().filter(|candidate| candidate.ready).map(|candidate| candidate.address).collect();
    if chosen.is_empty() {
        let draining = allowed().filter(|candidate| candidate.draining);
        chosen = draining.map(|candidate| candidate.address).collect();
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use hansa_api::k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointPort};

    use super::*;

    /// A Service `default/web` at this address, port 80 called `http`.
    pub(crate) fn service(cluster_ip: &str) -> Service {
        let mut service = Service::default();
        service.metadata.namespace = Some("default".into());
        service.metadata.name = Some("web".into());
        let port = ServicePort {
            name: Some("http".into()),
            port: 80,
            node_port: Some(30080),
            ..ServicePort::default()
        };
        service.spec = Some(ServiceSpec {
            cluster_ip: Some(cluster_ip.into()),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        });
        service
    }

    /// Its slice, with endpoints of (address, node, ready, terminating) at port 8080.
    pub(crate) fn slice(endpoints: &[(&str, &str, bool, bool)]) -> Arc<EndpointSlice> {
        let endpoints = endpoints.iter().map(|(ip, node, ready, terminating)| Endpoint {
            addresses: vec![(*ip).to_owned()],
            node_name: Some((*node).to_owned()),
            conditions: Some(EndpointConditions {
                ready: Some(*ready),
                serving: Some(*ready || *terminating),
                terminating: Some(*terminating),
            }),
            ..Endpoint::default()
        });
        let port = EndpointPort {
            name: Some("http".into()),
            port: Some(8080),
            protocol: Some("TCP".into()),
            app_protocol: None,
        };
        Arc::new(EndpointSlice {
            endpoints: Some(endpoints.collect()),
            ports: Some(vec![port]),
            ..EndpointSlice::default()
        })
    }

    fn rules_of(service: &Service, slices: &[Arc<EndpointSlice>]) -> Rules {
        render(service, slices, "n1", &["127.64.112.1".parse().unwrap()])
    }

    fn at(rules: &Rules, address: &str) -> Vec<String> {
        let frontend = Frontend { address: address.parse().unwrap(), protocol: Protocol::Tcp };
        rules[&frontend].endpoints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_address_leads_to_the_ready_endpoints() {
        let slices =
            [slice(&[("127.64.0.2", "n1", true, false), ("127.64.0.3", "n2", false, false)])];
        let rules = rules_of(&service("127.64.128.9"), &slices);
        assert_eq!(at(&rules, "127.64.128.9:80"), ["127.64.0.2:8080"]);
        assert_eq!(at(&rules, "127.64.112.1:30080"), ["127.64.0.2:8080"]);
        assert_eq!(rules.len(), 2);
    }

    #[test]
    fn endpoints_that_terminate_serve_only_where_none_is_ready() {
        let slices = [slice(&[("127.64.0.2", "n1", false, true)])];
        let rules = rules_of(&service("127.64.128.9"), &slices);
        assert_eq!(at(&rules, "127.64.128.9:80"), ["127.64.0.2:8080"]);
        let slices =
            [slice(&[("127.64.0.2", "n1", false, true), ("127.64.0.3", "n1", true, false)])];
        let rules = rules_of(&service("127.64.128.9"), &slices);
        assert_eq!(at(&rules, "127.64.128.9:80"), ["127.64.0.3:8080"]);
    }

    #[test]
    fn the_local_policy_keeps_to_this_node() {
        let slices =
            [slice(&[("127.64.0.2", "n1", true, false), ("127.64.0.3", "n2", true, false)])];
        let mut service = service("127.64.128.9");
        service.spec.as_mut().unwrap().external_traffic_policy = Some("Local".into());
        let rules = rules_of(&service, &slices);
        assert_eq!(at(&rules, "127.64.128.9:80").len(), 2);
        assert_eq!(at(&rules, "127.64.112.1:30080"), ["127.64.0.2:8080"]);
    }

    #[test]
    fn headless_and_external_name_services_are_not_proxied() {
        let slices = [slice(&[("127.64.0.2", "n1", true, false)])];
        assert!(rules_of(&service("None"), &slices).is_empty());
        let mut named = service("");
        named.spec.as_mut().unwrap().type_ = Some("ExternalName".into());
        assert!(rules_of(&named, &slices).is_empty());
    }

    #[test]
    fn affinity_has_a_default_time() {
        let mut service = service("127.64.128.9");
        service.spec.as_mut().unwrap().session_affinity = Some("ClientIP".into());
        let rules = rules_of(&service, &[]);
        assert!(rules.values().all(|target| target.affinity == Some(AFFINITY)));
    }
}
