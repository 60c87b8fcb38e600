//! The columnar store of nodes: one column per fact, indexed by node.

use std::collections::BTreeMap;

use super::{GroupRow, HostPort, Label, NodeRow, PortRow, SetId, Sym, Taint, UsageRow};
use crate::bitmap;

/// In a label column: the node does not have the label.
pub const ABSENT: Sym = Sym::MAX;

/// Nodes, fed by the host. All per-node columns have [`Nodes::len`] entries.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    version: u64,
    present: Vec<u8>,
    symbols: Vec<String>,
    label_sets: BTreeMap<SetId, Vec<Label>>,
    taint_sets: BTreeMap<SetId, Vec<Taint>>,
    labels: BTreeMap<Sym, Vec<Sym>>,
    ext: BTreeMap<Sym, Ext>,
    ports: Vec<Vec<(HostPort, u32)>>,
    groups: BTreeMap<SetId, Group>,
    rows: Columns,
}

/// The scalar columns.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// `metadata.name`.
    pub name: Vec<Sym>,
    /// The label set.
    pub label_set: Vec<SetId>,
    /// The taint set.
    pub taint_set: Vec<SetId>,
    /// The zone, 0 if none.
    pub zone: Vec<Sym>,
    /// The region, 0 if none.
    pub region: Vec<Sym>,
    /// Flags, see [`super::UNSCHEDULABLE`].
    pub bits: Vec<u32>,
    /// Allocatable CPU, thousandths.
    pub cpu: Vec<i64>,
    /// Allocatable memory, bytes.
    pub memory: Vec<i64>,
    /// Allocatable ephemeral storage, bytes.
    pub ephemeral: Vec<i64>,
    /// Allocatable pods.
    pub pods: Vec<i64>,
    /// CPU requested, thousandths.
    pub used_cpu: Vec<i64>,
    /// Memory requested, bytes.
    pub used_memory: Vec<i64>,
    /// Ephemeral storage requested, bytes.
    pub used_ephemeral: Vec<i64>,
    /// Pods.
    pub used_pods: Vec<i64>,
    /// CPU requested with non-zero defaults, thousandths.
    pub nz_cpu: Vec<i64>,
    /// Memory requested with non-zero defaults, bytes.
    pub nz_memory: Vec<i64>,
}

/// One extended resource.
#[derive(Clone, Debug, Default)]
pub struct Ext {
    /// Allocatable, per node.
    pub allocatable: Vec<i64>,
    /// Requested, per node.
    pub used: Vec<i64>,
}

/// Pods of one namespace with the same labels.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Their namespace.
    pub namespace: Sym,
    /// Their labels.
    pub labels: Vec<Label>,
    /// How many run on which node; nodes without any are left out.
    pub counts: BTreeMap<u32, u32>,
}

impl Group {
    /// The value of the label `key`.
    pub fn label(&self, key: Sym) -> Option<Sym> {
        self.labels.iter().find(|label| label.key == key).map(|label| label.value)
    }
}

/// Reading.
impl Nodes {
    /// Index slots; those without a node are not in [`Nodes::present`].
    pub fn len(&self) -> usize {
        self.rows.name.len()
    }

    /// Whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The version of the last commit.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A bitmap of the nodes that are there.
    pub fn present(&self) -> &[u8] {
        &self.present
    }

    /// The scalar columns.
    #[inline]
    pub fn columns(&self) -> &Columns {
        &self.rows
    }

    /// The text of a symbol; empty if it is not defined.
    pub fn text(&self, sym: Sym) -> &str {
        self.symbols.get(sym as usize).map_or("", String::as_str)
    }

    /// The symbol of `text`, if the host ever sent it. Looks at every text: call it once per
    /// decision.
    pub fn sym(&self, text: &str) -> Option<Sym> {
        if text.is_empty() {
            return Some(0);
        }
        let at = self.symbols.iter().position(|have| have == text)?;
        u32::try_from(at).ok()
    }

    /// Per node the value of the label `key`, or [`ABSENT`]; none if no node ever had it.
    pub fn label_column(&self, key: Sym) -> Option<&[Sym]> {
        self.labels.get(&key).map(Vec::as_slice)
    }

    /// The value of the label `key` of a node.
    pub fn label(&self, ix: usize, key: Sym) -> Option<Sym> {
        let value = *self.labels.get(&key)?.get(ix)?;
        (value != ABSENT).then_some(value)
    }

    /// The taints of a node.
    pub fn taints(&self, ix: usize) -> &[Taint] {
        self.taint_set(self.rows.taint_set[ix])
    }

