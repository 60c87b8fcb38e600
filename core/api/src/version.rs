//! The version of Kubernetes that every component presents.

/// Major version of the API.
pub const MAJOR: &str = "1";
/// Minor version of the API.
pub const MINOR: &str = "36";
/// As `kubectl version` and a node's `kubeletVersion` show it; the build metadata names this product.
pub const GIT_VERSION: &str = concat!("v1.36.0+hansa.", env!("CARGO_PKG_VERSION"));
