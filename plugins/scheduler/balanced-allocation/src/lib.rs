//! The component of the BalancedAllocation priority.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_scheduler!(hansa_scheduler_balanced_allocation_logic::BalancedAllocation);
