//! Kubernetes objects as the policies see them: interned text, whole numbers, no maps.

use std::collections::BTreeMap;

use hansa_api::k8s_openapi::api::core::v1 as core;
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement,
};
use hansa_extension::scheduler::{
    Effect, ExtRow, HostPort, Ix, Label, Mirror, NodeRow, Op, PodView, PreferredTerm, Protocol,
    Requirement, Spread, Taint, Term, Toleration, UNSCHEDULABLE,
};

use crate::quantity;
use crate::requests::Requests;

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";

/// A node's row, nothing used yet.
pub fn node_row(mirror: &mut Mirror, ix: Ix, node: &core::Node) -> NodeRow {
    let labels = node.metadata.labels.iter().flatten();
    let label_set = mirror.label_set(labels.map(|(k, v)| (k.as_str(), v.as_str())));
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|l| l.get(key)).cloned();
    let taints = taints(mirror, node);
    let allocatable = |name: &str, read: fn(&quantity::Q) -> i64| allocatable(node, name, read);
    let unschedulable = node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
    NodeRow {
        ix,
        name: mirror.sym(node.metadata.name.as_deref().unwrap_or_default()),
        label_set,
        taint_set: mirror.taint_set(&taints),
        topo_zone: mirror.sym(&label(ZONE).unwrap_or_default()),
        topo_region: mirror.sym(&label(REGION).unwrap_or_default()),
        bits: if unschedulable { UNSCHEDULABLE } else { 0 },
        cpu_milli: allocatable("cpu", quantity::milli),
        memory: allocatable("memory", quantity::units),
        ephemeral: allocatable("ephemeral-storage", quantity::units),
        pods: allocatable("pods", quantity::units),
        ..NodeRow::default()
    }
}

/// The node's extended resources and huge pages, nothing used yet.
pub fn node_ext(mirror: &mut Mirror, ix: Ix, node: &core::Node) -> Vec<ExtRow> {
    let list = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
    let extended = list.into_iter().flatten().filter(|(name, _)| {
        !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage" | "pods")
    });
    extended
        .map(|(name, quantity)| ExtRow {
            ix,
            name: mirror.sym(name),
            allocatable: quantity::units(quantity),
            used: 0,
        })
        .collect()
}

fn allocatable(node: &core::Node, name: &str, read: fn(&quantity::Q) -> i64) -> i64 {
    let list = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
    list.and_then(|l| l.get(name)).map_or(0, read)
}

fn taints(mirror: &mut Mirror, node: &core::Node) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    taints
        .filter_map(|taint| {
            Some(Taint {
                key: mirror.sym(&taint.key),
                value: mirror.sym(taint.value.as_deref().unwrap_or_default()),
                effect: effect(&taint.effect)?,
            })
        })
        .collect()
}

fn effect(text: &str) -> Option<Effect> {
    match text {
        "NoSchedule" => Some(Effect::NoSchedule),
        "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
        "NoExecute" => Some(Effect::NoExecute),
        _ => None,
    }
}

/// The pod as the policies see it; `owners` are the selectors of what owns it (for the default
/// spreading), merged.
pub fn pod_view(mirror: &mut Mirror, pod: &core::Pod, attempt: u32, owners: &Selector) -> PodView {
    let meta = &pod.metadata;
    let none = core::PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let requests = Requests::of(pod);
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    PodView {
        uid: meta.uid.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        namespace: mirror.sym(meta.namespace.as_deref().unwrap_or_default()),
        owner: mirror.sym(owner.map_or("", |o| &o.uid)),
        labels: labels(mirror, meta.labels.as_ref()),
        priority: spec.priority.unwrap_or(0),
        attempt,
        cpu: requests.cpu,
        memory: requests.memory,
        ephemeral: requests.ephemeral,
        nz_cpu: requests.nz_cpu,
        nz_memory: requests.nz_memory,
        ext: requests.ext.iter().map(|(name, n)| (mirror.sym(name), *n)).collect(),
        node_name: mirror.sym(spec.node_name.as_deref().unwrap_or_default()),
        node_selector: labels(mirror, spec.node_selector.as_ref()),
        required: affinity.map(|a| required(mirror, a)).unwrap_or_default(),
        preferred: affinity.map(|a| preferred(mirror, a)).unwrap_or_default(),
        tolerations: tolerations(mirror, spec),
        spreads: spreads(mirror, pod, spec),
        owner_selector: owners.requirements(mirror),
        host_ports: host_ports(mirror, spec),
        images: spec
            .containers
            .iter()
            .filter_map(|c| c.image.as_deref())
            .map(|image| mirror.sym(image))
            .collect(),
        raw: Vec::new(),
    }
}

