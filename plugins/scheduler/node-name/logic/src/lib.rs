//! NodeName: a pod that names its node runs there and nowhere else.

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::scheduler::{Interests, NOTHING, Nodes, PodView, Policy, Reason, reject};

/// The predicate.
pub struct NodeName;

impl Policy for NodeName {
    const NAME: &'static str = "NodeName";
    const INTERESTS: Interests = Interests { filter: true, ..NOTHING };

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.none().map(|()| Self)
    }

    fn filter<'a>(&'a self, nodes: &'a Nodes, pod: &'a PodView) -> impl Fn(usize) -> bool + 'a {
        let names = &nodes.columns().name;
        move |ix| pod.node_name == 0 || names[ix] == pod.node_name
    }

    fn reason(&self, _nodes: &Nodes, _pod: &PodView, _ix: usize) -> Reason {
        reject("node(s) didn't match the requested node name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_scheduler_lab::{Lab, Node};

    #[test]
    fn only_the_named_node_passes() {
        let nodes = ["a", "b"].map(|name| Node { name, ..Node::default() });
        let mut lab = Lab::new(&nodes);
        let mut pod = lab.pod(&[]);
        assert_eq!(lab.passing::<NodeName>(&pod), ["a", "b"]);
        pod.node_name = lab.sym("b");
        assert_eq!(lab.passing::<NodeName>(&pod), ["b"]);
        let text = "node(s) didn't match the requested node name";
        assert_eq!(lab.texts::<NodeName>(&pod, "a"), [text]);
    }
}
