//! Writing a scheduler plugin: implement [`Policy`], export it with [`crate::export_scheduler!`].

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
pub mod matching;
mod nodes;
mod runner;
#[cfg(test)]
mod tests;

pub use crate::bindings::scheduler::hansa::scheduler::types::{
    Change, Effect, Evaluation, ExtRow, GroupRow, HostPort, Interests, Label, NodeRow, Op, PodView,
    PortRow, PreferredTerm, Protocol, Reason, Requirement, SetId, Spread, Sym, Taint, Term,
    Toleration, UsageRow, Want,
};
pub use nodes::{ABSENT, Columns, Ext, Group, Nodes};
pub use runner::Runner;

use crate::Settings;

/// Bit of [`Columns::bits`]: the node is unschedulable.
pub const UNSCHEDULABLE: u32 = 1;

/// The highest score.
pub const MAX_SCORE: u8 = 100;

/// A plugin that neither filters nor scores nor needs rows beyond the nodes themselves: the start
/// of a struct update in [`Policy::INTERESTS`].
pub const NOTHING: Interests = Interests {
    filter: false,
    score: false,
    usage: false,
    ext: false,
    ports: false,
    groups: false,
};

/// A scheduler plugin's decisions, as plain functions over the store.
pub trait Policy: Sized + 'static {
    /// The plugin's name.
    const NAME: &'static str;
    /// What it answers and which rows it needs. `upsert` carries usage too: a plugin that reads
    /// `used_*`
    /// columns and does not ask for usage rows would see old values.
    const INTERESTS: Interests;

    /// Makes the plugin from its settings.
    ///
    /// # Errors
    /// A text for people; the plugin is then refused.
    fn configure(settings: &Settings) -> Result<Self, String>;

    /// The predicate: prepares whatever depends on the pod alone and returns a test of one node,
    /// which the SDK calls for every candidate.
    fn filter<'a>(&'a self, nodes: &'a Nodes, pod: &'a PodView) -> impl Fn(usize) -> bool + 'a {
        let _ = (nodes, pod);
        |_| true
    }

    /// Why node `ix` was rejected; called for rejected nodes, and only if somebody wants to know.
    fn reason(&self, nodes: &Nodes, pod: &PodView, ix: usize) -> Reason {
        let _ = (nodes, pod, ix);
        reject(format!("node(s) didn't pass plugin {}", Self::NAME))
    }

    /// The priority: writes 0 to [`MAX_SCORE`] for every candidate (a bitmap) into `scores`, which
    /// is zero and has one entry per node.
    fn score(&self, nodes: &Nodes, pod: &PodView, candidates: &[u8], scores: &mut [u8]) {
        let _ = (nodes, pod, candidates, scores);
    }

    /// Text for people about the pod on node `ix`; what filter and score say is known without it.
    fn explain(&self, nodes: &Nodes, pod: &PodView, ix: usize) -> Vec<String> {
        let _ = (nodes, pod, ix);
        Vec::new()
    }
}

/// A reason that no eviction helps against.
pub fn reject(text: impl Into<String>) -> Reason {
    Reason { texts: vec![text.into()], preemptible: false }
}

/// Reasons that evicting pods could remove.
pub fn lacks(texts: Vec<String>) -> Reason {
    Reason { texts, preemptible: true }
}

/// Scales raw values of the candidates to 0..=100 in proportion to the largest (upstream's
/// `DefaultNormalizeScore`): the largest gets 100, or 0 if `reverse`. All zero gives 0, or 100 if
/// `reverse`. Negative values count as 0.
pub fn normalize(raw: &[i64], candidates: &[u8], reverse: bool, scores: &mut [u8]) {
    let top = i64::from(MAX_SCORE);
    let max = crate::bitmap::ones(candidates).map(|ix| raw[ix]).max().unwrap_or(0).max(0);
    for ix in crate::bitmap::ones(candidates) {
        let scaled = if max == 0 { 0 } else { raw[ix].max(0) * top / max };
        scores[ix] = (if reverse { top - scaled } else { scaled }) as u8;
    }
}

/// The candidates that are there; an empty bitmap means all nodes.
fn bitmap_of(candidates: &[u8], nodes: &Nodes) -> Vec<u8> {
    let present = nodes.present();
    if candidates.is_empty() {
        return present.to_vec();
    }
    let asked = candidates.iter().chain(std::iter::repeat(&0));
    present.iter().zip(asked).map(|(there, asked)| there & asked).collect()
}
