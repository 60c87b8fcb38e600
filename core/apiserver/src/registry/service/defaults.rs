//! Defaults of Services, and what an update carries over.

use hansa_api::meta::{Fields, default_field, default_text, fields_mut, int_at, list_at, str_at};
use serde_json::{Map, Value, json};

use super::{has_cluster_ip, has_node_ports, is_external};
use crate::registry::pod::defaults::each;

/// How long a client sticks to a pod, in seconds, if it does.
const AFFINITY_SECONDS: i64 = 10800;

pub(super) fn service(obj: &mut Value) {
    let spec = fields_mut(obj, &["spec"]);
    default_text(spec, "sessionAffinity", "None");
    default_text(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "ClientIP" {
        let config = fields_mut(obj, &["spec", "sessionAffinityConfig", "clientIP"]);
        default_field(config, "timeoutSeconds", AFFINITY_SECONDS);
    }
    let spec = fields_mut(obj, &["spec"]);
    each(spec, "ports", port);
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if external && kind != "ExternalName" {
        default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind != "ExternalName" {
        default_text(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default_field(spec, "allocateLoadBalancerNodePorts", true);
    }
    status(obj);
}

/// A Service always has a status.
pub(super) fn status(obj: &mut Value) {
    default_field(fields_mut(obj, &["status"]), "loadBalancer", Map::new());
}

fn port(port: &mut Fields) {
    default_text(port, "protocol", "TCP");
    let unset = match port.get("targetPort") {
        None => true,
        Some(target) => *target == 0 || target == "",
    };
    if let (true, Some(own)) = (unset, port.get("port").cloned()) {
        port.insert("targetPort".into(), own);
    }
}

/// `clusterIP` and `clusterIPs[0]` say the same.
pub(super) fn pair_cluster_ips(obj: &mut Value) {
    let single = str_at(obj, &["spec", "clusterIP"]).to_owned();
    let first = list_at(obj, &["spec", "clusterIPs"]).first().and_then(Value::as_str);
    let first = first.unwrap_or_default().to_owned();
    let spec = fields_mut(obj, &["spec"]);
    if first.is_empty() && !single.is_empty() {
        spec.insert("clusterIPs".into(), json!([single]));
    } else if single.is_empty() && !first.is_empty() {
        spec.insert("clusterIP".into(), first.into());
    } else if single.is_empty() {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
}

/// A client that changes `clusterIP` alone means `clusterIPs`, too.
pub(super) fn follow_cluster_ip(obj: &mut Value, old: &Value) {
    let single = str_at(obj, &["spec", "clusterIP"]).to_owned();
    let list = |service: &Value| list_at(service, &["spec", "clusterIPs"]).to_vec();
    if single == str_at(old, &["spec", "clusterIP"]) || list(obj) != list(old) {
        return;
    }
    let spec = fields_mut(obj, &["spec"]);
    match single.is_empty() {
        true => spec.remove("clusterIPs"),
        false => spec.insert("clusterIPs".into(), json!([single])),
    };
}

/// A client that leaves out what was allocated keeps it.
pub(super) fn keep_allocated(obj: &mut Value, old: &Value) {
    if has_cluster_ip(old) && has_cluster_ip(obj) {
        let unset = str_at(obj, &["spec", "clusterIP"]).is_empty()
            && list_at(obj, &["spec", "clusterIPs"]).is_empty();
        let spec = fields_mut(obj, &["spec"]);
        if unset {
            for field in ["clusterIP", "clusterIPs"] {
                copy(spec, &old["spec"], field);
            }
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if !spec.contains_key(field) {
                copy(spec, &old["spec"], field);
            }
        }
    }
    if has_node_ports(old) && has_node_ports(obj) {
        keep_node_ports(obj, old);
    }
    let checked = |service: &Value| int_at(service, &["spec", "healthCheckNodePort"]).is_some();
    if needs_health_check(obj) && needs_health_check(old) && !checked(obj) {
        copy(fields_mut(obj, &["spec"]), &old["spec"], "healthCheckNodePort");
    }
}

/// Whether the node says on a port of its own whether it has pods of the Service.
pub(super) fn needs_health_check(obj: &Value) -> bool {
    str_at(obj, &["spec", "type"]) == "LoadBalancer"
        && str_at(obj, &["spec", "externalTrafficPolicy"]) == "Local"
}

fn copy(fields: &mut Fields, from: &Value, field: &str) {
    if let Some(value) = from.get(field) {
        fields.insert(field.into(), value.clone());
    }
}

fn keep_node_ports(obj: &mut Value, old: &Value) {
    let identity = |port: &Fields| (port.get("port").cloned(), port.get("protocol").cloned());
    let before: Vec<_> =
        list_at(old, &["spec", "ports"]).iter().filter_map(Value::as_object).collect();
    let taken: Vec<Value> = list_at(obj, &["spec", "ports"])
        .iter()
        .filter_map(|port| port.get("nodePort").cloned())
        .collect();
    each(fields_mut(obj, &["spec"]), "ports", |port| {
        if port.get("nodePort").and_then(Value::as_i64).unwrap_or_default() != 0 {
            return;
        }
        let same = before.iter().find(|old| identity(old) == identity(port));
        if let Some(kept) = same.and_then(|old| old.get("nodePort"))
            && !taken.contains(kept)
        {
            port.insert("nodePort".into(), kept.clone());
        }
    });
}

/// A Service that changes its type gives up what the new type does not have.
pub(super) fn drop_unneeded(obj: &mut Value, old: &Value) {
    let same = |obj: &Value, field: &str| obj["spec"].get(field) == old["spec"].get(field);
    let cleared = str_at(obj, &["spec", "clusterIP"]).is_empty();
    if has_cluster_ip(old) && !has_cluster_ip(obj) && (cleared || same(obj, "clusterIP")) {
        let spec = fields_mut(obj, &["spec"]);
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(field);
        }
    }
    if has_node_ports(old) && !has_node_ports(obj) {
        each(fields_mut(obj, &["spec"]), "ports", |port| {
            port.remove("nodePort");
        });
    }
    if needs_health_check(old) && !needs_health_check(obj) && same(obj, "healthCheckNodePort") {
        fields_mut(obj, &["spec"]).remove("healthCheckNodePort");
    }
    if str_at(old, &["spec", "type"]) == "LoadBalancer"
        && str_at(obj, &["spec", "type"]) != "LoadBalancer"
    {
        let spec = fields_mut(obj, &["spec"]);
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            spec.remove(field);
        }
        obj["status"] = json!({"loadBalancer": {}});
    }
    if is_external(old) && !is_external(obj) && same(obj, "externalTrafficPolicy") {
        fields_mut(obj, &["spec"]).remove("externalTrafficPolicy");
    }
}
