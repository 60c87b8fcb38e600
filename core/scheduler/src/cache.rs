//! Nodes and the pods on them, bound or assumed. Every change is written through to the mirror, so
//! that the policies hear of what changed and of nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use hansa_api::k8s_openapi::api::core::v1::{Node, Pod};
use hansa_extension::scheduler::{Ix, Mirror, NodeRow};

use crate::load::{Allocatable, Demand, Load};
use crate::queue::{PodUid, Wake};
use crate::view;

/// A pod on a node.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What it takes.
    pub demand: Demand,
}

/// A node with its pods.
#[derive(Debug, Default)]
pub struct NodeInfo {
    node: Option<Arc<Node>>,
    allocatable: Allocatable,
    load: Load,
    pods: BTreeMap<PodUid, Placed>,
}

impl NodeInfo {
    /// The pods on the node, by UID.
    pub fn pods(&self) -> &BTreeMap<PodUid, Placed> {
        &self.pods
    }

    /// What the pods take.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// The node's index and extended resources.
    pub fn allocatable(&self) -> &Allocatable {
        &self.allocatable
    }
}

struct Whereabouts {
    node: Arc<str>,
    /// Assumed: its binding is not confirmed by a watch yet. `Some` time: it is taken back then.
    assumed: Option<Option<Instant>>,
}

/// What the scheduler knows of the cluster.
#[derive(Default)]
pub struct Cache {
    nodes: HashMap<Arc<str>, NodeInfo>,
    names: Vec<Option<Arc<str>>>,
    pods: HashMap<PodUid, Whereabouts>,
}

