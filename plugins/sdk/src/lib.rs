//! The guest side for plugin authors, thin over wit-bindgen.
//!
//! A plugin is a type that implements one trait: [`scheduler::Policy`], [`federation::Policy`],
//! [`cloud::Provider`] or [`admission::Policy`]. The SDK keeps the columnar store that the host feeds, runs the loop over
//! nodes, packs bitmaps and collects reasons. A skin crate turns the type into a component with
//! [`export_scheduler!`], [`export_federation!`], [`export_cloud!`] or [`export_admission!`];
//! natively the same type answers through [`native`], without WASM.

pub mod admission;
pub mod bindings;
pub mod bitmap;
pub mod cloud;
pub mod federation;
pub mod host;
mod lifecycle;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
pub mod scheduler;
pub mod settings;

pub use serde_json;
pub use settings::Settings;
