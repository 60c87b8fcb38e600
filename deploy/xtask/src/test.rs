//! `cargo xtask test`: what `.ci/run` calls.

use std::path::Path;

use anyhow::Result;

use crate::{guests, run, sample, setup};

/// Installs what is missing, checks the style, builds guests and binaries, runs every test.
///
/// # Errors
/// At the first step that fails.
pub fn all(root: &Path) -> Result<()> {
    step("set-up");
    setup::for_tests(root)?;
    step("lint");
    lint(root)?;
    step("guests");
    guests::build_guests(root, &[])?;
    sample::build(root)?;
    step("binaries");
    run::ok(run::cargo(root).args(["build", "--workspace", "--all-targets"]))?;
    step("tests");
    run::ok(run::cargo(root).args(["test", "--workspace", "--no-fail-fast"]))
}

/// Formatting and clippy, warnings being errors.
///
/// # Errors
/// If either has something to say.
pub fn lint(root: &Path) -> Result<()> {
    run::ok(run::cargo(root).args(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    run::ok(run::cargo(root).args(clippy))
}

/// The rules of the house.
///
/// # Errors
/// If one is broken.
pub fn tidy(root: &Path) -> Result<()> {
    run::ok(run::cargo(root).args(["test", "-p", "hansa-tests", "--test", "it", "tidy"]))
}

fn step(name: &str) {
    println!("\n== {name}");
}
