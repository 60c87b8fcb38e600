//! Calling webhooks: what a `clientConfig` says, as a client that is made once and kept.
//!
//! Reading order: [`config`] reads and checks a `clientConfig`, [`resolve`] finds the endpoint of
//! a Service, [`client`] posts to it over pooled connections.

pub mod client;
pub mod config;
mod resolve;

pub use client::{Hook, HookError};
