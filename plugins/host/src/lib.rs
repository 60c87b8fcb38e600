//! The only crate that runs decisions in wasmtime: engine, loader, limits, rollout, adapters.
//!
//! [`Host`] is the whole door: it implements `PluginRuntime` for the controller of `Plugin`
//! objects, and hands out who decides now in each world. One engine per process; no WASI: a
//! component that imports anything but what [`loader`] grants is refused.
//!
//! ```text
//! bytes ─► loader (digest, size, component?, world, imports) ─► cache (compile once, HMAC)
//!       ─► version (settings, instances, breaker) ─► slots (who decides) ─► ActiveSet
//! ```

mod admission;
mod bindings;
mod breaker;
pub mod cache;
mod cloud;
mod engine;
mod federation;
mod guest;
mod host;
pub mod loader;
mod scheduler;
mod slots;
#[cfg(test)]
mod tests;
mod version;

pub use host::{Host, HostConfig, Shipped};
pub use loader::digest_of;
