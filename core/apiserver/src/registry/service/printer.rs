//! The row of a Service in `kubectl get services`.

use hansa_api::meta::{list_at, map_at, str_at};
use jiff::Timestamp;
use serde_json::Value;

use crate::generic::strategy::Column;
use crate::registry::cells;

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Type", "How it is reached."),
        Column::new("Cluster-IP", "Its address in the cluster."),
        Column::new("External-IP", "Its addresses outside."),
        Column::new("Port(s)", "Its ports, and those on the nodes."),
        Column::age(),
        Column::wide("Selector", "The labels of its pods."),
    ]
}

pub(super) fn row(obj: &Value, now: Timestamp) -> Vec<Value> {
    let first = list_at(obj, &["spec", "clusterIPs"]).first().and_then(Value::as_str);
    let cluster_ip = first.unwrap_or(str_at(obj, &["spec", "clusterIP"]));
    vec![
        cells::name(obj),
        str_at(obj, &["spec", "type"]).into(),
        cells::or(cluster_ip, cells::NONE),
        external_ip(obj).into(),
        cells::or(&ports(obj), cells::NONE),
        cells::age(obj, now),
        cells::labels(map_at(obj, &["spec", "selector"])),
    ]
}

fn external_ip(obj: &Value) -> String {
    let named = list_at(obj, &["spec", "externalIPs"]).iter().filter_map(Value::as_str);
    let named: Vec<_> = named.collect();
    match str_at(obj, &["spec", "type"]) {
        "ExternalName" => str_at(obj, &["spec", "externalName"]).into(),
        "LoadBalancer" => {
            let ingress = list_at(obj, &["status", "loadBalancer", "ingress"]).iter();
            let given = ingress.map(|ingress| match str_at(ingress, &["ip"]) {
                "" => str_at(ingress, &["hostname"]),
                ip => ip,
            });
            let mut all: Vec<_> = given.filter(|text| !text.is_empty()).collect();
            all.extend(named);
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        _ if named.is_empty() => cells::NONE.into(),
        _ => named.join(","),
    }
}

fn ports(obj: &Value) -> String {
    let ports = list_at(obj, &["spec", "ports"]).iter().map(|port| {
        let (number, node) = (cells::int(port, &["port"]), cells::int(port, &["nodePort"]));
        let protocol = str_at(port, &["protocol"]);
        match node {
            0 => format!("{number}/{protocol}"),
            node => format!("{number}:{node}/{protocol}"),
        }
    });
    ports.collect::<Vec<_>>().join(",")
}
