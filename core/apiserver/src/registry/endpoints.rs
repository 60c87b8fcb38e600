//! Endpoints.

use std::net::IpAddr;

use hansa_api::address;
use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{self, fields_mut, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use super::pod::defaults::each;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";
/// How many addresses a cell shows.
pub(super) const SHOWN: usize = 3;

const DEPRECATION: &str =
    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

pub(super) fn resource() -> Resource {
    let endpoints = Resource::new("", "v1", "Endpoints", "endpoints");
    endpoints.namespaced().short(&["ep"]).deprecated(DEPRECATION)
}

/// The strategy of Endpoints.
pub(super) struct EndpointsStrategy {
    /// Whether endpoints may be loopback addresses: the cluster's own network is.
    pub(super) loopback: bool,
}

impl Strategy for EndpointsStrategy {
    fn default(&self, obj: &mut Value) {
        each(fields_mut(obj, &[]), "subsets", |subset| {
            each(subset, "ports", |port| {
                meta::default_text(port, "protocol", "TCP");
            });
        });
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for (at, subset) in list_at(obj, &["subsets"]).iter().enumerate() {
                validate(check, &index("subsets", at), subset, self.loopback);
            }
        })
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        match obj.get("subsets") == old.get("subsets") {
            true => Vec::new(),
            false => self.validate_create(obj),
        }
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        warnings(obj)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::new("Endpoints", "Addresses that are ready."), Column::age()]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), addresses(obj).into(), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn warnings(obj: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if meta::label(obj, MANAGED_BY) == Some(CONTROLLER) {
        return warnings;
    }
    for (at, subset) in list_at(obj, &["subsets"]).iter().enumerate() {
        for list in ["addresses", "notReadyAddresses"] {
            let path = child(&index("subsets", at), list);
            for (at, endpoint) in list_at(subset, &[list]).iter().enumerate() {
                let path = child(&index(&path, at), "ip");
                warnings.extend(address::ip_warning(&path, str_at(endpoint, &["ip"])));
            }
        }
    }
    warnings
}

fn addresses(obj: &Value) -> String {
    let mut texts = Vec::new();
    for subset in list_at(obj, &["subsets"]) {
        let ips: Vec<_> = list_at(subset, &["addresses"])
            .iter()
            .map(|address| str_at(address, &["ip"]))
            .collect();
        let ports = list_at(subset, &["ports"]);
        if ports.is_empty() {
            texts.extend(ips.iter().map(|ip| (*ip).to_owned()));
        }
        for port in ports {
            let port = cells::int(port, &["port"]);
            texts.extend(ips.iter().map(|ip| join_port(ip, port)));
        }
    }
    shorten(&texts, cells::NONE)
}

fn join_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// The first few of many.
pub(super) fn shorten(texts: &[String], empty: &str) -> String {
    match texts.len() {
        0 => empty.into(),
        count if count > SHOWN => {
            format!("{} + {} more...", texts[..SHOWN].join(","), count - SHOWN)
        }
        _ => texts.join(","),
    }
}

fn validate(check: &mut Check, path: &str, subset: &Value, loopback: bool) {
    let addresses = ["addresses", "notReadyAddresses"].map(|list| (list, list_at(subset, &[list])));
    if addresses.iter().all(|(_, all)| all.is_empty()) {
        check.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
    for (list, all) in addresses {
        for (at, address) in all.iter().enumerate() {
            validate_address(check, &index(&child(path, list), at), address, loopback);
        }
    }
    let ports = list_at(subset, &["ports"]);
    for (at, port) in ports.iter().enumerate() {
        let path = index(&child(path, "ports"), at);
        let name = str_at(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            check.required(&child(&path, "name"), "");
        }
        check.optional_text(&child(&path, "name"), name, names::dns1123_label);
        check.range(&child(&path, "port"), Some(cells::int(port, &["port"])), 1, 65535);
        protocol(check, &path, port);
        app_protocol(check, &path, port);
    }
}

fn validate_address(check: &mut Check, path: &str, address: &Value, loopback: bool) {
    let host = str_at(address, &["hostname"]);
    check.optional_text(&child(path, "hostname"), host, names::dns1123_label);
    if let Some(node) = address["nodeName"].as_str() {
        check.text(&child(path, "nodeName"), node, names::dns1123_subdomain(node));
    }
    endpoint_ip(check, &child(path, "ip"), str_at(address, &["ip"]), loopback);
}

/// The protocol of an endpoint's port.
pub(super) fn protocol(check: &mut Check, path: &str, port: &Value) {
    let protocol = str_at(port, &["protocol"]);
    check.one_of(&child(path, "protocol"), protocol, &["SCTP", "TCP", "UDP"]);
}

/// What is spoken at a port, if that is said.
pub(super) fn app_protocol(check: &mut Check, path: &str, port: &Value) {
    if let Some(spoken) = port["appProtocol"].as_str() {
        check.text(&child(path, "appProtocol"), spoken, names::qualified_name(spoken));
    }
}

/// An address that a Service may send its clients to (no metadata services, nothing local).
pub(super) fn endpoint_ip(check: &mut Check, path: &str, text: &str, loopback: bool) {
    let Some(ip) = address::sloppy_ip(text) else {
        check.text(path, text, address::legacy_ip(text));
        return check.invalid(path, text, "must be a valid IP address");
    };
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let why = if ip.is_unspecified() {
        format!("may not be unspecified ({text})")
    } else if ip.is_loopback() && !loopback {
        "may not be in the loopback range (127.0.0.0/8, ::1/128)".into()
    } else if link_local {
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)".into()
    } else if ip.is_multicast() {
        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into()
    } else {
        return;
    };
    check.invalid(path, text, &why);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::texts;

    #[test]
    fn only_a_loopback_cluster_has_loopback_endpoints() {
        let obj = json!({"metadata": {"name": "e"}, "subsets": [{
            "addresses": [{"ip": "127.64.0.9"}],
            "ports": [{"port": 80, "protocol": "TCP"}]}]});
        assert!(EndpointsStrategy { loopback: true }.validate_create(&obj).is_empty());
        let found = texts(&EndpointsStrategy { loopback: false }.validate_create(&obj));
        assert_eq!(
            found,
            ["subsets[0].addresses[0].ip: Invalid value: \"127.64.0.9\": may not be in the \
                 loopback range (127.0.0.0/8, ::1/128)"]
        );
        let row = EndpointsStrategy { loopback: true }.row(&obj, Timestamp::now());
        assert_eq!(row[1], "127.64.0.9:80");
    }
}
