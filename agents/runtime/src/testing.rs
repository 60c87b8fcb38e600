//! What tests need: the sample component, and a client of a runtime's socket.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the sample `storefront` for `wasm32-unknown-unknown` and makes a component of it.
///
/// # Panics
/// The build fails: the target is not installed, or the sample does not compile.
#[must_use]
pub fn storefront_component() -> Vec<u8> {
    component("hansa-sample-storefront", "hansa_sample_storefront.wasm")
}

/// Builds a guest package of this workspace and makes a component of it.
///
/// # Panics
/// The build fails.
#[must_use]
pub fn component(package: &str, file: &str) -> Vec<u8> {
    let root = workspace_root();
    let target = root.join("target");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&root)
        .args(["build", "--quiet", "--profile", "guest", "--target", "wasm32-unknown-unknown"])
        .args(["--package", package])
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .expect("cargo can be started");
    assert!(built.success(), "{package} must build for wasm32-unknown-unknown");
    let module = target.join("wasm32-unknown-unknown/guest").join(file);
    let module = std::fs::read(&module).expect("the module that was just built");
    wit_component::ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .expect("the guest describes its world in itself")
}

fn workspace_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("this crate is two folders below the workspace").to_path_buf()
}

/// A pod CIDR that no other test process uses: 127.100.0.0/14 cut by process and `slot` (0..4).
#[must_use]
pub fn pod_cidr(slot: u32) -> String {
    let number = (std::process::id() * 4 + slot % 4) % 1024;
    format!("127.{}.{}.0/24", 100 + number / 256, number % 256)
}
