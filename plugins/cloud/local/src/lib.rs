//! The component of the local cloud provider.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_cloud!(hansa_cloud_local_logic::Local);
