//! The component of the policy that adds labels.
#![cfg(target_arch = "wasm32")]

hansa_plugin_sdk::export_admission!(hansa_admission_default_labels_logic::DefaultLabels);
