//! Nodes promised to pods that wait there for their victims to go.

use std::collections::HashMap;
use std::sync::Arc;

use crate::load::Demand;
use crate::queue::PodUid;

struct Nomination {
    node: Arc<str>,
    priority: i32,
    demand: Demand,
}

/// Which pod was promised which node.
#[derive(Default)]
pub struct Nominations(HashMap<PodUid, Nomination>);

impl Nominations {
    /// Promises `node` to the pod; an older promise is void.
    pub fn promise(&mut self, uid: PodUid, node: Arc<str>, priority: i32, demand: Demand) {
        self.0.insert(uid, Nomination { node, priority, demand });
    }

    /// Takes a promise back; true if there was one.
    pub fn withdraw(&mut self, uid: &str) -> bool {
        self.0.remove(uid).is_some()
    }

    /// The node that the pod was promised.
    pub fn node_of(&self, uid: &str) -> Option<&Arc<str>> {
        self.0.get(uid).map(|nomination| &nomination.node)
    }

    /// What others with at least this priority were promised on `node`.
    pub fn on<'a>(&'a self, node: &str, uid: &str, priority: i32) -> Vec<&'a Demand> {
        let others = self
            .0
            .iter()
            .filter(|(other, n)| &***other != uid && &*n.node == node && n.priority >= priority);
        others.map(|(_, nomination)| &nomination.demand).collect()
    }

    /// The nodes with promises to others with at least this priority.
    pub fn nodes(&self, uid: &str, priority: i32) -> Vec<Arc<str>> {
        let others = self.0.iter().filter(|(other, n)| &***other != uid && n.priority >= priority);
        let mut nodes: Vec<_> = others.map(|(_, nomination)| nomination.node.clone()).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }
}
