//! EndpointSlices.

use std::collections::HashSet;

use hansa_api::address;
use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{self, default_field, default_text, fields_mut, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use super::endpoints::{app_protocol, endpoint_ip, protocol, shorten};
use super::pod::defaults::each;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_HINTS: usize = 8;
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const OWN_MANAGERS: [&str; 2] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

pub(super) fn resource() -> Resource {
    Resource::new("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices").namespaced()
}

/// The strategy of EndpointSlices.
pub(super) struct EndpointSlices {
    /// Whether endpoints may be loopback addresses: the cluster's own network is.
    pub(super) loopback: bool,
}

impl Strategy for EndpointSlices {
    fn default(&self, obj: &mut Value) {
        each(fields_mut(obj, &[]), "ports", |port| {
            default_field(port, "name", "");
            default_text(port, "protocol", "TCP");
        });
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            head(check, obj);
            endpoints(check, obj, self.loopback);
        })
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            head(check, obj);
            if obj.get("endpoints") != old.get("endpoints") {
                endpoints(check, obj, self.loopback);
            }
            check.immutable("addressType", obj.get("addressType"), old.get("addressType"));
        })
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        warnings(obj, old.is_none())
    }

    fn metadata_is_desired(&self) -> &'static [&'static str] {
        &["labels"]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("AddressType", "What its addresses are."),
            Column::new("Ports", "The ports of its endpoints."),
            Column::new("Endpoints", "The addresses of its endpoints."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let ports = list_at(obj, &["ports"]).iter();
        let ports: Vec<_> = ports
            .map(|port| port["port"].as_i64().map_or_else(|| "*".into(), |port| port.to_string()))
            .collect();
        let endpoints = list_at(obj, &["endpoints"]).iter();
        let addresses = endpoints.flat_map(|endpoint| list_at(endpoint, &["addresses"]));
        let addresses: Vec<_> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
        vec![
            cells::name(obj),
            str_at(obj, &["addressType"]).into(),
            shorten(&ports, cells::UNSET).into(),
            shorten(&addresses, cells::UNSET).into(),
            cells::age(obj, now),
        ]
    }

    fn has_generation(&self, _: &Value) -> bool {
        true
    }
}

fn head(check: &mut Check, obj: &Value) {
    let kind = str_at(obj, &["addressType"]);
    check.one_of("addressType", kind, &["FQDN", "IPv4", "IPv6"]);
    let ports = list_at(obj, &["ports"]);
    if ports.len() > MAX_PORTS {
        return check.add(FieldError::too_many("ports", ports.len(), MAX_PORTS));
    }
    let mut seen = HashSet::new();
    for (at, port) in ports.iter().enumerate() {
        let path = index("ports", at);
        let name = str_at(port, &["name"]);
        check.optional_text(&child(&path, "name"), name, names::dns1123_label);
        if !seen.insert(name) {
            check.duplicate(&child(&path, "name"), name);
        }
        protocol(check, &path, port);
        app_protocol(check, &path, port);
    }
}

fn endpoints(check: &mut Check, obj: &Value, loopback: bool) {
    let all = list_at(obj, &["endpoints"]);
    if all.len() > MAX_ENDPOINTS {
        return check.add(FieldError::too_many("endpoints", all.len(), MAX_ENDPOINTS));
    }
    for (at, endpoint) in all.iter().enumerate() {
        let path = index("endpoints", at);
        addresses(check, &child(&path, "addresses"), obj, endpoint, loopback);
        if let Some(node) = endpoint["nodeName"].as_str() {
            check.text(&child(&path, "nodeName"), node, names::dns1123_subdomain(node));
        }
        if let Some(host) = endpoint["hostname"].as_str() {
            check.text(&child(&path, "hostname"), host, names::dns1123_label(host));
        }
        let hints = child(&path, "hints");
        hint(check, &child(&hints, "forZones"), &endpoint["hints"]["forZones"], names::label_value);
        let nodes = &endpoint["hints"]["forNodes"];
        hint(check, &child(&hints, "forNodes"), nodes, names::dns1123_subdomain);
    }
}

fn addresses(check: &mut Check, path: &str, obj: &Value, endpoint: &Value, loopback: bool) {
    let all = list_at(endpoint, &["addresses"]);
    if all.is_empty() {
        check.required(path, "must contain at least 1 address");
    } else if all.len() > MAX_ADDRESSES {
        check.add(FieldError::too_many(path, all.len(), MAX_ADDRESSES));
    }
    for (at, text) in all.iter().enumerate() {
        let at = index(path, at);
        let text = text.as_str().unwrap_or_default();
        let (complaints, wrong) = match str_at(obj, &["addressType"]) {
            "IPv4" => {
                let v6 = address::sloppy_ip(text).is_some_and(|ip| ip.is_ipv6());
                (address::legacy_ip(text), v6.then_some("must be an IPv4 address"))
            }
            "IPv6" => {
                let v4 = address::sloppy_ip(text).is_some_and(|ip| ip.is_ipv4());
                (address::ip(text), v4.then_some("must be an IPv6 address"))
            }
            "FQDN" => {
                domain(check, &at, text);
                continue;
            }
            _ => continue,
        };
        if !complaints.is_empty() {
            check.text(&at, text, complaints);
            continue;
        }
        if let Some(why) = wrong {
            check.invalid(path, text, why);
        }
        endpoint_ip(check, &at, text, loopback);
    }
}

