//! The component of the placement policy that prefers a region.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_federation!(hansa_federation_prefer_region_logic::PreferRegion);
