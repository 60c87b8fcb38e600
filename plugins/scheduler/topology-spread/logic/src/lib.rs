//! PodTopologySpread: pods that belong together are spread over nodes, zones and other domains.
//!
//! Hard constraints (`DoNotSchedule`) are a predicate, soft ones (`ScheduleAnyway`) a priority.
//! Pods without constraints that belong to a Service or a controller get kube-scheduler's defaults:
//! softly over nodes (skew 3) and zones (skew 5).

mod count;
mod hard;
mod ln;
mod soft;
#[cfg(test)]
mod tests;

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::scheduler::{
    Interests, NOTHING, Nodes, PodView, Policy, Reason, lacks, reject,
};

use hard::Judge;

/// The predicate and the priority.
pub struct PodTopologySpread;

impl Policy for PodTopologySpread {
    const NAME: &'static str = "PodTopologySpread";
    const INTERESTS: Interests = Interests { filter: true, score: true, groups: true, ..NOTHING };

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.none().map(|()| Self)
    }

    fn filter<'a>(&'a self, nodes: &'a Nodes, pod: &'a PodView) -> impl Fn(usize) -> bool + 'a {
        let judge = Judge::new(nodes, pod);
        move |ix| judge.passes(ix)
    }

    fn reason(&self, nodes: &Nodes, pod: &PodView, ix: usize) -> Reason {
        let text = "node(s) didn't match pod topology spread constraints";
        let lacks_label = hard::constraints(pod).any(|c| nodes.label(ix, c.topology_key).is_none());
        match lacks_label {
            true => reject(format!("{text} (missing required label)")),
            false => lacks(vec![text.into()]),
        }
    }

    fn score(&self, nodes: &Nodes, pod: &PodView, candidates: &[u8], scores: &mut [u8]) {
        soft::score(nodes, pod, candidates, scores);
    }
}