impl Cache {
    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.names.iter().flatten().count()
    }

    /// The name of the node with this index.
    pub fn name(&self, ix: Ix) -> Option<&Arc<str>> {
        self.names.get(ix as usize)?.as_ref()
    }

    /// The index of a node, if it is there.
    pub fn ix(&self, name: &str) -> Option<Ix> {
        let info = self.nodes.get(name)?;
        info.node.as_ref().map(|_| info.allocatable.ix)
    }

    /// A node with its pods.
    pub fn node(&self, ix: Ix) -> Option<&NodeInfo> {
        self.nodes.get(self.name(ix)?)
    }

    /// Takes in a node; says which waiting pods that may help.
    pub fn upsert_node(&mut self, mirror: &mut Mirror, node: &Arc<Node>) -> Wake {
        let name: Arc<str> = node.metadata.name.as_deref().unwrap_or_default().into();
        let info = self.nodes.entry(name.clone()).or_default();
        let is_new = info.node.is_none();
        if is_new {
            info.allocatable.ix = mirror.free_ix();
        }
        info.node = Some(node.clone());
        let changed = write_node(mirror, info, node);
        if !is_new {
            return if changed { Wake::NODE_UPDATE } else { Wake::NONE };
        }
        info.load.write_all(&info.allocatable, mirror);
        let at = info.allocatable.ix as usize;
        if at >= self.names.len() {
            self.names.resize(at + 1, None);
        }
        self.names[at] = Some(name);
        Wake::NODE_ADD
    }

    /// Forgets a node. Pods that are still bound to it are remembered in case it comes back.
    pub fn remove_node(&mut self, mirror: &mut Mirror, name: &str) {
        let Some(info) = self.nodes.get_mut(name) else { return };
        if info.node.take().is_some() {
            mirror.remove(info.allocatable.ix);
            info.allocatable.ext.clear();
            self.names[info.allocatable.ix as usize] = None;
        }
        self.drop_if_unused(name);
    }

    /// Takes in a pod that is bound to a node, confirming it if it was assumed.
    pub fn put_pod(&mut self, mirror: &mut Mirror, uid: &PodUid, pod: &Arc<Pod>, node: &str) {
        let demand = Demand::of(mirror, pod);
        if let Some(at) = self.pods.get_mut(uid)
            && &*at.node == node
            && let Some(placed) = self.nodes.get_mut(node).and_then(|info| info.pods.get_mut(uid))
            && placed.demand == demand
        {
            at.assumed = None;
            placed.pod = pod.clone();
            return;
        }
        self.place(mirror, uid, Placed { pod: pod.clone(), demand }, node, None);
    }

    /// Counts the pod on the node before the API server knows.
    pub fn assume(&mut self, mirror: &mut Mirror, uid: &PodUid, pod: &Arc<Pod>, node: &str) {
        let demand = Demand::of(mirror, pod);
        self.place(mirror, uid, Placed { pod: pod.clone(), demand }, node, Some(None));
    }

    /// The binding was accepted; if no watch confirms it until `deadline`, the pod is taken back.
    pub fn finish_binding(&mut self, uid: &str, deadline: Instant) {
        if let Some(Whereabouts { assumed: Some(until), .. }) = self.pods.get_mut(uid) {
            *until = Some(deadline);
        }
    }

    /// Takes back a pod whose binding failed; true if it was assumed.
    pub fn forget(&mut self, mirror: &mut Mirror, uid: &str) -> bool {
        let assumed = self.pods.get(uid).is_some_and(|at| at.assumed.is_some());
        if assumed {
            self.remove_pod(mirror, uid);
        }
        assumed
    }

    /// Takes back assumed pods that nothing confirmed in time; true if there were any.
    pub fn expire(&mut self, mirror: &mut Mirror, now: Instant) -> bool {
        let late = |at: &Whereabouts| at.assumed.flatten().is_some_and(|until| until <= now);
        let expired = self.pods.iter().filter(|(_, at)| late(at));
        let expired: Vec<PodUid> = expired.map(|(uid, _)| uid.clone()).collect();
        for uid in &expired {
            self.remove_pod(mirror, uid);
        }
        !expired.is_empty()
    }

    /// Whether the pod is on a node, bound or assumed.
    pub fn has_pod(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// Forgets a pod; true if it was on a node.
    pub fn remove_pod(&mut self, mirror: &mut Mirror, uid: &str) -> bool {
        let Some(at) = self.pods.remove(uid) else { return false };
        if let Some(info) = self.nodes.get_mut(&at.node)
            && let Some(placed) = info.pods.remove(uid)
        {
            info.load.remove(&placed.demand);
            write_touched(mirror, info, &placed.demand);
        }
        self.drop_if_unused(&at.node);
        true
    }

    fn place(
        &mut self,
        mirror: &mut Mirror,
        uid: &PodUid,
        placed: Placed,
        node: &str,
        assumed: Option<Option<Instant>>,
    ) {
        self.remove_pod(mirror, uid);
        let node: Arc<str> = node.into();
        let info = self.nodes.entry(node.clone()).or_default();
        info.load.add(&placed.demand);
        write_touched(mirror, info, &placed.demand);
        info.pods.insert(uid.clone(), placed);
        self.pods.insert(uid.clone(), Whereabouts { node, assumed });
    }

    fn drop_if_unused(&mut self, name: &str) {
        let unused = |info: &NodeInfo| info.node.is_none() && info.pods.is_empty();
        if self.nodes.get(name).is_some_and(unused) {
            self.nodes.remove(name);
        }
    }
}

fn write_touched(mirror: &mut Mirror, info: &NodeInfo, demand: &Demand) {
    if info.node.is_some() {
        info.load.write_touched(demand, &info.allocatable, mirror);
    }
}

/// Writes the node's own rows; true if anything that policies see has changed.
fn write_node(mirror: &mut Mirror, info: &mut NodeInfo, node: &Node) -> bool {
    let ix = info.allocatable.ix;
    let usage = info.load.usage(ix);
    let row = NodeRow {
        used_cpu: usage.cpu,
        used_memory: usage.memory,
        used_ephemeral: usage.ephemeral,
        used_pods: usage.pods,
        nz_cpu: usage.nz_cpu,
        nz_memory: usage.nz_memory,
        ..view::node_row(mirror, ix, node)
    };
    let changed = mirror.row(ix) != Some(&row);
    if changed {
        mirror.upsert(row);
    }
    write_ext(mirror, info, node) || changed
}

