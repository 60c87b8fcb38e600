//! The component of the NodeName predicate.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_scheduler!(hansa_scheduler_node_name_logic::NodeName);
