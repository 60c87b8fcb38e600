//! All plugins of a scheduler, asked as one: candidates narrow plugin by plugin, scores add up.

use std::sync::Arc;

use super::*;
use crate::active::{ActiveSet, Identity};
use crate::bitmap;
use crate::seat::{Seat, Seats};

/// The most reasons that one evaluation may name.
const MAX_LEGEND: usize = 255;
/// The most bytes that one reason text may have.
const MAX_TEXT: usize = 1024;
/// The highest score.
const MAX_SCORE: u8 = 100;

/// The plugins that decide, and the mirror that they are fed from.
pub struct PluginSet {
    mirror: Mirror,
    seats: Seats<dyn SchedulerPolicy>,
}

/// What the plugins together say about one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The version of the nodes that was judged.
    pub version: u64,
    /// Bit `i`: node `i` passes every filter.
    pub feasible: Vec<u8>,
    /// Per node the sum of weight × score over all plugins; 0 for those that do not pass. Empty
    /// unless asked.
    pub totals: Vec<u64>,
    /// The summands.
    pub scores: Vec<Scores>,
    /// Who rejected which nodes; each node is rejected by one plugin, the first that did.
    pub rejections: Vec<Rejections>,
    /// Who decided, in the order of asking.
    pub decided_by: Vec<Identity>,
}

/// One plugin's part of the totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scores {
    /// Who scored.
    pub by: Identity,
    /// What a score counts.
    pub weight: u32,
    /// Per node 0 to 100.
    pub scores: Vec<u8>,
}

/// What one plugin rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejections {
    /// Who rejected.
    pub by: Identity,
    /// Bit `i`: node `i` was a candidate and was rejected.
    pub nodes: Vec<u8>,
    /// Per node 1 + index into `legend`; empty unless reasons were asked.
    pub codes: Vec<u8>,
    /// What the codes mean.
    pub legend: Vec<Reason>,
}

/// What one plugin has to say about one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Who says it.
    pub by: Identity,
    /// The lines.
    pub lines: Vec<String>,
}

impl Rejections {
    /// Why this plugin rejected `node`, if it did and reasons were asked.
    pub fn reason(&self, node: Ix) -> Option<&Reason> {
        let code = usize::from(*self.codes.get(node as usize)?);
        self.legend.get(code.checked_sub(1)?)
    }
}

impl Decision {
    /// Who rejected `node`, and why if reasons were asked.
    pub fn rejection(&self, node: Ix) -> Option<(&Identity, Option<&Reason>)> {
        let by = self.rejections.iter().find(|r| bitmap::get(&r.nodes, node))?;
        Some((&by.by, by.reason(node)))
    }
}

impl PluginSet {
    /// A set that follows `active`.
    pub fn new(active: Arc<ActiveSet<dyn SchedulerPolicy>>) -> Self {
        Self { mirror: Mirror::default(), seats: Seats::new(active) }
    }

    /// The nodes as the plugins know them; change them here. Plugins hear of it with the next
    /// decision, in one batch.
    pub fn mirror(&mut self) -> &mut Mirror {
        &mut self.mirror
    }

    /// Which nodes may run the pod, and how good they are if `want.score`; why not if
    /// `want.reasons`.
    /// Filters are always asked.
    ///
    /// # Errors
    /// Some plugin and its last good version both failed: nothing can be decided now.
    pub fn decide(&mut self, pod: &PodView, want: Want) -> Result<Decision, PluginError> {
        self.begin();
        let mut decision = Decision {
            version: self.mirror.version(),
            feasible: self.mirror.present(),
            ..Decision::default()
        };
        self.filter(pod, want.reasons, &mut decision)?;
        if want.score {
            self.score(pod, &mut decision)?;
        }
        Ok(decision)
    }

