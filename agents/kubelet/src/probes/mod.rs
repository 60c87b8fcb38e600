//! Probes: is a container started, alive, ready?
//!
//! - [`tally`]: thresholds. Pure.
//! - [`check`]: one attempt: exec, HTTP, TCP, gRPC.
//! - [`prober`]: one task per container and probe, and what they have found.

pub mod check;
pub mod prober;
pub mod tally;

pub use prober::Prober;