fn write_ext(mirror: &mut Mirror, info: &mut NodeInfo, node: &Node) -> bool {
    let rows = view::node_ext(mirror, info.allocatable.ix, node);
    let now: HashMap<_, _> = rows.iter().map(|row| (row.name, row.allocatable)).collect();
    if now == info.allocatable.ext {
        return false;
    }
    let before = std::mem::replace(&mut info.allocatable.ext, now);
    let gone = before.keys().filter(|name| !info.allocatable.ext.contains_key(name));
    for name in gone.chain(info.allocatable.ext.keys()) {
        mirror.update_ext(hansa_extension::scheduler::ExtRow {
            ix: info.allocatable.ix,
            name: *name,
            allocatable: info.allocatable.ext(*name),
            used: info.load.ext(*name),
        });
    }
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::json;

    fn node(name: &str, cpu: &str) -> Arc<Node> {
        let node = json!({
            "metadata": { "name": name },
            "status": { "allocatable": { "cpu": cpu, "memory": "1Gi", "pods": "10" } },
        });
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn pod(cpu: &str) -> Arc<Pod> {
        let pod = json!({
            "metadata": { "name": "p", "namespace": "ns", "labels": { "app": "web" } },
            "spec": { "containers": [
                { "name": "c", "resources": { "requests": { "cpu": cpu, "example.com/x": "1" } },
                  "ports": [{ "containerPort": 80, "hostPort": 80 }] },
            ]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn used(mirror: &Mirror, ix: Ix) -> (i64, i64) {
        let row = mirror.row(ix).expect("the node is there");
        (row.used_cpu, row.used_pods)
    }

    #[test]
    fn an_assumed_pod_counts_and_a_failed_binding_gives_back() {
        let (mut cache, mut mirror) = (Cache::default(), Mirror::default());
        cache.upsert_node(&mut mirror, &node("a", "2"));
        cache.assume(&mut mirror, &"u".into(), &pod("500m"), "a");
        assert_eq!(used(&mirror, 0), (500, 1));
        assert!(cache.forget(&mut mirror, "u"));
        assert_eq!(used(&mirror, 0), (0, 0));
    }

    #[test]
    fn a_confirmed_pod_does_not_expire_and_an_unconfirmed_one_does() {
        let (mut cache, mut mirror, now) = (Cache::default(), Mirror::default(), Instant::now());
        cache.upsert_node(&mut mirror, &node("a", "2"));
        for uid in ["seen", "lost"] {
            cache.assume(&mut mirror, &uid.into(), &pod("500m"), "a");
            cache.finish_binding(uid, now);
        }
        cache.put_pod(&mut mirror, &"seen".into(), &pod("500m"), "a");
        assert!(cache.expire(&mut mirror, now + Duration::from_secs(1)));
        assert_eq!(used(&mirror, 0), (500, 1));
        assert!(cache.has_pod("seen") && !cache.has_pod("lost"));
    }

    #[test]
    fn pods_seen_before_their_node_count_once_it_comes() {
        let (mut cache, mut mirror) = (Cache::default(), Mirror::default());
        cache.put_pod(&mut mirror, &"u".into(), &pod("500m"), "late");
        assert_eq!(cache.upsert_node(&mut mirror, &node("late", "2")), Wake::NODE_ADD);
        assert_eq!(used(&mirror, 0), (500, 1));
        cache.remove_node(&mut mirror, "late");
        assert_eq!(cache.ix("late"), None);
        cache.upsert_node(&mut mirror, &node("late", "2"));
        assert_eq!(used(&mirror, 0), (500, 1), "its pod was not forgotten");
    }

    #[test]
    fn only_what_changed_is_fed_and_heartbeats_wake_nobody() {
        let (mut cache, mut mirror) = (Cache::default(), Mirror::default());
        for name in ["a", "b", "c"] {
            cache.upsert_node(&mut mirror, &node(name, "2"));
        }
        mirror.flush();
        assert_eq!(cache.upsert_node(&mut mirror, &node("b", "2")), Wake::NONE);
        assert_eq!(mirror.flush(), None);
        assert_eq!(cache.upsert_node(&mut mirror, &node("b", "4")), Wake::NODE_UPDATE);
        assert!(mirror.flush().is_some());
    }

    #[test]
    fn a_removed_node_gives_its_index_to_the_next() {
        let (mut cache, mut mirror) = (Cache::default(), Mirror::default());
        cache.upsert_node(&mut mirror, &node("a", "2"));
        cache.upsert_node(&mut mirror, &node("b", "2"));
        cache.remove_node(&mut mirror, "a");
        cache.upsert_node(&mut mirror, &node("c", "2"));
        assert_eq!(cache.ix("c"), Some(0));
        assert_eq!((cache.node_count(), cache.name(1).map(|n| &**n)), (2, Some("b")));
    }
}
