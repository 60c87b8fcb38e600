//! NodeUnschedulable: cordoned nodes take no pods but those that tolerate it.

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::scheduler::matching::tolerated;
use hansa_plugin_sdk::scheduler::{
    Effect, Interests, NOTHING, Nodes, PodView, Policy, Reason, Taint, UNSCHEDULABLE, reject,
};

/// The taint that stands for `spec.unschedulable` when tolerations are read.
const TAINT: &str = "node.kubernetes.io/unschedulable";

/// The predicate.
pub struct NodeUnschedulable;

impl Policy for NodeUnschedulable {
    const NAME: &'static str = "NodeUnschedulable";
    const INTERESTS: Interests = Interests { filter: true, ..NOTHING };

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.none().map(|()| Self)
    }

    fn filter<'a>(&'a self, nodes: &'a Nodes, pod: &'a PodView) -> impl Fn(usize) -> bool + 'a {
        let bits = &nodes.columns().bits;
        let mut keys = pod.tolerations.iter().map(|toleration| toleration.key);
        // A key that no toleration has can only be tolerated by a toleration of every key.
        let key = keys.find(|key| nodes.text(*key) == TAINT);
        let taint = Taint { key: key.unwrap_or(u32::MAX), value: 0, effect: Effect::NoSchedule };
        let tolerates = tolerated(pod, &taint);
        move |ix| tolerates || bits[ix] & UNSCHEDULABLE == 0
    }

    fn reason(&self, _nodes: &Nodes, _pod: &PodView, _ix: usize) -> Reason {
        reject("node(s) were unschedulable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_scheduler_lab::{Lab, Node, Toleration};

    fn lab() -> Lab {
        Lab::new(&[
            Node { name: "cordoned", unschedulable: true, ..Node::default() },
            Node { name: "open", ..Node::default() },
        ])
    }

    #[test]
    fn a_cordoned_node_takes_nobody() {
        let mut lab = lab();
        let pod = lab.pod(&[]);
        assert_eq!(lab.passing::<NodeUnschedulable>(&pod), ["open"]);
        let texts = lab.texts::<NodeUnschedulable>(&pod, "cordoned");
        assert_eq!(texts, ["node(s) were unschedulable"]);
    }

    #[test]
    fn tolerations_of_the_taint_or_of_everything_pass() {
        for key in [TAINT, ""] {
            let mut lab = lab();
            let mut pod = lab.pod(&[]);
            let key = lab.sym(key);
            pod.tolerations = vec![Toleration { key, any_value: true, ..Default::default() }];
            assert_eq!(lab.passing::<NodeUnschedulable>(&pod), ["cordoned", "open"]);
        }
    }
}
