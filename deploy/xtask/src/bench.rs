//! `cargo xtask bench`: measurements, in the release profile.

use std::path::Path;

use anyhow::Result;

use crate::{guests, run, sample, setup};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// What to measure; everything if nothing is given.
    names: Vec<String>,
}

/// Builds the release binaries and runs the bench program of `tests`.
///
/// # Errors
/// If something does not build or a measurement fails.
pub fn run(root: &Path, args: &Args) -> Result<()> {
    setup::for_demo()?;
    guests::build_guests(root, &[])?;
    sample::build(root)?;
    let build = ["build", "--release", "-p", "hansa", "-p", "hansa-fedctl", "-p", "hansa-tests"];
    run::ok(run::cargo(root).args(build))?;
    let bench = ["run", "--release", "--quiet", "-p", "hansa-tests", "--bin", "bench", "--"];
    run::ok(run::cargo(root).args(bench).args(&args.names))
}
