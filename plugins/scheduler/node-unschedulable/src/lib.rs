//! The component of the NodeUnschedulable predicate.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_scheduler!(hansa_scheduler_node_unschedulable_logic::NodeUnschedulable);
