//! What tests of this and other crates need: a containerd of one's own, and an OCI image made by
//! hand.

pub mod containerd;
pub mod image;

pub use containerd::Containerd;
