//! `cargo xtask differential --peer DIR`: the same requests to upstream's API server and to ours.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::run;

/// Arguments of `cargo xtask differential`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of upstream's `kube-apiserver`, of the version that we present.
    #[arg(long)]
    peer: PathBuf,
    /// Only resources whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only a part of the samples: `2/4` is the second quarter of them.
    #[arg(long, default_value = "1/1")]
    portion: String,
}

/// Builds what is ours and runs the comparison.
///
/// # Errors
/// If something does not build, or a server does not start.
pub fn run(root: &Path, args: &Args) -> Result<()> {
    run::ok(run::cargo(root).args(["build", "--release", "-p", "hansa"]))?;
    let program =
        ["run", "--release", "--quiet", "-p", "hansa-tests", "--bin", "differential", "--"];
    let mut command = run::cargo(root);
    command.args(program).arg("--peer").arg(&args.peer).args(["--only", &args.only]);
    command.args(["--portion", &args.portion]);
    run::ok(&mut command)
}
