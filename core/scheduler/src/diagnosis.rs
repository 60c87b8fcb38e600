//! Why a pod found no node, in the words that kube-scheduler uses and users search for.

use std::collections::BTreeMap;

use hansa_extension::bitmap;
use hansa_extension::scheduler::{Decision, Ix};

/// Text for a rejection without a reason.
const UNKNOWN: &str = "node(s) were rejected by a scheduler plugin";
/// Text for a node that other pods of the same or higher priority were promised.
pub const NOMINATED: &str = "node(s) were nominated for pods of the same or higher priority";

/// Why no node takes the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many nodes have which reason.
    pub reasons: BTreeMap<String, usize>,
    /// The nodes that evicting pods could help.
    pub preemptible: Vec<Ix>,
    /// The plugins that rejected a node.
    pub plugins: Vec<String>,
    /// What preemption found, if it was tried.
    pub preemption: Option<String>,
}

impl Diagnosis {
    /// Reads a decision that was made with reasons. `promised` are nodes that the plugins let pass,
    /// but that other pods were promised.
    pub fn of(decision: &Decision, nodes: usize, promised: &[Ix]) -> Diagnosis {
        let mut diagnosis = Diagnosis { nodes, ..Diagnosis::default() };
        for rejections in &decision.rejections {
            diagnosis.plugins.push(rejections.by.name.clone());
            for node in bitmap::ones(&rejections.nodes) {
                let reason = rejections.reason(node);
                let texts = reason.map(|r| r.texts.as_slice()).unwrap_or_default();
                diagnosis.count(texts.iter().map(String::as_str));
                if reason.is_some_and(|r| r.preemptible) {
                    diagnosis.preemptible.push(node);
                }
            }
        }
        for node in promised {
            diagnosis.count([NOMINATED].into_iter());
            diagnosis.preemptible.push(*node);
        }
        diagnosis
    }

    fn count<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        if texts.len() == 0 {
            *self.reasons.entry(UNKNOWN.into()).or_default() += 1;
        }
        for text in texts {
            *self.reasons.entry(text.into()).or_default() += 1;
        }
    }

    /// The message of the event and of the PodScheduled condition.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut message = unavailable(self.nodes, &self.reasons);
        if let Some(preemption) = self.preemption.as_ref().filter(|text| !text.is_empty()) {
            message.push_str(&format!(" preemption: {preemption}"));
        }
        message
    }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 …`, the entries in the order of their text.
pub fn unavailable(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    let mut entries: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    entries.sort();
    match entries.is_empty() {
        true => format!("0/{nodes} nodes are available."),
        false => format!("0/{nodes} nodes are available: {}.", entries.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_counts_nodes_by_reason_in_upstreams_order() {
        let taint = "node(s) had untolerated taint {k: v}";
        let diagnosis = Diagnosis {
            nodes: 3,
            reasons: BTreeMap::from([(taint.into(), 2), ("Insufficient cpu".into(), 1)]),
            preemption: Some("not eligible due to preemptionPolicy=Never.".into()),
            ..Diagnosis::default()
        };
        assert_eq!(
            diagnosis.message(),
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}. \
             preemption: not eligible due to preemptionPolicy=Never."
        );
    }

    #[test]
    fn a_cluster_without_nodes_says_so() {
        assert_eq!(Diagnosis::default().message(), "no nodes available to schedule pods");
    }
}
