//! NodeAffinity: nodeSelector, required and preferred node affinity.

use hansa_plugin_sdk::scheduler::matching::{affinity_matches, term_matches};
use hansa_plugin_sdk::scheduler::{
    Interests, NOTHING, Nodes, PodView, Policy, Reason, normalize, reject,
};
use hansa_plugin_sdk::{Settings, bitmap};

/// The predicate and the priority.
pub struct NodeAffinity;

impl Policy for NodeAffinity {
    const NAME: &'static str = "NodeAffinity";
    const INTERESTS: Interests = Interests { filter: true, score: true, ..NOTHING };

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.none().map(|()| Self)
    }

    fn filter<'a>(&'a self, nodes: &'a Nodes, pod: &'a PodView) -> impl Fn(usize) -> bool + 'a {
        let no_wish = pod.node_selector.is_empty() && pod.required.is_empty();
        move |ix| no_wish || affinity_matches(nodes, ix, pod)
    }

    fn reason(&self, _nodes: &Nodes, _pod: &PodView, _ix: usize) -> Reason {
        reject("node(s) didn't match Pod's node affinity/selector")
    }

    /// The sum of the weights of the terms that a node meets, in proportion to the largest sum.
    fn score(&self, nodes: &Nodes, pod: &PodView, candidates: &[u8], scores: &mut [u8]) {
        if pod.preferred.is_empty() {
            return;
        }
        let mut sums = vec![0i64; nodes.len()];
        for ix in bitmap::ones(candidates) {
            let met = pod.preferred.iter().filter(|p| term_matches(nodes, ix, &p.term));
            sums[ix] = met.map(|p| i64::from(p.weight)).sum();
        }
        normalize(&sums, candidates, false, scores);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_scheduler_lab::{Lab, Node, Operator, PreferredTerm, Term};

    fn lab() -> Lab {
        Lab::new(&[
            Node { name: "a", labels: &[("zone", "z1"), ("cores", "8")], ..Node::default() },
            Node { name: "b", labels: &[("zone", "z2"), ("cores", "16")], ..Node::default() },
            Node { name: "c", ..Node::default() },
        ])
    }

    fn expression(lab: &mut Lab, key: &str, op: Operator, values: &[&str]) -> Term {
        Term { expressions: vec![lab.requirement(key, op, values)], ..Term::default() }
    }

    #[test]
    fn selector_and_one_of_the_terms_must_match() {
        let mut lab = lab();
        let mut pod = lab.pod(&[]);
        pod.required = vec![
            expression(&mut lab, "zone", Operator::In, &["z1"]),
            expression(&mut lab, "cores", Operator::Gt, &["8"]),
        ];
        assert_eq!(lab.passing::<NodeAffinity>(&pod), ["a", "b"]);
        pod.node_selector = vec![lab.label("zone", "z2")];
        assert_eq!(lab.passing::<NodeAffinity>(&pod), ["b"]);
        let text = "node(s) didn't match Pod's node affinity/selector";
        assert_eq!(lab.texts::<NodeAffinity>(&pod, "c"), [text]);
    }

    #[test]
    fn absent_labels_meet_not_in_and_does_not_exist_only() {
        let mut lab = lab();
        let mut pod = lab.pod(&[]);
        pod.required = vec![expression(&mut lab, "zone", Operator::NotIn, &["z1"])];
        assert_eq!(lab.passing::<NodeAffinity>(&pod), ["b", "c"]);
        pod.required = vec![expression(&mut lab, "zone", Operator::DoesNotExist, &[])];
        assert_eq!(lab.passing::<NodeAffinity>(&pod), ["c"]);
        pod.required = vec![expression(&mut lab, "cores", Operator::Lt, &["10"])];
        assert_eq!(lab.passing::<NodeAffinity>(&pod), ["a"]);
    }

    #[test]
    fn fields_name_a_node_and_an_empty_term_matches_none() {
        let mut lab = lab();
        let mut pod = lab.pod(&[]);
        let name = lab.requirement("metadata.name", Operator::In, &["c"]);
        pod.required = vec![Term { fields: vec![name], ..Term::default() }];
        assert_eq!(lab.passing::<NodeAffinity>(&pod), ["c"]);
        pod.required = vec![Term::default()];
        assert!(lab.passing::<NodeAffinity>(&pod).is_empty());
    }

    #[test]
    fn preferences_count_by_weight() {
        let mut lab = lab();
        let mut pod = lab.pod(&[]);
        let zone = expression(&mut lab, "zone", Operator::Exists, &[]);
        let big = expression(&mut lab, "cores", Operator::Gt, &["8"]);
        pod.preferred =
            vec![PreferredTerm { weight: 10, term: zone }, PreferredTerm { weight: 30, term: big }];
        assert_eq!(lab.scores::<NodeAffinity>(&pod), [25, 100, 0]);
        pod.preferred.clear();
        assert_eq!(lab.scores::<NodeAffinity>(&pod), [0, 0, 0]);
    }
}