    /// Whether the pod would pass every filter on `node` after `change`.
    ///
    /// # Errors
    /// As [`PluginSet::decide`].
    pub fn what_if(
        &mut self,
        pod: &PodView,
        node: Ix,
        change: &Change,
    ) -> Result<bool, PluginError> {
        self.begin();
        let mirror = &self.mirror;
        for seat in self.seats.iter_mut() {
            let (passes, _) = seat.call(&|i| mirror.replay().send(i), &mut |i| {
                if i.interests().filter { i.what_if(pod, node, change) } else { Ok(true) }
            })?;
            if !passes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What every plugin has to say about the pod on `node`; plugins without a word are left out.
    ///
    /// # Errors
    /// As [`PluginSet::decide`].
    pub fn explain(&mut self, pod: &PodView, node: Ix) -> Result<Vec<Explanation>, PluginError> {
        self.begin();
        let mirror = &self.mirror;
        let mut all = Vec::new();
        for seat in self.seats.iter_mut() {
            let (lines, by) =
                seat.call(&|i| mirror.replay().send(i), &mut |i| i.explain(pod, node))?;
            if !lines.is_empty() {
                all.push(Explanation { by, lines });
            }
        }
        Ok(all)
    }

    /// Who decides now.
    pub fn identities(&mut self) -> Vec<Identity> {
        self.seats.refresh();
        self.seats.identities()
    }

    /// The boundary between two decisions: swaps are taken over, changes are sent.
    fn begin(&mut self) {
        let feed = self.mirror.flush();
        if let Some(feed) = feed {
            for seat in self.seats.iter_mut() {
                seat.tell(&mut |i| feed.send(i));
            }
        }
        self.seats.refresh();
    }

    fn filter(
        &mut self,
        pod: &PodView,
        reasons: bool,
        decision: &mut Decision,
    ) -> Result<(), PluginError> {
        let want = if reasons { Want::REASONS } else { Want::FILTER };
        for seat in self.seats.iter_mut() {
            if bitmap::count(&decision.feasible) == 0 {
                break;
            }
            if let Some((verdict, by)) = ask(seat, &self.mirror, pod, want, &decision.feasible)? {
                note(decision, verdict, by);
            }
        }
        Ok(())
    }

    fn score(&mut self, pod: &PodView, decision: &mut Decision) -> Result<(), PluginError> {
        decision.totals = vec![0; self.mirror.slots()];
        if bitmap::count(&decision.feasible) == 0 {
            return Ok(());
        }
        for seat in self.seats.iter_mut() {
            let asked = ask(seat, &self.mirror, pod, Want::SCORE, &decision.feasible)?;
            if let Some((evaluation, by)) = asked {
                add_up(decision, evaluation.scores, seat.source().weight(), by);
            }
        }
        Ok(())
    }
}

fn note(decision: &mut Decision, verdict: Evaluation, by: Identity) {
    let mut rejected = std::mem::replace(&mut decision.feasible, verdict.feasible);
    for (i, byte) in rejected.iter_mut().enumerate() {
        *byte &= !decision.feasible[i];
    }
    if bitmap::count(&rejected) > 0 {
        let (codes, legend) = (verdict.reasons, verdict.legend);
        decision.rejections.push(Rejections { by: by.clone(), nodes: rejected, codes, legend });
    }
    decided(decision, by);
}

fn add_up(decision: &mut Decision, scores: Vec<u8>, weight: u32, by: Identity) {
    for ix in bitmap::ones(&decision.feasible) {
        decision.totals[ix as usize] += u64::from(weight) * u64::from(scores[ix as usize]);
    }
    decision.scores.push(Scores { by: by.clone(), weight, scores });
    decided(decision, by);
}

fn decided(decision: &mut Decision, by: Identity) {
    if !decision.decided_by.contains(&by) {
        decision.decided_by.push(by);
    }
}

/// Asks one plugin and checks its answer; none if the question is not its business.
fn ask(
    seat: &mut Seat<dyn SchedulerPolicy>,
    mirror: &Mirror,
    pod: &PodView,
    want: Want,
    candidates: &[u8],
) -> Result<Option<(Evaluation, Identity)>, PluginError> {
    let (answer, by) = seat.call(&|i| mirror.replay().send(i), &mut |i| {
        let interests = i.interests();
        if !(want.filter && interests.filter || want.score && interests.score) {
            return Ok(None);
        }
        let evaluation = i.run(pod, want, candidates)?;
        evaluation.check(mirror.slots(), mirror.version(), want, candidates)?;
        Ok(Some(evaluation))
    })?;
    Ok(answer.map(|evaluation| (evaluation, by)))
}

impl Evaluation {
    /// Whether the answer can be true: the right version, columns of the right length, no node that
    /// was not asked about, no score above 100, no code without a meaning.
    ///
    /// # Errors
    /// [`PluginError::Contract`] names the first lie.
    pub fn check(
        &self,
        slots: usize,
        version: u64,
        want: Want,
        candidates: &[u8],
    ) -> Result<(), PluginError> {
        demand(self.version == version, || {
            format!("version {} for version {version}", self.version)
        })?;
        if want.filter {
            length("the bitmap", self.feasible.len(), bitmap::len_for(slots))?;
            let outside = !bitmap::is_subset(&self.feasible, candidates);
            demand(!outside, || "a node passes that is no candidate".into())?;
        }
        if want.score {
            length("the scores", self.scores.len(), slots)?;
            let high = self.scores.iter().find(|score| **score > MAX_SCORE);
            demand(high.is_none(), || format!("score {high:?} above {MAX_SCORE}"))?;
        }
        if want.reasons {
            length("the reasons", self.reasons.len(), slots)?;
            self.check_legend()?;
        }
        Ok(())
    }

    fn check_legend(&self) -> Result<(), PluginError> {
        let known = self.legend.len();
        let stray = self.reasons.iter().find(|code| usize::from(**code) > known);
        demand(stray.is_none(), || format!("reason code {stray:?} of {known}"))?;
        let texts = self.legend.iter().flat_map(|reason| &reason.texts);
        let long = texts.clone().any(|text| text.len() > MAX_TEXT);
        let many = known > MAX_LEGEND || texts.count() > 4 * MAX_LEGEND;
        demand(!long && !many, || "more reason text than a status can hold".into())
    }
}

fn length(what: &str, have: usize, want: usize) -> Result<(), PluginError> {
    demand(have == want, || format!("{what} has {have} entries, not {want}"))
}

fn demand(holds: bool, lie: impl FnOnce() -> String) -> Result<(), PluginError> {
    if holds { Ok(()) } else { Err(PluginError::Contract(lie())) }
}
