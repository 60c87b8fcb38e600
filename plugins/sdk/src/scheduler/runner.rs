//! Runs a [`Policy`] over the store: the same in the guest and in the native twin.

use super::{
    Change, Evaluation, ExtRow, GroupRow, Nodes, PodView, Policy, PortRow, Reason, Want, bitmap_of,
};
use crate::{Settings, bitmap};

/// The most entries of a legend; what does not fit shares the last one.
const MAX_LEGEND: usize = 255;

/// A configured plugin with its nodes.
pub struct Runner<P> {
    /// The plugin.
    pub policy: P,
    /// Its nodes; feed them here.
    pub nodes: Nodes,
}

impl<P: Policy> Runner<P> {
    /// A runner without nodes.
    ///
    /// # Errors
    /// What the policy says of its settings.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self { policy: P::configure(settings)?, nodes: Nodes::default() })
    }

    /// Judges the candidates; an empty bitmap means all nodes.
    pub fn run(&self, pod: &PodView, want: Want, candidates: &[u8]) -> Evaluation {
        let candidates = bitmap_of(candidates, &self.nodes);
        let feasible = if want.filter && P::INTERESTS.filter {
            bitmap::keep(&candidates, self.policy.filter(&self.nodes, pod))
        } else {
            candidates.clone()
        };
        let mut evaluation = Evaluation {
            version: self.nodes.version(),
            feasible,
            reasons: Vec::new(),
            legend: Vec::new(),
            scores: Vec::new(),
        };
        if want.reasons {
            self.give_reasons(pod, &candidates, &mut evaluation);
        }
        if want.score {
            evaluation.scores = vec![0; self.nodes.len()];
            let (scored, scores) = (&evaluation.feasible, &mut evaluation.scores);
            self.policy.score(&self.nodes, pod, scored, scores);
        }
        evaluation
    }

    /// Whether the pod would pass on node `ix` after `change`.
    pub fn what_if(&mut self, pod: &PodView, ix: u32, change: &Change) -> bool {
        let here = ix as usize;
        if !bitmap::get(self.nodes.present(), here) {
            return false;
        }
        let undo = self.apply(ix, change);
        let passes = self.policy.filter(&self.nodes, pod)(here);
        self.apply(ix, &undo);
        passes
    }

    /// Text for people.
    pub fn explain(&self, pod: &PodView, ix: u32) -> Vec<String> {
        if !bitmap::get(self.nodes.present(), ix as usize) {
            return Vec::new();
        }
        self.policy.explain(&self.nodes, pod, ix as usize)
    }

    fn give_reasons(&self, pod: &PodView, candidates: &[u8], evaluation: &mut Evaluation) {
        evaluation.reasons = vec![0; self.nodes.len()];
        for ix in bitmap::ones(candidates).filter(|ix| !bitmap::get(&evaluation.feasible, *ix)) {
            let reason = self.policy.reason(&self.nodes, pod, ix);
            evaluation.reasons[ix] = code(&mut evaluation.legend, reason);
        }
    }

    /// Applies a change and returns the one that undoes it.
    fn apply(&mut self, ix: u32, change: &Change) -> Change {
        let nodes = &mut self.nodes;
        let undo = Change {
            usage: change.usage.as_ref().map(|_| nodes.usage(ix as usize)),
            ext: change.ext.iter().map(|row| ext_now(nodes, row)).collect(),
            ports: change.ports.iter().map(|row| port_now(nodes, row)).collect(),
            groups: change.groups.iter().map(|row| group_now(nodes, row)).collect(),
        };
        nodes.update_usage(change.usage.as_slice());
        change.ext.iter().for_each(|row| nodes.update_ext(row));
        change.ports.iter().for_each(|row| nodes.update_port(row));
        change.groups.iter().for_each(|row| nodes.update_group(row));
        undo
    }
}

/// 1 + the index of `reason` in the legend.
fn code(legend: &mut Vec<Reason>, reason: Reason) -> u8 {
    let known = legend.iter().position(|have| *have == reason);
    let at = match known {
        Some(at) => at,
        None if legend.len() < MAX_LEGEND => {
            legend.push(reason);
            legend.len() - 1
        }
        None => MAX_LEGEND - 1,
    };
    u8::try_from(at + 1).expect("a legend has at most 255 entries")
}

fn ext_now(nodes: &Nodes, row: &ExtRow) -> ExtRow {
    let column = nodes.ext(row.name);
    let at = |values: &[i64]| values.get(row.ix as usize).copied().unwrap_or(0);
    ExtRow {
        ix: row.ix,
        name: row.name,
        allocatable: column.map_or(0, |ext| at(&ext.allocatable)),
        used: column.map_or(0, |ext| at(&ext.used)),
    }
}

fn port_now(nodes: &Nodes, row: &PortRow) -> PortRow {
    let held = nodes.ports(row.ix as usize).iter().find(|(port, _)| *port == row.port);
    PortRow { ix: row.ix, port: row.port, used: held.map_or(0, |(_, used)| *used) }
}

fn group_now(nodes: &Nodes, row: &GroupRow) -> GroupRow {
    nodes.group_row(row.ix, row.group)
}
