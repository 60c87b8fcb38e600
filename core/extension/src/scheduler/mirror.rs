//! The host's copy of what plugins were fed: the source of truth from which any instance is
//! rebuilt.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::*;
use crate::intern::{Symbols, Table};

/// Nodes as rows, interned text and sets, and what changed since the last [`Mirror::flush`].
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    symbols: Symbols,
    label_sets: Table<Vec<Label>>,
    taint_sets: Table<Vec<Taint>>,
    groups: Table<(Sym, SetId)>,
    nodes: Vec<Option<NodeRow>>,
    ext: BTreeMap<(Ix, Sym), ExtRow>,
    ports: HashMap<Ix, Vec<PortRow>>,
    group_rows: BTreeMap<(Ix, SetId), u32>,
    version: u64,
    sent: Sent,
    dirty: Dirty,
}

/// How many definitions the plugins have.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    symbols: usize,
    label_sets: usize,
    taint_sets: usize,
    groups: usize,
}

#[derive(Clone, Debug, Default)]
struct Dirty {
    removed: BTreeSet<Ix>,
    rows: BTreeSet<Ix>,
    usage: BTreeSet<Ix>,
    ext: BTreeSet<(Ix, Sym)>,
    ports: Vec<PortRow>,
    groups: BTreeSet<(Ix, SetId)>,
}

/// A batch for the plugins: definitions first, then removals, then rows, then the version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    reset: Option<u32>,
    first_symbol: Sym,
    symbols: Vec<String>,
    label_sets: Vec<(SetId, Vec<Label>)>,
    taint_sets: Vec<(SetId, Vec<Taint>)>,
    groups: Vec<(SetId, Sym, SetId)>,
    removed: Vec<Ix>,
    rows: Vec<NodeRow>,
    usage: Vec<UsageRow>,
    ext: Vec<ExtRow>,
    ports: Vec<PortRow>,
    group_rows: Vec<GroupRow>,
    version: u64,
}

impl Mirror {
    /// The symbol of `text`.
    pub fn sym(&mut self, text: &str) -> Sym {
        self.symbols.sym(text)
    }

    /// The text of a symbol.
    pub fn text(&self, sym: Sym) -> &str {
        self.symbols.text(sym)
    }

    /// The id of a label set; the order of `members` does not matter.
    pub fn label_set<'a>(
        &mut self,
        members: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> SetId {
        let mut set: Vec<Label> = members
            .into_iter()
            .map(|(key, value)| Label { key: self.sym(key), value: self.sym(value) })
            .collect();
        set.sort();
        if set.is_empty() { 0 } else { self.label_sets.id(&set) }
    }

    /// The id of a taint set, in the order of `spec.taints`.
    pub fn taint_set(&mut self, members: &[Taint]) -> SetId {
        if members.is_empty() { 0 } else { self.taint_sets.id(&members.to_vec()) }
    }

    /// The id of the group of pods in namespace `ns` with exactly these labels.
    pub fn group<'a>(
        &mut self,
        ns: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> SetId {
        let pair = (self.sym(ns), self.label_set(labels));
        self.groups.id(&pair)
    }

    /// Index slots, free ones included: the length of every per-node column.
    pub fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// The version of the last flush.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A node's row.
    pub fn row(&self, ix: Ix) -> Option<&NodeRow> {
        self.nodes.get(ix as usize)?.as_ref()
    }

    /// A bitmap of the nodes that are there.
    pub fn present(&self) -> Vec<u8> {
        let there = self.nodes.iter().flatten().map(|row| row.ix);
        crate::bitmap::of(self.nodes.len(), there)
    }

    /// The lowest free index, for a new node.
    pub fn free_ix(&self) -> Ix {
        let free = self.nodes.iter().position(Option::is_none);
        free.unwrap_or(self.nodes.len()) as Ix
    }

    /// Adds or replaces a node.
    pub fn upsert(&mut self, row: NodeRow) {
        let at = row.ix as usize;
        if at >= self.nodes.len() {
            self.nodes.resize(at + 1, None);
        }
        if self.nodes[at].as_ref() != Some(&row) {
            self.dirty.rows.insert(row.ix);
            self.nodes[at] = Some(row);
        }
    }

    /// Replaces what is used on a node; ignored if there is no such node.
    pub fn update_usage(&mut self, usage: &UsageRow) {
        if let Some(Some(row)) = self.nodes.get_mut(usage.ix as usize) {
            (row.used_cpu, row.used_memory) = (usage.cpu, usage.memory);
            (row.used_ephemeral, row.used_pods) = (usage.ephemeral, usage.pods);
            (row.nz_cpu, row.nz_memory) = (usage.nz_cpu, usage.nz_memory);
            self.dirty.usage.insert(usage.ix);
        }
    }

    /// Replaces one extended resource of a node.
    pub fn update_ext(&mut self, row: ExtRow) {
        let key = (row.ix, row.name);
        self.dirty.ext.insert(key);
        if row.allocatable == 0 && row.used == 0 {
            self.ext.remove(&key);
        } else {
            self.ext.insert(key, row);
        }
    }

    /// Replaces how many pods hold a host port of a node.
    pub fn update_port(&mut self, row: PortRow) {
        let rows = self.ports.entry(row.ix).or_default();
        rows.retain(|have| have.port != row.port);
        if row.used > 0 {
            rows.push(row.clone());
        }
        self.dirty.ports.push(row);
    }

    /// Replaces how many pods of a group run on a node.
    pub fn update_group(&mut self, row: &GroupRow) {
        let key = (row.ix, row.group);
        self.dirty.groups.insert(key);
        if row.pods == 0 {
            self.group_rows.remove(&key);
        } else {
            self.group_rows.insert(key, row.pods);
        }
    }

