//! The components that a cluster decides with unless told otherwise.

/// A shipped component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// The guest's file name without `.wasm`.
    pub guest: &'static str,
    /// The plugin's name, which is kube-scheduler's.
    pub name: &'static str,
    /// What its scores count; kube-scheduler's default.
    pub weight: u32,
}

/// In the order of asking: cheap and telling predicates first.
pub const SHIPPED: [Shipped; 8] = [
    shipped("scheduler-node-unschedulable", "NodeUnschedulable", 1),
    shipped("scheduler-node-name", "NodeName", 1),
    shipped("scheduler-taint-toleration", "TaintToleration", 3),
    shipped("scheduler-node-affinity", "NodeAffinity", 2),
    shipped("scheduler-node-ports", "NodePorts", 1),
    shipped("scheduler-resources-fit", "NodeResourcesFit", 1),
    shipped("scheduler-topology-spread", "PodTopologySpread", 2),
    shipped("scheduler-balanced-allocation", "NodeResourcesBalancedAllocation", 1),
];

const fn shipped(guest: &'static str, name: &'static str, weight: u32) -> Shipped {
    Shipped { guest, name, weight }
}
