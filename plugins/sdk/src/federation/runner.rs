//! Runs a [`Policy`] over the members: the same in the guest and in the native twin.

use super::{
    Candidate, Clusters, Division, Evaluation, MAX_SCORE, Placement, Policy, Reason, Verdict,
};
use crate::{Settings, bitmap};

/// A configured policy with its members.
pub struct Runner<P> {
    /// The policy.
    pub policy: P,
    /// Its members; feed them here.
    pub members: Clusters,
}

impl<P: Policy> Runner<P> {
    /// A runner without members.
    ///
    /// # Errors
    /// What the policy says of its settings.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self { policy: P::configure(settings)?, members: Clusters::default() })
    }

    /// Judges and ranks all members.
    pub fn select(&self, placement: &Placement) -> Evaluation {
        let slots = self.members.len();
        let mut evaluation = Evaluation {
            version: self.members.version(),
            feasible: vec![0; bitmap::len_for(slots)],
            reasons: vec![0; slots],
            legend: Vec::new(),
            scores: vec![0; slots],
        };
        for member in self.members.iter() {
            let ix = member.ix as usize;
            match self.policy.judge(&self.members, placement, member) {
                Verdict::Score(score) => {
                    bitmap::set(&mut evaluation.feasible, ix);
                    evaluation.scores[ix] = score.min(MAX_SCORE);
                }
                Verdict::Reject(text) => {
                    evaluation.reasons[ix] = code(&mut evaluation.legend, text);
                }
            }
        }
        evaluation
    }

    /// Divides replicas. Candidates that are not there are left to the host's check.
    pub fn divide(
        &self,
        placement: &Placement,
        candidates: &[u32],
        scores: &[u8],
        capacity: &[u32],
    ) -> Division {
        let there: Vec<Candidate<'_>> = candidates
            .iter()
            .zip(scores.iter().zip(capacity))
            .filter_map(|(ix, (score, capacity))| {
                let cluster = self.members.get(*ix)?;
                Some(Candidate { cluster, score: *score, capacity: *capacity })
            })
            .collect();
        self.policy.divide(&self.members, placement, &there)
    }
}

fn code(legend: &mut Vec<Reason>, text: String) -> u8 {
    let reason = Reason { texts: vec![text], preemptible: false };
    let known = legend.iter().position(|have| *have == reason);
    let at = known.unwrap_or_else(|| {
        legend.push(reason);
        legend.len() - 1
    });
    let last = usize::from(u8::MAX) - 1;
    legend.truncate(last + 1);
    u8::try_from(at.min(last) + 1).expect("bounded just above")
}
