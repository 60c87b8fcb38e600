//! The shipped scheduler plugins, compiled natively: the oracle that tests hold the components
//! against.
//!
//! Nothing that is shipped depends on this crate: a running cluster asks components only.

use std::sync::Arc;

use hansa_extension::scheduler::SchedulerPolicy;
use hansa_extension::{ActiveSet, PolicySource};
use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::native::scheduler_source;
use hansa_plugin_sdk::scheduler::Policy;
use hansa_scheduler_balanced_allocation_logic::BalancedAllocation;
use hansa_scheduler_node_affinity_logic::NodeAffinity;
use hansa_scheduler_node_name_logic::NodeName;
use hansa_scheduler_node_ports_logic::NodePorts;
use hansa_scheduler_node_unschedulable_logic::NodeUnschedulable;
use hansa_scheduler_resources_fit_logic::NodeResourcesFit;
use hansa_scheduler_taint_toleration_logic::TaintToleration;
use hansa_scheduler_topology_spread_logic::PodTopologySpread;

/// One native plugin.
pub type Source = Arc<dyn PolicySource<dyn SchedulerPolicy>>;

/// All shipped plugins, in the order in which the shipped set asks them, with the guest's file
/// name.
pub fn shipped() -> Vec<(&'static str, Source)> {
    vec![
        ("scheduler-node-unschedulable", native::<NodeUnschedulable>(1)),
        ("scheduler-node-name", native::<NodeName>(1)),
        ("scheduler-taint-toleration", native::<TaintToleration>(3)),
        ("scheduler-node-affinity", native::<NodeAffinity>(2)),
        ("scheduler-node-ports", native::<NodePorts>(1)),
        ("scheduler-resources-fit", native::<NodeResourcesFit>(1)),
        ("scheduler-topology-spread", native::<PodTopologySpread>(2)),
        ("scheduler-balanced-allocation", native::<BalancedAllocation>(1)),
    ]
}

/// The shipped plugins as a set that decides.
pub fn active() -> Arc<ActiveSet<dyn SchedulerPolicy>> {
    Arc::new(ActiveSet::new(shipped().into_iter().map(|(_, source)| source).collect()))
}

fn native<P: Policy + Send>(weight: u32) -> Source {
    scheduler_source::<P>(Settings::default(), weight).expect("no settings are fine settings")
}
