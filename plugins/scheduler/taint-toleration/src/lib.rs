//! The component of the TaintToleration predicate and priority.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_scheduler!(hansa_scheduler_taint_toleration_logic::TaintToleration);
