//! TaintToleration: no pods on nodes with taints that they do not tolerate, few on disliked ones.

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::scheduler::matching::{tolerated, tolerates};
use hansa_plugin_sdk::scheduler::{
    Effect, Interests, NOTHING, Nodes, PodView, Policy, Reason, Taint, normalize, reject,
};

/// The predicate and the priority.
pub struct TaintToleration;

impl Policy for TaintToleration {
    const NAME: &'static str = "TaintToleration";
    const INTERESTS: Interests = Interests { filter: true, score: true, ..NOTHING };

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.none().map(|()| Self)
    }

    fn filter<'a>(&'a self, nodes: &'a Nodes, pod: &'a PodView) -> impl Fn(usize) -> bool + 'a {
        let sets = &nodes.columns().taint_set;
        let verdicts = per_set(nodes, |set| untolerated(pod, set).is_none());
        move |ix| verdicts.get(sets[ix] as usize).copied().unwrap_or(true)
    }

    fn reason(&self, nodes: &Nodes, pod: &PodView, ix: usize) -> Reason {
        let Some(taint) = untolerated(pod, nodes.taints(ix)) else {
            return reject("node(s) had untolerated taint");
        };
        let (key, value) = (nodes.text(taint.key), nodes.text(taint.value));
        reject(format!("node(s) had untolerated taint {{{key}: {value}}}"))
    }

    /// The fewer `PreferNoSchedule` taints are not tolerated, the better.
    fn score(&self, nodes: &Nodes, pod: &PodView, candidates: &[u8], scores: &mut [u8]) {
        let counts = per_set(nodes, |set| disliked(pod, set));
        let of = |set: &u32| counts.get(*set as usize).copied().unwrap_or(0);
        let raw: Vec<i64> = nodes.columns().taint_set.iter().map(of).collect();
        normalize(&raw, candidates, true, scores);
    }
}

/// The first taint that keeps the pod away.
fn untolerated<'a>(pod: &PodView, taints: &'a [Taint]) -> Option<&'a Taint> {
    let hard = taints.iter().filter(|taint| taint.effect != Effect::PreferNoSchedule);
    hard.into_iter().find(|taint| !tolerated(pod, taint))
}

/// How many soft taints are not tolerated. Tolerations of other effects do not count.
fn disliked(pod: &PodView, taints: &[Taint]) -> i64 {
    let soft = taints.iter().filter(|taint| taint.effect == Effect::PreferNoSchedule);
    let open = soft.filter(|taint| !pod.tolerations.iter().any(|t| tolerates(t, taint)));
    open.count() as i64
}

/// One answer per taint set, by its id: nodes share few of them. Id 0 is the empty set.
fn per_set<T: Clone>(nodes: &Nodes, judge: impl Fn(&[Taint]) -> T) -> Vec<T> {
    let mut answers = vec![judge(&[])];
    for (id, set) in nodes.taint_sets() {
        if id as usize >= answers.len() {
            answers.resize(id as usize + 1, answers[0].clone());
        }
        answers[id as usize] = judge(set);
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_scheduler_lab::{Lab, Node, TaintEffect, Toleration};

    fn lab() -> Lab {
        Lab::new(&[
            Node { name: "clean", ..Node::default() },
            Node {
                name: "gpu",
                taints: &[("gpu", "yes", TaintEffect::NoSchedule)],
                ..Node::default()
            },
            Node {
                name: "slow",
                taints: &[
                    ("slow", "", TaintEffect::PreferNoSchedule),
                    ("old", "", TaintEffect::PreferNoSchedule),
                ],
                ..Node::default()
            },
            Node {
                name: "gone",
                taints: &[("unreachable", "", TaintEffect::NoExecute)],
                ..Node::default()
            },
        ])
    }

    #[test]
    fn untolerated_hard_taints_reject_and_are_named() {
        let mut lab = lab();
        let pod = lab.pod(&[]);
        assert_eq!(lab.passing::<TaintToleration>(&pod), ["clean", "slow"]);
        let texts = lab.texts::<TaintToleration>(&pod, "gpu");
        assert_eq!(texts, ["node(s) had untolerated taint {gpu: yes}"]);
        let texts = lab.texts::<TaintToleration>(&pod, "gone");
        assert_eq!(texts, ["node(s) had untolerated taint {unreachable: }"]);
    }

    #[test]
    fn tolerations_match_by_key_value_and_effect() {
        let mut lab = lab();
        let mut pod = lab.pod(&[]);
        let (key, value) = (lab.sym("gpu"), lab.sym("yes"));
        let exact = Toleration { key, value, ..Toleration::default() };
        pod.tolerations = vec![exact.clone()];
        assert_eq!(lab.passing::<TaintToleration>(&pod), ["clean", "gpu", "slow"]);
        pod.tolerations = vec![Toleration { effect: Some(TaintEffect::NoExecute), ..exact }];
        assert_eq!(lab.passing::<TaintToleration>(&pod), ["clean", "slow"]);
        pod.tolerations = vec![Toleration { any_value: true, ..Toleration::default() }];
        assert_eq!(lab.passing::<TaintToleration>(&pod).len(), 4);
    }

    #[test]
    fn nodes_with_fewer_disliked_taints_score_higher() {
        let mut lab = lab();
        let mut pod = lab.pod(&[]);
        assert_eq!(lab.scores::<TaintToleration>(&pod), [100, 100, 0, 100]);
        let key = lab.sym("slow");
        pod.tolerations = vec![Toleration { key, any_value: true, ..Toleration::default() }];
        let key = lab.sym("old");
        pod.tolerations.push(Toleration { key, any_value: true, ..Toleration::default() });
        assert_eq!(lab.scores::<TaintToleration>(&pod), [100, 100, 100, 100]);
    }
}
