//! The nouns: kinds, metadata, selectors, quantities, patches, Status. No I/O.

pub use k8s_openapi;

pub mod custom;
pub mod plugin;