fn labels(mirror: &mut Mirror, labels: Option<&BTreeMap<String, String>>) -> Vec<Label> {
    let labels = labels.into_iter().flatten();
    labels.map(|(k, v)| Label { key: mirror.sym(k), value: mirror.sym(v) }).collect()
}

fn required(mirror: &mut Mirror, affinity: &core::NodeAffinity) -> Vec<Term> {
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref();
    let terms = required.map(|selector| selector.node_selector_terms.as_slice());
    terms.unwrap_or_default().iter().map(|t| term(mirror, t)).collect()
}

fn preferred(mirror: &mut Mirror, affinity: &core::NodeAffinity) -> Vec<PreferredTerm> {
    let terms = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    terms.map(|p| PreferredTerm { weight: p.weight, term: term(mirror, &p.preference) }).collect()
}

fn term(mirror: &mut Mirror, term: &core::NodeSelectorTerm) -> Term {
    let mut read = |list: Option<&Vec<core::NodeSelectorRequirement>>| {
        let all = list.into_iter().flatten();
        all.filter_map(|r| requirement(mirror, &r.key, &r.operator, r.values.as_deref())).collect()
    };
    Term {
        expressions: read(term.match_expressions.as_ref()),
        fields: read(term.match_fields.as_ref()),
    }
}

fn requirement(
    mirror: &mut Mirror,
    key: &str,
    operator: &str,
    values: Option<&[String]>,
) -> Option<Requirement> {
    let op = match operator {
        "In" => Op::In,
        "NotIn" => Op::NotIn,
        "Exists" => Op::Exists,
        "DoesNotExist" => Op::DoesNotExist,
        "Gt" => Op::Gt,
        "Lt" => Op::Lt,
        _ => return None,
    };
    let values = values.unwrap_or_default().iter().map(|v| mirror.sym(v)).collect();
    Some(Requirement { key: mirror.sym(key), op, values })
}

fn tolerations(mirror: &mut Mirror, spec: &core::PodSpec) -> Vec<Toleration> {
    let all = spec.tolerations.iter().flatten();
    all.map(|t| Toleration {
        key: mirror.sym(t.key.as_deref().unwrap_or_default()),
        any_value: t.operator.as_deref() == Some("Exists"),
        value: mirror.sym(t.value.as_deref().unwrap_or_default()),
        effect: t.effect.as_deref().and_then(effect),
    })
    .collect()
}

fn spreads(mirror: &mut Mirror, pod: &core::Pod, spec: &core::PodSpec) -> Vec<Spread> {
    let all = spec.topology_spread_constraints.iter().flatten();
    all.map(|constraint| Spread {
        topology_key: mirror.sym(&constraint.topology_key),
        max_skew: constraint.max_skew.max(1).unsigned_abs(),
        hard: constraint.when_unsatisfiable == "DoNotSchedule",
        selector: constraint.label_selector.as_ref().map(|selector| {
            let mut wanted = Selector::default();
            wanted.and_selector(selector);
            wanted.and_keys_of(pod, constraint.match_label_keys.iter().flatten());
            wanted.requirements(mirror)
        }),
        min_domains: constraint.min_domains.unwrap_or(0).max(0).unsigned_abs(),
        honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    })
    .collect()
}

/// The host ports of the pod's containers and sidecars.
pub fn host_ports(mirror: &mut Mirror, spec: &core::PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let mut wanted: Vec<HostPort> = Vec::new();
    for port in ports {
        let host_port = port.host_port.and_then(|p| u16::try_from(p).ok()).unwrap_or(0);
        let protocol = protocol(port.protocol.as_deref());
        let ip = port.host_ip.as_deref().filter(|ip| *ip != "0.0.0.0").unwrap_or_default();
        let port = HostPort { ip: mirror.sym(ip), protocol, port: host_port };
        if host_port != 0 && !wanted.contains(&port) {
            wanted.push(port);
        }
    }
    wanted
}