fn domain(check: &mut Check, path: &str, text: &str) {
    let name = text.strip_suffix('.').unwrap_or(text);
    let complaints = names::dns1123_subdomain(name);
    if text.is_empty() {
        check.required(path, "");
    } else if !complaints.is_empty() {
        check.invalid(path, name, &complaints.join(","));
    } else if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        check.invalid(path, name, why);
    }
    for label in name.split('.').filter(|_| complaints.is_empty()) {
        check.text(path, label, names::dns1123_label(label));
    }
}

fn hint(check: &mut Check, path: &str, hints: &Value, rule: fn(&str) -> Vec<String>) {
    let hints = list_at(hints, &[]);
    if hints.len() > MAX_HINTS {
        return check.add(FieldError::too_many(path, hints.len(), MAX_HINTS));
    }
    let mut seen = HashSet::new();
    for (at, hint) in hints.iter().enumerate() {
        let path = child(&index(path, at), "name");
        let name = str_at(hint, &["name"]);
        if !seen.insert(name) {
            check.duplicate(&path, name);
        }
        check.text(&path, name, rule(name));
    }
}

fn warnings(obj: &Value, new: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if new && str_at(obj, &["addressType"]) == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".into());
    }
    if meta::label(obj, MANAGED_BY).is_some_and(|by| OWN_MANAGERS.contains(&by)) {
        return warnings;
    }
    for (at, endpoint) in list_at(obj, &["endpoints"]).iter().enumerate() {
        let path = child(&index("endpoints", at), "addresses");
        for (at, text) in list_at(endpoint, &["addresses"]).iter().enumerate() {
            let text = text.as_str().unwrap_or_default();
            warnings.extend(address::ip_warning(&index(&path, at), text));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    const STRATEGY: EndpointSlices = EndpointSlices { loopback: false };

    fn slice(kind: &str, endpoint: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "s"}, "addressType": kind,
            "endpoints": [endpoint], "ports": [{"port": 80}]});
        STRATEGY.default(&mut obj);
        obj
    }

    #[test]
    fn mistakes_are_named() {
        let good = slice("IPv4", json!({"addresses": ["10.0.0.1"]}));
        assert_eq!(texts(&STRATEGY.validate_create(&good)), [""; 0]);
        let mut twins = good.clone();
        twins["ports"] = json!([{"name": "a", "protocol": "TCP"}, {"name": "a", "protocol": "X"}]);
        assert_eq!(
            texts(&STRATEGY.validate_create(&twins)),
            [
                "ports[1].name: Duplicate value: \"a\"",
                "ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \
                 \"UDP\"",
            ]
        );
        let cases = [
            (
                slice("IPv4", json!({})),
                "endpoints[0].addresses: Required value: must contain at least 1 address",
            ),
            (
                slice("IPv4", json!({"addresses": ["fd00::1"]})),
                "endpoints[0].addresses: Invalid value: \"fd00::1\": must be an IPv4 address",
            ),
            (
                slice("IPv4", json!({"addresses": ["169.254.0.1"]})),
                "endpoints[0].addresses[0]: Invalid value: \"169.254.0.1\": may not be in the \
                 link-local range (169.254.0.0/16, fe80::/10)",
            ),
            (
                slice("FQDN", json!({"addresses": ["local"]})),
                "endpoints[0].addresses[0]: Invalid value: \"local\": should be a domain with at \
                 least two segments separated by dots",
            ),
            (
                slice(
                    "IPv4",
                    json!({"addresses": ["10.0.0.1"],
                    "hints": {"forZones": [{"name": "a"}, {"name": "a"}]}}),
                ),
                "endpoints[0].hints.forZones[1].name: Duplicate value: \"a\"",
            ),
            (
                slice("Name", json!({"addresses": ["10.0.0.1"]})),
                "addressType: Unsupported value: \"Name\": supported values: \"FQDN\", \"IPv4\", \
                 \"IPv6\"",
            ),
        ];
        refuses(&STRATEGY, cases);
    }

    #[test]
    fn an_endpoint_that_was_there_may_stay() {
        let old = slice("IPv4", json!({"addresses": ["127.0.0.1"]}));
        assert_eq!(texts(&STRATEGY.validate_update(&old, &old)), [""; 0]);
        let mut new = old.clone();
        new["addressType"] = "IPv6".into();
        assert_eq!(
            texts(&STRATEGY.validate_update(&new, &old)),
            ["addressType: Invalid value: \"IPv6\": field is immutable"]
        );
    }
}
