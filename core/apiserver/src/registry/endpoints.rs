//! Endpoints.

use std::net::IpAddr;

use hansa_api::field::FieldError;
use hansa_api::meta::{fields_mut, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use super::pod::defaults::each;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

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
                hansa_api::meta::default_text(port, "protocol", "TCP");
            });
        });
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for (at, subset) in list_at(obj, &["subsets"]).iter().enumerate() {
                validate(check, &format!("subsets[{at}]"), subset, self.loopback);
            }
        })
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
    for list in ["addresses", "notReadyAddresses"] {
        for (at, address) in list_at(subset, &[list]).iter().enumerate() {
            endpoint_ip(
                check,
                &format!("{path}.{list}[{at}].ip"),
                str_at(address, &["ip"]),
                loopback,
            );
        }
    }
    if list_at(subset, &["addresses"]).is_empty()
        && list_at(subset, &["notReadyAddresses"]).is_empty()
    {
        check.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
    let ports = list_at(subset, &["ports"]);
    for (at, port) in ports.iter().enumerate() {
        let path = format!("{path}.ports[{at}]");
        let name = str_at(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            check.required(&format!("{path}.name"), "");
        }
        check.optional_text(&format!("{path}.name"), name, names::dns1123_label);
        check.range(&format!("{path}.port"), Some(cells::int(port, &["port"])), 1, 65535);
        let protocol = str_at(port, &["protocol"]);
        check.one_of(&format!("{path}.protocol"), protocol, &["SCTP", "TCP", "UDP"]);
    }
}

/// An address that a Service may send its clients to (no metadata services, nothing local).
pub(super) fn endpoint_ip(check: &mut Check, path: &str, text: &str, loopback: bool) {
    let Ok(ip) = text.parse::<IpAddr>() else {
        return check.text(path, text, names::ip(text));
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
