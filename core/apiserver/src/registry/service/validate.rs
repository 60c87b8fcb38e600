//! Validation of Services.

use std::collections::HashSet;

use hansa_api::meta::{list_at, str_at};
use hansa_api::names;
use serde_json::Value;

use super::{has_cluster_ip, is_external};
use crate::registry::check::Check;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const POLICIES: &[&str] = &["Cluster", "Local"];
const MAX_AFFINITY_SECONDS: i64 = 86400;

pub(super) fn service(check: &mut Check, obj: &Value) {
    let spec = &obj["spec"];
    let text = |field: &str| str_at(spec, &[field]);
    let kind = text("type");
    check.one_of("spec.type", kind, TYPES);
    let headless = text("clusterIP") == "None";
    if list_at(spec, &["ports"]).is_empty() && !headless && kind != "ExternalName" {
        check.required("spec.ports", "");
    }
    by_type(check, spec, kind, headless);
    ports(check, list_at(spec, &["ports"]), headless);
    check.labels("spec.selector", spec.get("selector"));
    check.one_of("spec.sessionAffinity", text("sessionAffinity"), &["ClientIP", "None"]);
    let seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_i64();
    if let Some(seconds) = seconds.filter(|s| !(1..=MAX_AFFINITY_SECONDS).contains(s)) {
        let why = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
        check.invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, &why);
    }
    external_traffic(check, obj);
    check.optional_one_of("spec.internalTrafficPolicy", text("internalTrafficPolicy"), POLICIES);
    for (at, family) in list_at(spec, &["ipFamilies"]).iter().enumerate() {
        check.supported(&format!("spec.ipFamilies[{at}]"), Some(family), &["IPv4", "IPv6"]);
    }
    for (field, supported) in CHOICES {
        check.supported(&format!("spec.{field}"), spec.get(field), supported);
    }
    addresses(check, spec);
}

/// Fields that hold one of a few words if they are there.
const CHOICES: [(&str, &[&str]); 2] = [
    ("ipFamilyPolicy", &["PreferDualStack", "RequireDualStack", "SingleStack"]),
    ("trafficDistribution", &["PreferClose", "PreferSameZone", "PreferSameNode"]),
];

/// What is for Services that can be reached from outside.
fn external_traffic(check: &mut Check, obj: &Value) {
    let policy = str_at(obj, &["spec", "externalTrafficPolicy"]);
    let path = "spec.externalTrafficPolicy";
    if is_external(obj) {
        check.optional_one_of(path, policy, POLICIES);
    } else if !policy.is_empty() {
        check.invalid(path, policy, "may only be set for externally-accessible services");
    }
    if str_at(obj, &["spec", "type"]) == "LoadBalancer" {
        return;
    }
    for field in ["loadBalancerClass", "allocateLoadBalancerNodePorts"] {
        if obj["spec"].get(field).is_some() {
            let why = "may only be used when `type` is 'LoadBalancer'";
            check.forbidden(&format!("spec.{field}"), why);
        }
    }
}

fn by_type(check: &mut Check, spec: &Value, kind: &str, headless: bool) {
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            check.invalid("spec.clusterIPs[0]", "None", &why);
        }
        "ExternalName" => {
            if !list_at(spec, &["clusterIPs"]).is_empty() {
                let why = "may not be set for ExternalName services";
                check.forbidden("spec.clusterIPs", why);
            }
            let name = str_at(spec, &["externalName"]);
            let name = name.strip_suffix('.').unwrap_or(name);
            check.required_text("spec.externalName", name, names::dns1123_subdomain);
        }
        "ClusterIP" => no_node_ports(check, list_at(spec, &["ports"])),
        _ => {}
    }
}

fn no_node_ports(check: &mut Check, ports: &[Value]) {
    for (at, port) in ports.iter().enumerate() {
        if port["nodePort"].as_i64().unwrap_or_default() != 0 {
            let why = "may not be used when `type` is 'ClusterIP'";
            check.forbidden(&format!("spec.ports[{at}].nodePort"), why);
        }
    }
}

fn ports(check: &mut Check, ports: &[Value], headless: bool) {
    let (mut names_seen, mut seen) = (HashSet::new(), HashSet::new());
    for (at, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        let name = str_at(port, &["name"]);
        if name.is_empty() {
            if ports.len() > 1 {
                check.required(&format!("{path}.name"), "");
            }
        } else {
            check.text(&format!("{path}.name"), name, names::dns1123_label(name));
            if !names_seen.insert(name) {
                check.duplicate(&format!("{path}.name"), name);
            }
        }
        let number = port["port"].as_i64().unwrap_or_default();
        check.range(&format!("{path}.port"), Some(number), 1, 65535);
        let protocol = str_at(port, &["protocol"]);
        check.one_of(&format!("{path}.protocol"), protocol, PROTOCOLS);
        if !port["targetPort"].is_null() && !headless {
            check.port(&format!("{path}.targetPort"), &port["targetPort"]);
        }
        if !seen.insert((number, protocol)) {
            let what = serde_json::json!({"port": number, "protocol": protocol});
            check.duplicate(&path, what);
        }
    }
}

fn addresses(check: &mut Check, spec: &Value) {
    for (at, ip) in list_at(spec, &["clusterIPs"]).iter().enumerate() {
        let ip = ip.as_str().unwrap_or_default();
        let path = format!("spec.clusterIPs[{at}]");
        if ip != "None" {
            check.text(&path, ip, names::ip(ip));
        }
    }
    let (single, list) = (str_at(spec, &["clusterIP"]), list_at(spec, &["clusterIPs"]));
    if list.first().is_some_and(|first| first != single) {
        let why = "first value must match `clusterIP`";
        check.invalid("spec.clusterIPs", list.to_vec(), why);
    }
    for (at, ip) in list_at(spec, &["externalIPs"]).iter().enumerate() {
        let ip = ip.as_str().unwrap_or_default();
        check.text(&format!("spec.externalIPs[{at}]"), ip, names::ip(ip));
    }
    for (at, cidr) in list_at(spec, &["loadBalancerSourceRanges"]).iter().enumerate() {
        let cidr = cidr.as_str().unwrap_or_default();
        check.text(&format!("spec.loadBalancerSourceRanges[{at}]"), cidr, names::cidr(cidr.trim()));
    }
}

/// A ClusterIP stays as long as the Service has one.
pub(super) fn update(check: &mut Check, obj: &Value, old: &Value) {
    if !has_cluster_ip(obj) || !has_cluster_ip(old) {
        return;
    }
    let (new, old) = (list_at(obj, &["spec", "clusterIPs"]), list_at(old, &["spec", "clusterIPs"]));
    if !old.is_empty() && new.first() != old.first() {
        check.invalid("spec.clusterIPs[0]", new.to_vec(), "may not change once set");
    }
}
