//! EndpointSlices.

use hansa_api::field::FieldError;
use hansa_api::meta::{default_field, default_text, fields_mut, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use super::endpoints::{endpoint_ip, shorten};
use super::pod::defaults::each;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;

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
        Check::run(|check| validate(check, obj, self.loopback))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(obj);
        errors.extend(Check::run(|check| {
            check.immutable("addressType", obj.get("addressType"), old.get("addressType"));
        }));
        errors
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

fn validate(check: &mut Check, obj: &Value, loopback: bool) {
    let kind = str_at(obj, &["addressType"]);
    check.one_of("addressType", kind, &["FQDN", "IPv4", "IPv6"]);
    let endpoints = list_at(obj, &["endpoints"]);
    if endpoints.len() > MAX_ENDPOINTS {
        check.add(FieldError::too_many("endpoints", endpoints.len(), MAX_ENDPOINTS));
    }
    for (at, endpoint) in endpoints.iter().enumerate() {
        let path = format!("endpoints[{at}].addresses");
        let addresses = list_at(endpoint, &["addresses"]);
        if addresses.is_empty() {
            check.required(&path, "must contain at least 1 address");
        } else if addresses.len() > MAX_ADDRESSES {
            check.add(FieldError::too_many(&path, addresses.len(), MAX_ADDRESSES));
        }
        for (at, address) in addresses.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let address = address.as_str().unwrap_or_default();
            match kind {
                "FQDN" => check.text(&path, address, names::dns1123_subdomain(address)),
                _ => endpoint_ip(check, &path, address, loopback),
            }
        }
    }
    for (at, port) in list_at(obj, &["ports"]).iter().enumerate() {
        let path = format!("ports[{at}]");
        check.optional_text(&format!("{path}.name"), str_at(port, &["name"]), names::dns1123_label);
        check.range(&format!("{path}.port"), port["port"].as_i64(), 1, 65535);
        let protocol = str_at(port, &["protocol"]);
        check.one_of(&format!("{path}.protocol"), protocol, &["SCTP", "TCP", "UDP"]);
    }
}