    /// Removes a node with all its rows.
    pub fn remove(&mut self, ix: Ix) {
        if let Some(slot) = self.nodes.get_mut(ix as usize) {
            *slot = None;
        }
        self.ext.retain(|key, _| key.0 != ix);
        self.ports.remove(&ix);
        self.group_rows.retain(|key, _| key.0 != ix);
        self.dirty.ext.retain(|key| key.0 != ix);
        self.dirty.ports.retain(|row| row.ix != ix);
        self.dirty.groups.retain(|key| key.0 != ix);
        self.dirty.removed.insert(ix);
    }

    /// What changed since the last flush, if anything did; counts the version up.
    pub fn flush(&mut self) -> Option<Feed> {
        let dirty = std::mem::take(&mut self.dirty);
        let mut feed = self.definitions(self.sent);
        self.sent = self.defined();
        feed.removed = dirty.removed.iter().copied().collect();
        feed.rows = dirty.rows.iter().filter_map(|ix| self.row(*ix).cloned()).collect();
        let usage = dirty.usage.difference(&dirty.rows);
        feed.usage = usage.filter_map(|ix| self.row(*ix).map(usage_of)).collect();
        feed.ext = dirty.ext.iter().map(|key| self.ext_row(*key)).collect();
        feed.ports = dirty.ports;
        feed.group_rows = dirty.groups.iter().map(|key| self.group_row(*key)).collect();
        if feed == (Feed { first_symbol: feed.first_symbol, ..Feed::default() }) {
            return None;
        }
        self.version += 1;
        feed.version = self.version;
        Some(feed)
    }

    /// Everything, for an instance that has nothing. Call [`Mirror::flush`] first.
    pub fn replay(&self) -> Feed {
        Feed {
            reset: Some(self.nodes.len() as u32),
            rows: self.nodes.iter().flatten().cloned().collect(),
            ext: self.ext.values().cloned().collect(),
            ports: self.ports.values().flatten().cloned().collect(),
            group_rows: self.group_rows.keys().map(|key| self.group_row(*key)).collect(),
            version: self.version,
            ..self.definitions(Sent::default())
        }
    }

    fn ext_row(&self, (ix, name): (Ix, Sym)) -> ExtRow {
        let none = ExtRow { ix, name, allocatable: 0, used: 0 };
        self.ext.get(&(ix, name)).cloned().unwrap_or(none)
    }

    fn group_row(&self, (ix, group): (Ix, SetId)) -> GroupRow {
        let pods = self.group_rows.get(&(ix, group)).copied().unwrap_or(0);
        GroupRow { ix, group, pods }
    }

    fn defined(&self) -> Sent {
        Sent {
            symbols: self.symbols.texts().len(),
            label_sets: self.label_sets.len(),
            taint_sets: self.taint_sets.len(),
            groups: self.groups.len(),
        }
    }

    fn definitions(&self, after: Sent) -> Feed {
        let groups = self.groups.numbered(after.groups);
        Feed {
            first_symbol: after.symbols as Sym + 1,
            symbols: self.symbols.texts()[after.symbols..].to_vec(),
            label_sets: self.label_sets.numbered(after.label_sets),
            taint_sets: self.taint_sets.numbered(after.taint_sets),
            groups: groups.into_iter().map(|(id, (ns, set))| (id, ns, set)).collect(),
            ..Feed::default()
        }
    }
}

fn usage_of(row: &NodeRow) -> UsageRow {
    UsageRow {
        ix: row.ix,
        cpu: row.used_cpu,
        memory: row.used_memory,
        ephemeral: row.used_ephemeral,
        pods: row.used_pods,
        nz_cpu: row.nz_cpu,
        nz_memory: row.nz_memory,
    }
}

impl Feed {
    /// Sends the batch to a plugin, leaving out the rows that it has no interest in.
    pub fn send(&self, to: &mut dyn SchedulerPolicy) -> Result<(), PluginError> {
        let interests = to.interests();
        if let Some(capacity) = self.reset {
            to.reset(capacity)?;
        }
        self.send_definitions(to)?;
        unless_empty(&self.removed, |rows| to.remove(rows))?;
        unless_empty(&self.rows, |rows| to.upsert(rows))?;
        if interests.usage {
            unless_empty(&self.usage, |rows| to.update_usage(rows))?;
        }
        if interests.ext {
            unless_empty(&self.ext, |rows| to.update_ext(rows))?;
        }
        if interests.ports {
            unless_empty(&self.ports, |rows| to.update_ports(rows))?;
        }
        if interests.groups {
            unless_empty(&self.group_rows, |rows| to.update_groups(rows))?;
        }
        to.commit(self.version)
    }

    fn send_definitions(&self, to: &mut dyn SchedulerPolicy) -> Result<(), PluginError> {
        unless_empty(&self.symbols, |text| to.define_symbols(self.first_symbol, text))?;
        for (id, members) in &self.label_sets {
            to.define_label_set(*id, members)?;
        }
        for (id, members) in &self.taint_sets {
            to.define_taint_set(*id, members)?;
        }
        for (id, ns, labels) in &self.groups {
            to.define_group(*id, *ns, *labels)?;
        }
        Ok(())
    }
}

fn unless_empty<T>(
    rows: &[T],
    send: impl FnOnce(&[T]) -> Result<(), PluginError>,
) -> Result<(), PluginError> {
    if rows.is_empty() { Ok(()) } else { send(rows) }
}
