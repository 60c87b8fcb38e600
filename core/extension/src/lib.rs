//! The extension-point traits and their plain structs, the mirror of `wit/`.
//!
//! What a cluster *decides* is asked through the traits of this crate; who answers (a WASM guest in
//! `plugins/host`, or a native twin in a test) is not visible here. Four worlds:
//!
//! - [`scheduler`]: where a pod may run and where it would best run,
//! - [`federation`]: which clusters get how many replicas,
//! - [`cloud`]: what a cloud makes of nodes, Services and routes,
//! - [`admission`]: what an object may look like.
//!
//! Around them: [`error::PluginError`] says what a component did wrong, [`active`] holds who
//! decides now and swaps it between two decisions, [`seat`] calls the one who decides and falls
//! back to the last good version, [`runtime`] is what the controller of `Plugin` objects drives.

pub mod active;
pub mod admission;
pub mod bitmap;
pub mod cloud;
pub mod error;
pub mod federation;
pub mod intern;
pub mod runtime;
pub mod scheduler;
pub mod seat;

pub use active::{ActiveSet, Identity, NativeSource, PolicySource};
pub use error::PluginError;
