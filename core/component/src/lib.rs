//! What every process needs: logging, layered configuration, signals, and components that start in
//! order, are started again when they fail, and stop together.

pub mod config;
pub mod logging;
pub mod signals;
mod supervisor;

pub use supervisor::{ComponentState, Health, Supervisor};
