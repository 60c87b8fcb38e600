//! The predicate: with the pod, no domain may have `maxSkew` more pods than the emptiest one.

use std::collections::BTreeMap;

use hansa_plugin_sdk::bitmap;
use hansa_plugin_sdk::scheduler::matching::{pod_matches, present};
use hansa_plugin_sdk::scheduler::{Nodes, PodView, Spread, Sym};

use crate::count;

/// The hard constraints of a pod.
pub fn constraints(pod: &PodView) -> impl Iterator<Item = &Spread> {
    pod.spreads.iter().filter(|constraint| constraint.hard)
}

/// All hard constraints of a pod, counted.
pub struct Judge<'a>(Vec<Counted<'a>>);

struct Counted<'a> {
    column: &'a [Sym],
    domains: BTreeMap<Sym, i64>,
    /// The most pods that a domain may have without this one.
    most: i64,
}

impl<'a> Judge<'a> {
    /// Counts.
    pub fn new(nodes: &'a Nodes, pod: &PodView) -> Judge<'a> {
        let keys: Vec<Sym> = constraints(pod).map(|c| c.topology_key).collect();
        if keys.is_empty() {
            return Judge(Vec::new());
        }
        let all = bitmap::ones(nodes.present());
        let counted: Vec<usize> = all.filter(|ix| count::has_keys(nodes, *ix, &keys)).collect();
        Judge(constraints(pod).map(|c| Counted::new(nodes, pod, c, &counted)).collect())
    }

    /// Whether the pod may run on a node; a node without the label of a constraint never does.
    pub fn passes(&self, ix: usize) -> bool {
        self.0.iter().all(|constraint| constraint.passes(ix))
    }
}

impl<'a> Counted<'a> {
    fn new(nodes: &'a Nodes, pod: &PodView, c: &Spread, counted: &[usize]) -> Counted<'a> {
        let column = nodes.label_column(c.topology_key).unwrap_or_default();
        let pods = count::per_node(nodes, pod, c.selector.as_deref());
        let mut domains = BTreeMap::new();
        for ix in counted.iter().filter(|ix| count::includes(nodes, pod, c, **ix)) {
            *domains.entry(column[*ix]).or_default() += pods[*ix];
        }
        let enough = domains.len() >= c.min_domains as usize;
        let least = if enough { domains.values().min().copied() } else { Some(0) };
        let own = c.selector.as_ref().is_some_and(|s| pod_matches(nodes, pod, s));
        let most = least.map_or(i64::MAX, |least| least + i64::from(c.max_skew) - i64::from(own));
        Counted { column, domains, most }
    }

    fn passes(&self, ix: usize) -> bool {
        let Some(domain) = present(self.column, ix) else { return false };
        self.domains.get(&domain).copied().unwrap_or(0) <= self.most
    }
}
