//! The `federation` world: which members get a workload, and how many replicas each.
//!
//! [`PlacementPolicy`] is one policy. The federation scheduler feeds and asks a [`PolicySet`],
//! which keeps the [`Mirror`] of the members, swaps the policy between two decisions and falls back
//! to the last good version of one that failed. Hard rules (affinity, taints, spread, exact sums)
//! stay in the host: a policy can only narrow, rank and weigh.

mod mirror;
mod set;
#[cfg(test)]
mod tests;
mod types;

pub use mirror::{Feed, Mirror};
pub use set::{Divided, PolicySet, Selected};
pub use types::*;

use crate::PluginError;

/// One placement policy with its own copy of the members.
///
/// After an error the instance is dead: drop it, make another, replay the [`Mirror`].
pub trait PlacementPolicy: Send {
    /// Forgets everything and makes room for `capacity` members.
    fn reset(&mut self, capacity: u32) -> Result<(), PluginError>;
    /// Defines the symbols `first`, `first + 1`, ….
    fn define_symbols(&mut self, first: Sym, text: &[String]) -> Result<(), PluginError>;
    /// Defines a label set.
    fn define_label_set(&mut self, id: SetId, members: &[Label]) -> Result<(), PluginError>;
    /// Defines a taint set.
    fn define_taint_set(&mut self, id: SetId, members: &[Taint]) -> Result<(), PluginError>;
    /// Adds or replaces members.
    fn upsert(&mut self, rows: &[ClusterRow]) -> Result<(), PluginError>;
    /// Removes members.
    fn remove(&mut self, rows: &[Ix]) -> Result<(), PluginError>;
    /// Ends a batch; the next evaluations must carry this version.
    fn commit(&mut self, version: u64) -> Result<(), PluginError>;
    /// Judges and ranks all members.
    fn select(&mut self, placement: &Placement) -> Result<Evaluation, PluginError>;
    /// Divides replicas over `candidates`; `scores` and `capacity` (the most replicas that fit
    /// there) are in their order.
    fn divide(
        &mut self,
        placement: &Placement,
        candidates: &[Ix],
        scores: &[u8],
        capacity: &[u32],
    ) -> Result<Division, PluginError>;
}
