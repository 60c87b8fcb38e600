//! The component of the NodeResourcesFit predicate and the LeastAllocated priority.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_scheduler!(hansa_scheduler_resources_fit_logic::NodeResourcesFit);
