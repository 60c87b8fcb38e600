//! The component of the policy that demands labels.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_admission!(hansa_admission_required_labels_logic::RequiredLabels);
