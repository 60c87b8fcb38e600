//! The store of member clusters.

use std::collections::BTreeMap;

use super::{ClusterRow, Label, SetId, Sym, Taint};

/// Members, fed by the host.
#[derive(Clone, Debug, Default)]
pub struct Clusters {
    version: u64,
    symbols: Vec<String>,
    label_sets: BTreeMap<SetId, Vec<Label>>,
    taint_sets: BTreeMap<SetId, Vec<Taint>>,
    rows: Vec<Option<ClusterRow>>,
}

impl Clusters {
    /// Index slots; some may be free.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The version of the last commit.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The text of a symbol; empty if it is not defined.
    pub fn text(&self, sym: Sym) -> &str {
        self.symbols.get(sym as usize).map_or("", String::as_str)
    }

    /// A member.
    pub fn get(&self, ix: u32) -> Option<&ClusterRow> {
        self.rows.get(ix as usize)?.as_ref()
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = &ClusterRow> {
        self.rows.iter().flatten()
    }

    /// The value of a member's label.
    pub fn label(&self, member: &ClusterRow, key: &str) -> Option<&str> {
        let set = self.label_sets.get(&member.label_set)?;
        let label = set.iter().find(|label| self.text(label.key) == key)?;
        Some(self.text(label.value))
    }

    /// A member's taints.
    pub fn taints(&self, member: &ClusterRow) -> &[Taint] {
        self.taint_sets.get(&member.taint_set).map_or(&[], Vec::as_slice)
    }

    /// Forgets everything and makes room.
    pub fn reset(&mut self, capacity: u32) {
        *self = Self::default();
        self.symbols.push(String::new());
        self.rows.resize(capacity as usize, None);
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

    /// Adds or replaces members.
    pub fn upsert(&mut self, rows: Vec<ClusterRow>) {
        for row in rows {
            let at = row.ix as usize;
            if at >= self.rows.len() {
                self.rows.resize(at + 1, None);
            }
            self.rows[at] = Some(row);
        }
    }

    /// Removes a member.
    pub fn remove(&mut self, ix: u32) {
        if let Some(slot) = self.rows.get_mut(ix as usize) {
            *slot = None;
        }
    }

    /// Ends a batch.
    pub fn commit(&mut self, version: u64) {
        self.version = version;
    }
}
