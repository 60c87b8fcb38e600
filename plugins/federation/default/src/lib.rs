//! The component of the default placement policy.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_federation!(hansa_federation_default_logic::Balanced);
