//! The component of the PodTopologySpread predicate and priority.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_scheduler!(hansa_scheduler_topology_spread_logic::PodTopologySpread);
