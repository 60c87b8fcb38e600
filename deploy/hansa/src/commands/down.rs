//! `hansa down`: stops a local cluster.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::Which;
use crate::instance::Instance;

/// How long a process may take to stop by itself.
const GRACE: Duration = Duration::from_secs(40);

/// Arguments of `hansa down`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Remove all of its data, too, and its context.
    #[arg(long)]
    purge: bool,
    /// The kubeconfig that a purged cluster's context is removed from.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<std::path::PathBuf>,
}

/// Stops the cluster; one that does not run is fine.
pub fn run(args: &Args) -> Result<ExitCode> {
    let instance = Instance::of(&args.which)?;
    if instance.settings()?.is_none() {
        println!("no cluster named {}", instance.name);
        return Ok(ExitCode::SUCCESS);
    }
    match instance.state() {
        Some(state) => stop(&instance, state.pid)?,
        None => println!("cluster {} does not run", instance.name),
    }
    if args.purge {
        super::up::forget_context(&instance, args.kubeconfig.clone())?;
        instance.purge()?;
        println!("removed {}", instance.dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn stop(instance: &Instance, pid: u32) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid).context("failed to read the process's number")?);
    kill(pid, Signal::SIGTERM).context("failed to signal the cluster's process")?;
    let asked = Instant::now();
    while instance.is_running() {
        if asked.elapsed() > GRACE {
            bail!("cluster {} still runs as process {pid} after {GRACE:?}", instance.name);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("stopped cluster {}", instance.name);
    Ok(())
}
