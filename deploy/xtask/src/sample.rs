//! Builds the sample's component.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::guests;

/// The package of the storefront's component.
const PACKAGE: &str = "hansa-sample-storefront";

/// Builds `target/guests/storefront.wasm`.
///
/// # Errors
/// If it does not compile or is no component.
pub fn build(root: &Path) -> Result<PathBuf> {
    guests::build_component(root, PACKAGE, "storefront")
}
