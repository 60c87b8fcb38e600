//! How many of the pods that a constraint counts run where.

use hansa_plugin_sdk::scheduler::matching::{affinity_matches, group_matches, tolerated};
use hansa_plugin_sdk::scheduler::{Effect, Nodes, PodView, Requirement, Spread, Sym};

/// Per node the pods of the pod's namespace that the selector chooses; without a selector none.
pub fn per_node(nodes: &Nodes, pod: &PodView, selector: Option<&[Requirement]>) -> Vec<i64> {
    let mut counts = vec![0i64; nodes.len()];
    let Some(selector) = selector else { return counts };
    let groups = nodes.groups();
    let groups = groups.filter(|g| g.namespace == pod.namespace && !g.counts.is_empty());
    for group in groups.filter(|group| group_matches(nodes, group, selector)) {
        for (ix, pods) in &group.counts {
            if let Some(count) = counts.get_mut(*ix as usize) {
                *count += i64::from(*pods);
            }
        }
    }
    counts
}

/// Whether a constraint's policies let a node's pods count.
pub fn includes(nodes: &Nodes, pod: &PodView, constraint: &Spread, ix: usize) -> bool {
    let affine = !constraint.honor_affinity || affinity_matches(nodes, ix, pod);
    affine && (!constraint.honor_taints || takes(nodes, pod, ix))
}

fn takes(nodes: &Nodes, pod: &PodView, ix: usize) -> bool {
    let mut hard = nodes.taints(ix).iter().filter(|t| t.effect != Effect::PreferNoSchedule);
    hard.all(|taint| tolerated(pod, taint))
}

/// Whether a node has all these labels.
pub fn has_keys(nodes: &Nodes, ix: usize, keys: &[Sym]) -> bool {
    keys.iter().all(|key| nodes.label(ix, *key).is_some())
}
