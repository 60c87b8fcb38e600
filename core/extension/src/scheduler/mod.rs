//! The `scheduler` world: where a pod may run, and where it would best run.
//!
//! [`SchedulerPolicy`] is one plugin. The scheduler does not call it: it feeds and asks a
//! [`PluginSet`], which keeps the [`Mirror`] of what was fed, narrows the candidates plugin by
//! plugin, adds up the weighted scores, swaps plugins between two decisions and falls back to the
//! last good version of one that failed.

mod mirror;
mod set;
#[cfg(test)]
mod tests;
mod types;

pub use mirror::{Feed, Mirror};
pub use set::{Decision, Explanation, PluginSet, Rejections, Scores};
pub use types::*;

use crate::PluginError;

/// One plugin with its own columnar copy of the nodes, fed by rows, asked once per decision.
///
/// After an error the instance is dead: drop it, make another, replay the [`Mirror`].
pub trait SchedulerPolicy: Send {
    /// What it answers and needs.
    fn interests(&self) -> Interests {
        Interests::ALL
    }
    /// Forgets everything and makes room for `capacity` nodes.
    fn reset(&mut self, capacity: u32) -> Result<(), PluginError>;
    /// Defines the symbols `first`, `first + 1`, ….
    fn define_symbols(&mut self, first: Sym, text: &[String]) -> Result<(), PluginError>;
    /// Defines a label set.
    fn define_label_set(&mut self, id: SetId, members: &[Label]) -> Result<(), PluginError>;
    /// Defines a taint set.
    fn define_taint_set(&mut self, id: SetId, members: &[Taint]) -> Result<(), PluginError>;
    /// Defines a pod group; its labels are the members of a defined label set.
    fn define_group(&mut self, id: SetId, ns: Sym, labels: SetId) -> Result<(), PluginError>;
    /// Adds or replaces nodes.
    fn upsert(&mut self, rows: &[NodeRow]) -> Result<(), PluginError>;
    /// Replaces what is used.
    fn update_usage(&mut self, rows: &[UsageRow]) -> Result<(), PluginError>;
    /// Replaces extended resources.
    fn update_ext(&mut self, rows: &[ExtRow]) -> Result<(), PluginError>;
    /// Replaces host ports.
    fn update_ports(&mut self, rows: &[PortRow]) -> Result<(), PluginError>;
    /// Replaces counts of pod groups.
    fn update_groups(&mut self, rows: &[GroupRow]) -> Result<(), PluginError>;
    /// Removes nodes with all their rows.
    fn remove(&mut self, rows: &[Ix]) -> Result<(), PluginError>;
    /// Ends a batch; the next evaluations must carry this version.
    fn commit(&mut self, version: u64) -> Result<(), PluginError>;
    /// Judges the candidates (a bitmap; empty: all nodes).
    fn run(
        &mut self,
        pod: &PodView,
        want: Want,
        candidates: &[u8],
    ) -> Result<Evaluation, PluginError>;
    /// Whether the pod would pass on `node` after `change`. Nothing stays changed.
    fn what_if(&mut self, pod: &PodView, node: Ix, change: &Change) -> Result<bool, PluginError>;
    /// Text for people about this pod and this node.
    fn explain(&mut self, pod: &PodView, node: Ix) -> Result<Vec<String>, PluginError>;
}
