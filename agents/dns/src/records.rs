//! The records of one Service, as a plain function of it and its EndpointSlices.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::{Service, ServiceSpec};
use hansa_api::k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// SRV; priority is 0, all targets weigh the same.
    Service {
        /// The port.
        port: u16,
        /// The host, a full name without the last dot.
        target: String,
    },
    /// CNAME, a full name without the last dot.
    Alias(String),
    /// PTR, a full name without the last dot.
    Pointer(String),
}

/// A name (lower case, without the last dot) and what it stands for.
pub type Record = (String, Data);

/// All records of a Service in the cluster's `domain`.
pub fn of_service(service: &Service, slices: &[Arc<EndpointSlice>], domain: &str) -> Vec<Record> {
    let meta = &service.metadata;
    let (Some(name), Some(namespace)) = (&meta.name, &meta.namespace) else { return Vec::new() };
    let Some(spec) = &service.spec else { return Vec::new() };
    let base = format!("{name}.{namespace}.svc.{domain}").to_lowercase();
    match (spec.type_.as_deref(), spec.cluster_ip.as_deref()) {
        (Some("ExternalName"), _) => {
            let target = spec.external_name.as_deref().unwrap_or_default();
            let target = target.trim_end_matches('.').to_lowercase();
            if target.is_empty() { Vec::new() } else { vec![(base, Data::Alias(target))] }
        }
        (_, Some("None")) => headless(&base, slices),
        _ => with_cluster_ip(&base, spec),
    }
}

/// One address, one PTR, and an SRV per named port.
fn with_cluster_ip(base: &str, spec: &ServiceSpec) -> Vec<Record> {
    let listed = spec.cluster_ips.iter().flatten();
    let ips: BTreeSet<IpAddr> =
        listed.chain(&spec.cluster_ip).filter_map(|ip| ip.parse().ok()).collect();
    let mut records: Vec<Record> = Vec::new();
    for ip in &ips {
        records.push((base.to_owned(), Data::Address(*ip)));
        records.push((reverse_name(*ip), Data::Pointer(base.to_owned())));
    }
    if ips.is_empty() {
        return records;
    }
    for port in spec.ports.iter().flatten() {
        let protocol = port.protocol.as_deref();
        if let (Some(name), Ok(number)) = (&port.name, u16::try_from(port.port)) {
            records.extend(service_record(base, name, protocol, number, base));
        }
    }
    records
}

/// The ready endpoints' addresses, a name per endpoint, and SRV records that lead to those names.
fn headless(base: &str, slices: &[Arc<EndpointSlice>]) -> Vec<Record> {
    let mut records = BTreeSet::new();
    for slice in slices {
        let ports = slice.ports.as_deref().unwrap_or_default();
        let ready = slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint));
        for endpoint in ready {
            records.extend(of_endpoint(base, endpoint, ports));
        }
    }
    records.into_iter().collect()
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn of_endpoint(base: &str, endpoint: &Endpoint, ports: &[EndpointPort]) -> Vec<Record> {
    let mut records = Vec::new();
    for ip in endpoint.addresses.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()) {
        let host = endpoint.hostname.clone().unwrap_or_else(|| dashed(ip)).to_lowercase();
        let host = format!("{host}.{base}");
        records.push((base.to_owned(), Data::Address(ip)));
        records.push((host.clone(), Data::Address(ip)));
        records.push((reverse_name(ip), Data::Pointer(host.clone())));
        for port in ports {
            let number = port.port.and_then(|number| u16::try_from(number).ok());
            if let (Some(name), Some(number)) = (&port.name, number) {
                records.extend(service_record(base, name, port.protocol.as_deref(), number, &host));
            }
        }
    }
    records
}

fn service_record(
    base: &str,
    port: &str,
    protocol: Option<&str>,
    number: u16,
    target: &str,
) -> Option<Record> {
    if port.is_empty() {
        return None;
    }
    let protocol = protocol.unwrap_or("TCP");
    let name = format!("_{port}._{protocol}.{base}").to_lowercase();
    Some((name, Data::Service { port: number, target: target.to_owned() }))
}

/// The label of an endpoint without a host name.
fn dashed(ip: IpAddr) -> String {
    ip.to_string().replace(['.', ':'], "-")
}