    /// The members of a taint set. Nodes share few of them: judge each once.
    pub fn taint_set(&self, id: SetId) -> &[Taint] {
        self.taint_sets.get(&id).map_or(&[], Vec::as_slice)
    }

    /// All taint sets that are defined.
    pub fn taint_sets(&self) -> impl Iterator<Item = (SetId, &[Taint])> {
        self.taint_sets.iter().map(|(id, set)| (*id, set.as_slice()))
    }

    /// An extended resource; none if no node has it.
    pub fn ext(&self, name: Sym) -> Option<&Ext> {
        self.ext.get(&name)
    }

    /// The host ports in use on a node, and by how many pods.
    pub fn ports(&self, ix: usize) -> &[(HostPort, u32)] {
        self.ports.get(ix).map_or(&[], Vec::as_slice)
    }

    /// All pod groups.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }
}

/// Feeding: what the host's calls do.
impl Nodes {
    /// Forgets everything and makes room.
    pub fn reset(&mut self, capacity: u32) {
        *self = Self::default();
        self.symbols.push(String::new());
        self.grow(capacity as usize);
    }

    /// Defines symbols from `first` on.
    pub fn define_symbols(&mut self, first: Sym, text: Vec<String>) {
        self.symbols.resize(first as usize, String::new());
        self.symbols.extend(text);
    }

    /// Defines a label set.
    pub fn define_label_set(&mut self, id: SetId, members: Vec<Label>) {
        self.label_sets.insert(id, members);
    }

    /// Defines a taint set.
    pub fn define_taint_set(&mut self, id: SetId, members: Vec<Taint>) {
        self.taint_sets.insert(id, members);
    }

    /// Defines a pod group.
    pub fn define_group(&mut self, id: SetId, namespace: Sym, labels: SetId) {
        let labels = self.label_sets.get(&labels).cloned().unwrap_or_default();
        self.groups.insert(id, Group { namespace, labels, counts: BTreeMap::new() });
    }

    /// Adds or replaces nodes.
    pub fn upsert(&mut self, rows: &[NodeRow]) {
        let most = rows.iter().map(|row| row.ix as usize + 1).max().unwrap_or(0);
        self.grow(most);
        for row in rows {
            self.set_labels(row.ix as usize, row.label_set);
            self.rows.set(row);
            bitmap::set(&mut self.present, row.ix as usize);
        }
    }

    /// Replaces what is used.
    pub fn update_usage(&mut self, rows: &[UsageRow]) {
        let len = self.len();
        for row in rows.iter().filter(|row| (row.ix as usize) < len) {
            self.rows.set_usage(row);
        }
    }

    /// What is used on a node now, as a row.
    pub fn usage(&self, ix: usize) -> UsageRow {
        self.rows.usage(ix)
    }

    /// Replaces one extended resource of a node.
    pub fn update_ext(&mut self, row: &super::ExtRow) {
        let (len, ix) = (self.len(), row.ix as usize);
        if ix >= len {
            return;
        }
        let ext = self.ext.entry(row.name).or_default();
        ext.allocatable.resize(len, 0);
        ext.used.resize(len, 0);
        (ext.allocatable[ix], ext.used[ix]) = (row.allocatable, row.used);
    }

    /// Replaces how many pods hold a host port of a node.
    pub fn update_port(&mut self, row: &PortRow) {
        if let Some(ports) = self.ports.get_mut(row.ix as usize) {
            ports.retain(|(port, _)| *port != row.port);
            if row.used > 0 {
                ports.push((row.port, row.used));
            }
        }
    }

    /// Replaces how many pods of a group run on a node.
    pub fn update_group(&mut self, row: &GroupRow) {
        if let Some(group) = self.groups.get_mut(&row.group) {
            if row.pods == 0 {
                group.counts.remove(&row.ix);
            } else {
                group.counts.insert(row.ix, row.pods);
            }
        }
    }

    /// How many pods of a group run on a node, as a row.
    pub fn group_row(&self, ix: u32, group: SetId) -> GroupRow {
        let counts = self.groups.get(&group).map(|group| &group.counts);
        let pods = counts.and_then(|counts| counts.get(&ix)).copied().unwrap_or(0);
        GroupRow { ix, group, pods }
    }

