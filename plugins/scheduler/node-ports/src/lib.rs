//! The component of the NodePorts predicate.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_scheduler!(hansa_scheduler_node_ports_logic::NodePorts);