/// `4.3.2.1.in-addr.arpa` of 1.2.3.4 (RFC 1035 §3.5), nibbles under `ip6.arpa` of IPv6 (RFC 3596).
pub fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let bytes = ip.octets();
            let nibbles = bytes.iter().rev().flat_map(|byte| [byte & 0xf, byte >> 4]);
            let labels: Vec<_> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            format!("{}.ip6.arpa", labels.join("."))
        }
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::k8s_openapi::api::core::v1::ServicePort;
    use hansa_api::k8s_openapi::api::discovery::v1::EndpointConditions;

    use super::*;

    fn service(cluster_ip: &str) -> Service {
        let mut service = Service::default();
        service.metadata.name = Some("web".into());
        service.metadata.namespace = Some("shop".into());
        let port = ServicePort { name: Some("http".into()), port: 80, ..ServicePort::default() };
        service.spec = Some(ServiceSpec {
            cluster_ip: Some(cluster_ip.into()),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        });
        service
    }

    fn slice(endpoints: &[(&str, Option<&str>, bool)]) -> Arc<EndpointSlice> {
        let endpoints = endpoints.iter().map(|(ip, hostname, ready)| Endpoint {
            addresses: vec![(*ip).to_owned()],
            hostname: hostname.map(str::to_owned),
            conditions: Some(EndpointConditions {
                ready: Some(*ready),
                ..EndpointConditions::default()
            }),
            ..Endpoint::default()
        });
        let port = EndpointPort {
            name: Some("http".into()),
            port: Some(8080),
            protocol: Some("TCP".into()),
            ..EndpointPort::default()
        };
        Arc::new(EndpointSlice {
            endpoints: Some(endpoints.collect()),
            ports: Some(vec![port]),
            ..EndpointSlice::default()
        })
    }

    fn of<'a>(records: &'a [Record], name: &str) -> Vec<&'a Data> {
        records.iter().filter(|(own, _)| own == name).map(|(_, data)| data).collect()
    }

    #[test]
    fn a_service_has_its_address_a_pointer_and_its_ports() {
        let records = of_service(&service("10.96.0.9"), &[], "cluster.local");
        let ip = "10.96.0.9".parse().unwrap();
        assert_eq!(of(&records, "web.shop.svc.cluster.local"), [&Data::Address(ip)]);
        let pointer = Data::Pointer("web.shop.svc.cluster.local".into());
        assert_eq!(of(&records, "9.0.96.10.in-addr.arpa"), [&pointer]);
        let port = Data::Service { port: 80, target: "web.shop.svc.cluster.local".into() };
        assert_eq!(of(&records, "_http._tcp.web.shop.svc.cluster.local"), [&port]);
    }

    #[test]
    fn a_headless_service_has_its_ready_endpoints() {
        let slices = [slice(&[
            ("10.0.0.1", Some("web-0"), true),
            ("10.0.0.2", None, true),
            ("10.0.0.3", None, false),
        ])];
        let records = of_service(&service("None"), &slices, "cluster.local");
        assert_eq!(of(&records, "web.shop.svc.cluster.local").len(), 2);
        assert_eq!(of(&records, "web-0.web.shop.svc.cluster.local").len(), 1);
        assert_eq!(of(&records, "10-0-0-2.web.shop.svc.cluster.local").len(), 1);
        let ports = of(&records, "_http._tcp.web.shop.svc.cluster.local");
        let host = "web-0.web.shop.svc.cluster.local".to_owned();
        assert!(ports.contains(&&Data::Service { port: 8080, target: host }));
    }

    #[test]
    fn an_external_name_is_an_alias() {
        let mut service = service("");
        let spec = service.spec.as_mut().unwrap();
        spec.type_ = Some("ExternalName".into());
        spec.external_name = Some("db.example.com.".into());
        let records = of_service(&service, &[], "cluster.local");
        assert_eq!(records[0].1, Data::Alias("db.example.com".into()));
    }

    #[test]
    fn ipv6_reverse_names_are_nibbles() {
        let name = reverse_name("2001:db8::1".parse().unwrap());
        assert!(name.starts_with("1.0.0.0.") && name.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"));
    }
}
