//! The priority: the fewer matching pods a node's domains have, the better. Domains that are many
//! weigh less than domains that are few.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hansa_plugin_sdk::bitmap;
use hansa_plugin_sdk::scheduler::matching::present;
use hansa_plugin_sdk::scheduler::{MAX_SCORE, Nodes, PodView, Spread, Sym};

use crate::{count, ln};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The soft constraints that hold for a pod.
struct Soft<'a> {
    constraints: Vec<Cow<'a, Spread>>,
    /// Nodes that lack one of the labels are left out; not so with the defaults.
    all_keys: Option<Vec<Sym>>,
    hostname: Option<Sym>,
}

/// Writes the scores of the candidates.
pub fn score(nodes: &Nodes, pod: &PodView, candidates: &[u8], scores: &mut [u8]) {
    let soft = Soft::of(nodes, pod);
    if soft.constraints.is_empty() {
        return;
    }
    let judged = bitmap::keep(candidates, |ix| soft.counts_node(nodes, ix));
    let mut raw = vec![0f64; nodes.len()];
    for constraint in &soft.constraints {
        add(nodes, pod, &soft, constraint, &judged, &mut raw);
    }
    spread_out(&raw, &judged, scores);
}

impl<'a> Soft<'a> {
    fn of(nodes: &Nodes, pod: &'a PodView) -> Soft<'a> {
        let hostname = nodes.sym(HOSTNAME);
        if pod.spreads.is_empty() {
            let constraints = defaults(nodes, pod).map(Cow::Owned).collect();
            return Soft { constraints, all_keys: None, hostname };
        }
        let constraints: Vec<_> =
            pod.spreads.iter().filter(|c| !c.hard).map(Cow::Borrowed).collect();
        let keys = constraints.iter().map(|c| c.topology_key).collect();
        Soft { constraints, all_keys: Some(keys), hostname }
    }

    fn counts_node(&self, nodes: &Nodes, ix: usize) -> bool {
        self.all_keys.as_ref().is_none_or(|keys| count::has_keys(nodes, ix, keys))
    }
}

/// kube-scheduler's defaults, for pods that something owns. A label that no node has is left out.
fn defaults<'a>(nodes: &'a Nodes, pod: &'a PodView) -> impl Iterator<Item = Spread> + 'a {
    let owned = !pod.owner_selector.is_empty();
    let all = [(HOSTNAME, 3), (ZONE, 5)].into_iter().filter(move |_| owned);
    all.filter_map(|(key, max_skew)| {
        Some(Spread {
            topology_key: nodes.sym(key)?,
            max_skew,
            hard: false,
            selector: Some(pod.owner_selector.clone()),
            min_domains: 0,
            honor_affinity: true,
            honor_taints: false,
        })
    })
}

/// Adds what one constraint says: matching pods in the domain × weight + (maxSkew − 1).
fn add(
    nodes: &Nodes,
    pod: &PodView,
    soft: &Soft,
    constraint: &Spread,
    judged: &[u8],
    raw: &mut [f64],
) {
    let pods = count::per_node(nodes, pod, constraint.selector.as_deref());
    let beyond = f64::from(constraint.max_skew.max(1) - 1);
    let column = nodes.label_column(constraint.topology_key).unwrap_or_default();
    if soft.hostname == Some(constraint.topology_key) {
        let weight = ln::ln(bitmap::ones(judged).count() as u32 + 2);
        for ix in bitmap::ones(judged).filter(|ix| present(column, *ix).is_some()) {
            raw[ix] += pods[ix] as f64 * weight + beyond;
        }
        return;
    }
    let domains = domains(nodes, pod, soft, constraint, judged, &pods);
    let weight = ln::ln(domains.len() as u32 + 2);
    for ix in bitmap::ones(judged) {
        if let Some(count) = present(column, ix).and_then(|value| domains.get(&value)) {
            raw[ix] += *count as f64 * weight + beyond;
        }
    }
}

/// Matching pods per domain, for the domains that the judged nodes are in.
fn domains(
    nodes: &Nodes,
    pod: &PodView,
    soft: &Soft,
    constraint: &Spread,
    judged: &[u8],
    pods: &[i64],
) -> BTreeMap<Sym, i64> {
    let column = nodes.label_column(constraint.topology_key).unwrap_or_default();
    let mut domains: BTreeMap<Sym, i64> =
        bitmap::ones(judged).filter_map(|ix| Some((present(column, ix)?, 0))).collect();
    for ix in bitmap::ones(nodes.present()).filter(|ix| pods[*ix] > 0) {
        if let Some(count) = present(column, ix).and_then(|value| domains.get_mut(&value))
            && soft.counts_node(nodes, ix)
            && count::includes(nodes, pod, constraint, ix)
        {
            *count += pods[ix];
        }
    }
    domains
}

/// Turns sums into scores: the emptiest gets the most; nodes that were left out keep 0.
fn spread_out(raw: &[f64], judged: &[u8], scores: &mut [u8]) {
    let rounded = |ix: usize| (raw[ix] + 0.5) as i64;
    let Some(max) = bitmap::ones(judged).map(rounded).max() else { return };
    let min = bitmap::ones(judged).map(rounded).min().unwrap_or(0);
    let top = i64::from(MAX_SCORE);
    for ix in bitmap::ones(judged) {
        let score = if max == 0 { top } else { top * (max + min - rounded(ix)) / max };
        scores[ix] = score as u8;
    }
}
