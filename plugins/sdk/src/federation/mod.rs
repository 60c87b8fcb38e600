//! Writing a placement policy: implement [`Policy`], export it with [`crate::export_federation!`].

mod clusters;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
mod runner;

pub use crate::bindings::federation::hansa::federation::types::{
    ClusterRow, Division, Effect, Evaluation, Label, Placement, Reason, SetId, Share, Sym, Taint,
};
pub use clusters::Clusters;
pub use runner::Runner;

use crate::Settings;

/// Bit of [`ClusterRow::bits`]: the member is ready.
pub const READY: u32 = 1;

/// The highest score.
pub const MAX_SCORE: u8 = 100;

/// What a policy says of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may run there, and this is how good it is, 0 to [`MAX_SCORE`].
    Score(u8),
    /// It may not, and why.
    Reject(String),
}

/// A candidate of a division.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The member.
    pub cluster: &'a ClusterRow,
    /// The score that [`Policy::judge`] gave it.
    pub score: u8,
    /// The most replicas that fit there.
    pub capacity: u32,
}

/// A placement policy's decisions, as plain functions over the members.
pub trait Policy: Sized + 'static {
    /// The policy's name.
    const NAME: &'static str;

    /// Makes the policy from its settings.
    ///
    /// # Errors
    /// A text for people; the policy is then refused.
    fn configure(settings: &Settings) -> Result<Self, String>;

    /// Judges one member for one workload.
    fn judge(&self, members: &Clusters, placement: &Placement, member: &ClusterRow) -> Verdict;

    /// Divides the replicas; by default as the PropagationPolicy says.
    fn divide(
        &self,
        members: &Clusters,
        placement: &Placement,
        candidates: &[Candidate<'_>],
    ) -> Division {
        let _ = (members, placement, candidates);
        Division::ByPolicy
    }
}