    /// Removes a node with all its rows.
    pub fn remove(&mut self, ix: u32) {
        let at = ix as usize;
        if at >= self.len() {
            return;
        }
        bitmap::clear(&mut self.present, at);
        self.set_labels(at, 0);
        self.rows.set(&NodeRow { ix, ..empty_row() });
        for ext in self.ext.values_mut().filter(|ext| at < ext.used.len()) {
            (ext.allocatable[at], ext.used[at]) = (0, 0);
        }
        self.ports[at].clear();
        for group in self.groups.values_mut() {
            group.counts.remove(&ix);
        }
    }

    /// Ends a batch.
    pub fn commit(&mut self, version: u64) {
        self.version = version;
    }

    fn grow(&mut self, len: usize) {
        if len <= self.len() {
            return;
        }
        self.rows.resize(len);
        self.ports.resize(len, Vec::new());
        self.present.resize(bitmap::len_for(len), 0);
        for column in self.labels.values_mut() {
            column.resize(len, ABSENT);
        }
        for ext in self.ext.values_mut() {
            ext.allocatable.resize(len, 0);
            ext.used.resize(len, 0);
        }
    }

    /// Writes a node's labels into the columns; its old set is the one in its row.
    fn set_labels(&mut self, ix: usize, set: SetId) {
        let len = self.len();
        let old = self.rows.label_set[ix];
        if old == set {
            return;
        }
        for label in self.label_sets.get(&old).into_iter().flatten() {
            if let Some(column) = self.labels.get_mut(&label.key) {
                column[ix] = ABSENT;
            }
        }
        for label in self.label_sets.get(&set).into_iter().flatten() {
            let column = self.labels.entry(label.key).or_insert_with(|| vec![ABSENT; len]);
            column[ix] = label.value;
        }
    }
}

impl Columns {
    fn resize(&mut self, len: usize) {
        for column in [&mut self.name, &mut self.label_set, &mut self.taint_set] {
            column.resize(len, 0);
        }
        for column in [&mut self.zone, &mut self.region, &mut self.bits] {
            column.resize(len, 0);
        }
        for column in [&mut self.cpu, &mut self.memory, &mut self.ephemeral, &mut self.pods] {
            column.resize(len, 0);
        }
        for column in [&mut self.used_cpu, &mut self.used_memory, &mut self.used_ephemeral] {
            column.resize(len, 0);
        }
        for column in [&mut self.used_pods, &mut self.nz_cpu, &mut self.nz_memory] {
            column.resize(len, 0);
        }
    }

    fn set(&mut self, row: &NodeRow) {
        let ix = row.ix as usize;
        (self.name[ix], self.label_set[ix]) = (row.name, row.label_set);
        (self.taint_set[ix], self.bits[ix]) = (row.taint_set, row.bits);
        (self.zone[ix], self.region[ix]) = (row.topo_zone, row.topo_region);
        (self.cpu[ix], self.memory[ix]) = (row.cpu_milli, row.memory);
        (self.ephemeral[ix], self.pods[ix]) = (row.ephemeral, row.pods);
        (self.used_cpu[ix], self.used_memory[ix]) = (row.used_cpu, row.used_memory);
        (self.used_ephemeral[ix], self.used_pods[ix]) = (row.used_ephemeral, row.used_pods);
        (self.nz_cpu[ix], self.nz_memory[ix]) = (row.nz_cpu, row.nz_memory);
    }

    fn set_usage(&mut self, row: &UsageRow) {
        let ix = row.ix as usize;
        (self.used_cpu[ix], self.used_memory[ix]) = (row.cpu, row.memory);
        (self.used_ephemeral[ix], self.used_pods[ix]) = (row.ephemeral, row.pods);
        (self.nz_cpu[ix], self.nz_memory[ix]) = (row.nz_cpu, row.nz_memory);
    }

    fn usage(&self, ix: usize) -> UsageRow {
        UsageRow {
            ix: ix as u32,
            cpu: self.used_cpu[ix],
            memory: self.used_memory[ix],
            ephemeral: self.used_ephemeral[ix],
            pods: self.used_pods[ix],
            nz_cpu: self.nz_cpu[ix],
            nz_memory: self.nz_memory[ix],
        }
    }
}

fn empty_row() -> NodeRow {
    NodeRow {
        ix: 0,
        name: 0,
        label_set: 0,
        taint_set: 0,
        image_set: 0,
        topo_zone: 0,
        topo_region: 0,
        bits: 0,
        cpu_milli: 0,
        memory: 0,
        ephemeral: 0,
        pods: 0,
        used_cpu: 0,
        used_memory: 0,
        used_ephemeral: 0,
        used_pods: 0,
        nz_cpu: 0,
        nz_memory: 0,
    }
}
