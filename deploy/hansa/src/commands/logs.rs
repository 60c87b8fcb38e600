//! `hansa logs`: a cluster's log, or one component's lines of it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cli::Which;
use crate::instance::Instance;

/// Arguments of `hansa logs`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Only lines of this component, such as `scheduler`.
    component: Option<String>,
    /// Go on with new lines.
    #[arg(short, long)]
    follow: bool,
}

/// Prints the log.
pub fn run(args: &Args) -> Result<ExitCode> {
    let instance = Instance::of(&args.which)?;
    instance.existing()?;
    let path = instance.log();
    let file = File::open(&path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut reader = BufReader::new(file);
    let mut out = std::io::stdout().lock();
    let target = args.component.as_deref().map(|component| component.replace('-', "_"));
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            if !args.follow {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(Duration::from_millis(200));
            continue;
        }
        let wanted = target.as_deref().is_none_or(|target| line.contains(target));
        if wanted && out.write_all(line.as_bytes()).is_err() {
            // The reader of our output has gone.
            return Ok(ExitCode::SUCCESS);
        }
    }
}