fn protocol(text: Option<&str>) -> Protocol {
    match text {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

/// Label requirements, still as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector(Vec<(String, String, Vec<String>)>);

impl Selector {
    /// Whether it demands nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Demands these labels as well.
    pub fn and_labels(&mut self, labels: &BTreeMap<String, String>) {
        for (key, value) in labels {
            self.push(key, "In", std::slice::from_ref(value));
        }
    }

    /// Demands what a label selector demands as well.
    pub fn and_selector(&mut self, selector: &LabelSelector) {
        selector.match_labels.iter().for_each(|labels| self.and_labels(labels));
        for LabelSelectorRequirement { key, operator, values } in
            selector.match_expressions.iter().flatten()
        {
            self.push(key, operator, values.as_deref().unwrap_or_default());
        }
    }

    /// Demands the pod's own values of these label keys (KEP-3243); keys that it lacks are skipped.
    fn and_keys_of<'a>(&mut self, pod: &core::Pod, keys: impl Iterator<Item = &'a String>) {
        let labels = pod.metadata.labels.as_ref();
        for key in keys {
            if let Some(value) = labels.and_then(|labels| labels.get(key)) {
                self.push(key, "In", std::slice::from_ref(value));
            }
        }
    }

    fn push(&mut self, key: &str, operator: &str, values: &[String]) {
        let one = (key.to_owned(), operator.to_owned(), values.to_vec());
        if !self.0.contains(&one) {
            self.0.push(one);
        }
    }

    fn requirements(&self, mirror: &mut Mirror) -> Vec<Requirement> {
        let all = self.0.iter();
        all.filter_map(|(key, op, values)| requirement(mirror, key, op, Some(values))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn match_label_keys_become_part_of_the_selector() {
        let mut mirror = Mirror::default();
        let pod = serde_json::from_value(json!({
            "metadata": { "labels": { "app": "web", "pod-template-hash": "1" } },
            "spec": { "containers": [], "topologySpreadConstraints": [{
                "topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": { "matchLabels": { "app": "web" } },
                "matchLabelKeys": ["pod-template-hash", "absent"],
            }]},
        }));
        let view = pod_view(&mut mirror, &pod.unwrap(), 1, &Selector::default());
        let selector = view.spreads[0].selector.as_ref().unwrap();
        let keys: Vec<_> = selector.iter().map(|r| mirror.text(r.key)).collect();
        assert_eq!(keys, ["app", "pod-template-hash"]);
        assert!(view.spreads[0].hard && view.spreads[0].honor_affinity);
    }

    #[test]
    fn host_ports_are_listed_once_and_any_address_is_zero() {
        let mut mirror = Mirror::default();
        let spec = serde_json::from_value(json!({ "containers": [
            { "name": "a", "ports": [{ "containerPort": 80, "hostPort": 80 }] },
            { "name": "b", "ports": [
                { "containerPort": 81, "hostPort": 80, "hostIP": "0.0.0.0" },
                { "containerPort": 53, "hostPort": 53, "protocol": "UDP" },
                { "containerPort": 8080 },
            ]},
        ]}));
        let ports = host_ports(&mut mirror, &spec.unwrap());
        let expect = [(0, Protocol::Tcp, 80), (0, Protocol::Udp, 53)];
        assert_eq!(ports.iter().map(|p| (p.ip, p.protocol, p.port)).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn a_node_row_holds_what_is_allocatable() {
        let mut mirror = Mirror::default();
        let node = serde_json::from_value(json!({
            "metadata": { "name": "a", "labels": { ZONE: "z1" } },
            "spec": { "unschedulable": true, "taints": [{ "key": "k", "effect": "NoSchedule" }] },
            "status": { "allocatable": {
                "cpu": "1500m", "memory": "1Gi", "pods": "110", "example.com/gpu": "4",
            }},
        }));
        let node = node.unwrap();
        let row = node_row(&mut mirror, 3, &node);
        assert_eq!((row.cpu_milli, row.memory, row.pods), (1500, 1 << 30, 110));
        assert_eq!((mirror.text(row.topo_zone), row.bits), ("z1", UNSCHEDULABLE));
        assert!(row.taint_set > 0);
        assert_eq!(node_ext(&mut mirror, 3, &node)[0].allocatable, 4);
    }
}
