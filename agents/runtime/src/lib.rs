//! The embedded CRI servers: `wasm`, whose containers are WASI components, and `hollow`, whose
//! containers only pretend.
//!
//! Both are one gRPC service ([`service`]) over a narrow [`backend::Backend`]: the service keeps
//! the books (sandboxes, containers, addresses), the backend knows what running means.
//!
//! - [`images`]: components on disk under references.
//! - [`book`]: sandboxes and containers, recorded so that they outlive the process.
//! - [`address`]: one address per pod out of the node's pod CIDR.
//! - [`logs`]: the CRI log format.
//! - [`wasm`], [`hollow`]: the two backends.

pub mod address;
pub mod backend;
pub mod book;
pub mod hollow;
pub mod images;
pub mod logs;
pub mod record;
pub mod server;
pub mod service;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod wasm;

pub use hollow::{HollowConfig, serve_hollow};
pub use images::{ImageError, ImageRecord, import_image};
pub use wasm::{WasmConfig, serve_wasm};
