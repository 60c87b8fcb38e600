//! What pods take of a node, added up.

use std::collections::HashMap;

use hansa_api::k8s_openapi::api::core::v1::{Pod, PodSpec};
use hansa_extension::scheduler::{
    Change, ExtRow, GroupRow, HostPort, Ix, Mirror, PortRow, SetId, Sym, UsageRow,
};

use crate::requests::Requests;
use crate::view;

/// What one pod takes of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    usage: UsageRow,
    ext: Vec<(Sym, i64)>,
    ports: Vec<HostPort>,
    /// None for a pod that is being deleted: spreading does not count it.
    group: Option<SetId>,
}

impl Demand {
    /// What `pod` takes.
    pub fn of(mirror: &mut Mirror, pod: &Pod) -> Demand {
        let requests = Requests::of(pod);
        let none = PodSpec::default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let labels = pod.metadata.labels.iter().flatten();
        let group = pod
            .metadata
            .deletion_timestamp
            .is_none()
            .then(|| mirror.group(namespace, labels.map(|(k, v)| (k.as_str(), v.as_str()))));
        Demand {
            usage: UsageRow {
                ix: 0,
                cpu: requests.cpu,
                memory: requests.memory,
                ephemeral: requests.ephemeral,
                pods: 1,
                nz_cpu: requests.nz_cpu,
                nz_memory: requests.nz_memory,
            },
            ext: requests.ext.iter().map(|(name, n)| (mirror.sym(name), *n)).collect(),
            ports: view::host_ports(mirror, pod.spec.as_ref().unwrap_or(&none)),
            group,
        }
    }

    /// The pod group that it counts in, if it counts.
    pub fn group(&self) -> Option<SetId> {
        self.group
    }
}

/// What all pods of a node take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    usage: UsageRow,
    ext: HashMap<Sym, i64>,
    ports: HashMap<HostPort, u32>,
    groups: HashMap<SetId, u32>,
}

impl Load {
    /// A pod comes.
    pub fn add(&mut self, demand: &Demand) {
        self.count(demand, 1);
    }

    /// A pod that was added goes.
    pub fn remove(&mut self, demand: &Demand) {
        self.count(demand, -1);
    }

    /// Resources in use, as the row of node `ix`.
    pub fn usage(&self, ix: Ix) -> UsageRow {
        UsageRow { ix, ..self.usage.clone() }
    }

    /// How much of an extended resource is in use.
    pub fn ext(&self, name: Sym) -> i64 {
        self.ext.get(&name).copied().unwrap_or(0)
    }

    /// The names of the extended resources in use.
    pub fn ext_names(&self) -> impl Iterator<Item = Sym> + '_ {
        self.ext.keys().copied()
    }

    /// The rows of a node whose pods change from `self` to `after`.
    pub fn change_to(&self, after: &Load, node: &Allocatable) -> Change {
        let ix = node.ix;
        let ext = changed(&self.ext, &after.ext).map(|(name, used)| ExtRow {
            ix,
            name: *name,
            allocatable: node.ext(*name),
            used,
        });
        let ports = changed(&self.ports, &after.ports);
        let groups = changed(&self.groups, &after.groups);
        Change {
            usage: Some(after.usage(ix)),
            ext: ext.collect(),
            ports: ports.map(|(port, used)| PortRow { ix, port: port.clone(), used }).collect(),
            groups: groups.map(|(group, pods)| GroupRow { ix, group: *group, pods }).collect(),
        }
    }

    /// Writes the rows that a pod's coming or going touches.
    pub fn write_touched(&self, demand: &Demand, node: &Allocatable, mirror: &mut Mirror) {
        let ix = node.ix;
        mirror.update_usage(&self.usage(ix));
        for (name, _) in &demand.ext {
            mirror.update_ext(self.ext_row(*name, node));
        }
        for port in &demand.ports {
            let used = self.ports.get(port).copied().unwrap_or(0);
            mirror.update_port(PortRow { ix, port: port.clone(), used });
        }
        if let Some(group) = demand.group {
            let pods = self.groups.get(&group).copied().unwrap_or(0);
            mirror.update_group(&GroupRow { ix, group, pods });
        }
    }

    /// Writes every row, for a node that the mirror has just learnt of.
    pub fn write_all(&self, node: &Allocatable, mirror: &mut Mirror) {
        let ix = node.ix;
        mirror.update_usage(&self.usage(ix));
        for name in self.ext.keys() {
            mirror.update_ext(self.ext_row(*name, node));
        }
        for (port, used) in &self.ports {
            mirror.update_port(PortRow { ix, port: port.clone(), used: *used });
        }
        for (group, pods) in &self.groups {
            mirror.update_group(&GroupRow { ix, group: *group, pods: *pods });
        }
    }

    fn ext_row(&self, name: Sym, node: &Allocatable) -> ExtRow {
        ExtRow { ix: node.ix, name, allocatable: node.ext(name), used: self.ext(name) }
    }

    fn count(&mut self, demand: &Demand, sign: i64) {
        let (mine, one) = (&mut self.usage, &demand.usage);
        mine.cpu += sign * one.cpu;
        mine.memory += sign * one.memory;
        mine.ephemeral += sign * one.ephemeral;
        mine.pods += sign * one.pods;
        mine.nz_cpu += sign * one.nz_cpu;
        mine.nz_memory += sign * one.nz_memory;
        for (name, amount) in &demand.ext {
            let used = self.ext.entry(*name).or_default();
            *used += sign * amount;
            if *used == 0 {
                self.ext.remove(name);
            }
        }
        demand.ports.iter().for_each(|port| tally(&mut self.ports, port, sign));
        demand.group.iter().for_each(|group| tally(&mut self.groups, group, sign));
    }
}

/// A node's index and extended resources.
#[derive(Clone, Debug, Default)]
pub struct Allocatable {
    /// The node's index.
    pub ix: Ix,
    /// Allocatable extended resources.
    pub ext: HashMap<Sym, i64>,
}

impl Allocatable {
    /// Allocatable of one extended resource.
    pub fn ext(&self, name: Sym) -> i64 {
        self.ext.get(&name).copied().unwrap_or(0)
    }
}

fn tally<K: Clone + Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, key: &K, sign: i64) {
    let count = counts.entry(key.clone()).or_default();
    *count = if sign > 0 { *count + 1 } else { count.saturating_sub(1) };
    if *count == 0 {
        counts.remove(key);
    }
}

/// The keys whose value differs, with the value after (0 if the key is gone).
fn changed<'a, K: Eq + std::hash::Hash, V: Copy + Default + PartialEq>(
    before: &'a HashMap<K, V>,
    after: &'a HashMap<K, V>,
) -> impl Iterator<Item = (&'a K, V)> {
    let gone = before.keys().filter(|key| !after.contains_key(key)).map(|key| (key, V::default()));
    let other = after.iter().filter(|(key, value)| before.get(key) != Some(value));
    gone.chain(other.map(|(key, value)| (key, *value)))
}
