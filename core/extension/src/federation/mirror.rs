//! The host's copy of the members: the source of truth from which any instance is rebuilt.

use std::collections::BTreeSet;

use super::*;
use crate::intern::{Symbols, Table};

/// Members as rows, interned text and sets, and what changed since the last [`Mirror::flush`].
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    symbols: Symbols,
    label_sets: Table<Vec<Label>>,
    taint_sets: Table<Vec<Taint>>,
    rows: Vec<Option<ClusterRow>>,
    version: u64,
    sent: (usize, usize, usize),
    removed: BTreeSet<Ix>,
    dirty: BTreeSet<Ix>,
}

/// A batch for the policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    reset: Option<u32>,
    first_symbol: Sym,
    symbols: Vec<String>,
    label_sets: Vec<(SetId, Vec<Label>)>,
    taint_sets: Vec<(SetId, Vec<Taint>)>,
    removed: Vec<Ix>,
    rows: Vec<ClusterRow>,
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

    /// The id of a taint set.
    pub fn taint_set(&mut self, members: &[Taint]) -> SetId {
        if members.is_empty() { 0 } else { self.taint_sets.id(&members.to_vec()) }
    }

    /// Index slots, free ones included.
    pub fn slots(&self) -> usize {
        self.rows.len()
    }

    /// The version of the last flush.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A member's row.
    pub fn row(&self, ix: Ix) -> Option<&ClusterRow> {
        self.rows.get(ix as usize)?.as_ref()
    }

    /// All members.
    pub fn rows(&self) -> impl Iterator<Item = &ClusterRow> {
        self.rows.iter().flatten()
    }

    /// The index of the member called `name`.
    pub fn ix(&self, name: &str) -> Option<Ix> {
        let row = self.rows().find(|row| self.text(row.name) == name)?;
        Some(row.ix)
    }

    /// The lowest free index, for a new member.
    pub fn free_ix(&self) -> Ix {
        let free = self.rows.iter().position(Option::is_none);
        free.unwrap_or(self.rows.len()) as Ix
    }

    /// A bitmap of the members that are there.
    pub fn present(&self) -> Vec<u8> {
        crate::bitmap::of(self.rows.len(), self.rows().map(|row| row.ix))
    }

    /// Adds or replaces a member.
    pub fn upsert(&mut self, row: ClusterRow) {
        let at = row.ix as usize;
        if at >= self.rows.len() {
            self.rows.resize(at + 1, None);
        }
        if self.rows[at].as_ref() != Some(&row) {
            self.dirty.insert(row.ix);
            self.rows[at] = Some(row);
        }
    }

    /// Removes a member.
    pub fn remove(&mut self, ix: Ix) {
        if let Some(slot) = self.rows.get_mut(ix as usize) {
            *slot = None;
            self.removed.insert(ix);
        }
    }

    /// What changed since the last flush, if anything did; counts the version up.
    pub fn flush(&mut self) -> Option<Feed> {
        let mut feed = self.definitions(self.sent);
        self.sent = (self.symbols.texts().len(), self.label_sets.len(), self.taint_sets.len());
        feed.removed = std::mem::take(&mut self.removed).into_iter().collect();
        let dirty = std::mem::take(&mut self.dirty);
        feed.rows = dirty.iter().filter_map(|ix| self.row(*ix).cloned()).collect();
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
            reset: Some(self.rows.len() as u32),
            rows: self.rows().cloned().collect(),
            version: self.version,
            ..self.definitions((0, 0, 0))
        }
    }

    fn definitions(&self, (symbols, label_sets, taint_sets): (usize, usize, usize)) -> Feed {
        Feed {
            first_symbol: symbols as Sym + 1,
            symbols: self.symbols.texts()[symbols..].to_vec(),
            label_sets: self.label_sets.numbered(label_sets),
            taint_sets: self.taint_sets.numbered(taint_sets),
            ..Feed::default()
        }
    }
}

impl Feed {
    /// Sends the batch to a policy.
    pub fn send(&self, to: &mut dyn PlacementPolicy) -> Result<(), PluginError> {
        if let Some(capacity) = self.reset {
            to.reset(capacity)?;
        }
        if !self.symbols.is_empty() {
            to.define_symbols(self.first_symbol, &self.symbols)?;
        }
        for (id, members) in &self.label_sets {
            to.define_label_set(*id, members)?;
        }
        for (id, members) in &self.taint_sets {
            to.define_taint_set(*id, members)?;
        }
        if !self.removed.is_empty() {
            to.remove(&self.removed)?;
        }
        if !self.rows.is_empty() {
            to.upsert(&self.rows)?;
        }
        to.commit(self.version)
    }
}
