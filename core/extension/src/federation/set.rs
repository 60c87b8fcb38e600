//! The policy that decides, asked through its seat, its answers checked.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::active::{ActiveSet, Identity};
use crate::bitmap;
use crate::seat::Seats;

/// The placement policy that decides, and the mirror that it is fed from.
pub struct PolicySet {
    mirror: Mirror,
    seats: Seats<dyn PlacementPolicy>,
}

/// A checked verdict and who gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The verdict.
    pub evaluation: Evaluation,
    /// Who decided.
    pub by: Identity,
}

/// A checked division and who gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divided {
    /// The division.
    pub division: Division,
    /// Who decided.
    pub by: Identity,
}

impl Evaluation {
    /// Why the policy rejects `member`, if it said so.
    pub fn reason(&self, member: Ix) -> Option<&Reason> {
        let code = usize::from(*self.reasons.get(member as usize)?);
        self.legend.get(code.checked_sub(1)?)
    }

    /// The score of `member`, 0 beyond the end.
    pub fn score(&self, member: Ix) -> u8 {
        self.scores.get(member as usize).copied().unwrap_or(0)
    }

    /// Whether the answer can be true.
    ///
    /// # Errors
    /// [`PluginError::Contract`] names the first lie.
    pub fn check(&self, slots: usize, version: u64, present: &[u8]) -> Result<(), PluginError> {
        demand(self.version == version, || {
            format!("version {} for version {version}", self.version)
        })?;
        demand(self.feasible.len() == bitmap::len_for(slots), || {
            format!("the bitmap has {} bytes for {slots} members", self.feasible.len())
        })?;
        demand(bitmap::is_subset(&self.feasible, present), || {
            "a member passes that is not there".into()
        })?;
        demand(self.scores.len() == slots, || {
            format!("{} scores for {slots} members", self.scores.len())
        })?;
        demand(self.scores.iter().all(|score| *score <= 100), || "a score above 100".into())?;
        let known = self.legend.len();
        let columns = self.reasons.is_empty() || self.reasons.len() == slots;
        let coded = self.reasons.iter().all(|code| usize::from(*code) <= known);
        demand(columns && coded, || "reasons that do not fit the members or the legend".into())
    }
}

impl Division {
    /// Whether the division can be carried out: weights for every candidate and one above zero, or
    /// shares of distinct candidates that sum to `replicas`.
    ///
    /// # Errors
    /// [`PluginError::Contract`] names the first lie.
    pub fn check(&self, replicas: u32, candidates: &[Ix]) -> Result<(), PluginError> {
        match self {
            Self::ByPolicy => Ok(()),
            Self::Weights(weights) => {
                let usable = weights.len() == candidates.len()
                    && (replicas == 0 || weights.iter().any(|weight| *weight > 0));
                demand(usable, || {
                    format!("weights {weights:?} for {} candidates", candidates.len())
                })
            }
            Self::Replicas(shares) => check_shares(shares, replicas, candidates),
        }
    }
}

fn check_shares(shares: &[Share], replicas: u32, candidates: &[Ix]) -> Result<(), PluginError> {
    let sum: u64 = shares.iter().map(|share| u64::from(share.replicas)).sum();
    demand(sum == u64::from(replicas), || format!("shares of {sum} replicas, not {replicas}"))?;
    let distinct: BTreeSet<Ix> = shares.iter().map(|share| share.cluster).collect();
    let known = distinct.iter().all(|ix| candidates.contains(ix));
    demand(known && distinct.len() == shares.len(), || {
        "a share of no candidate, or two of one".into()
    })
}

impl PolicySet {
    /// A set that follows `active`; of several active sources the last one decides.
    pub fn new(active: Arc<ActiveSet<dyn PlacementPolicy>>) -> Self {
        Self { mirror: Mirror::default(), seats: Seats::new(active) }
    }

    /// The members as the policy knows them; change them here. The policy hears of it with the next
    /// decision, in one batch.
    pub fn mirror(&mut self) -> &mut Mirror {
        &mut self.mirror
    }

    /// Judges and ranks all members.
    ///
    /// # Errors
    /// The policy and its last good version both failed, or there is none.
    pub fn select(&mut self, placement: &Placement) -> Result<Selected, PluginError> {
        let (evaluation, by) = self.ask(&mut |policy, mirror| {
            let evaluation = policy.select(placement)?;
            evaluation.check(mirror.slots(), mirror.version(), &mirror.present())?;
            Ok(evaluation)
        })?;
        Ok(Selected { evaluation, by })
    }

    /// Divides replicas; `scores` and `capacity` are in the order of `candidates`.
    ///
    /// # Errors
    /// As [`PolicySet::select`].
    pub fn divide(
        &mut self,
        placement: &Placement,
        candidates: &[Ix],
        scores: &[u8],
        capacity: &[u32],
    ) -> Result<Divided, PluginError> {
        let (division, by) = self.ask(&mut |policy, _| {
            let division = policy.divide(placement, candidates, scores, capacity)?;
            division.check(placement.replicas, candidates)?;
            Ok(division)
        })?;
        Ok(Divided { division, by })
    }

    /// Who decides now.
    pub fn identity(&mut self) -> Option<Identity> {
        self.seats.refresh();
        self.seats.identities().pop()
    }

    fn ask<R>(
        &mut self,
        question: &mut dyn FnMut(&mut dyn PlacementPolicy, &Mirror) -> Result<R, PluginError>,
    ) -> Result<(R, Identity), PluginError> {
        if let Some(feed) = self.mirror.flush() {
            for seat in self.seats.iter_mut() {
                seat.tell(&mut |policy| feed.send(policy));
            }
        }
        self.seats.refresh();
        let mirror = &self.mirror;
        let nobody = || PluginError::Nobody("federation".into());
        let seat = self.seats.sole().ok_or_else(nobody)?;
        seat.call(&|policy| mirror.replay().send(policy), &mut |policy| question(policy, mirror))
    }
}

fn demand(holds: bool, lie: impl FnOnce() -> String) -> Result<(), PluginError> {
    if holds { Ok(()) } else { Err(PluginError::Contract(lie())) }
}
