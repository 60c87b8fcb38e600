//! The native twins: a guest's logic as an implementation of the host's traits, without WASM.

mod federation;
mod scheduler;

pub use federation::{NativePlacement, federation_source};
pub use scheduler::{NativeScheduler, pod_view, scheduler_source};
