//! Volumes: folders on the host that containers see.
//!
//! - [`atomic`]: files of a volume changed all at once, by swapping a link.
//! - [`payload`]: what files ConfigMaps, Secrets and the downward API make. Pure.
//! - [`mounter`]: makes and refreshes a pod's volumes.

pub mod atomic;
pub mod mounter;
pub mod payload;

pub use mounter::{Mounter, VolumeError};
