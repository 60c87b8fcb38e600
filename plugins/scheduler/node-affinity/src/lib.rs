//! The component of the NodeAffinity predicate and priority.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_scheduler!(hansa_scheduler_node_affinity_logic::NodeAffinity);
