//! `hansa list`: the local clusters.

use std::process::ExitCode;

use anyhow::Result;

use super::status::Report;
use crate::instance::Instance;
use crate::output::{Output, print_table};

/// Arguments of `hansa list`.
#[derive(clap::Args)]
pub struct Args {
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Prints a line per cluster.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut reports = Vec::new();
    for instance in Instance::all()? {
        reports.push(Report::of(&instance, instance.existing()?));
    }
    args.output.print(&reports, || {
        let header = ["NAME", "STATUS", "ROLE", "REGION", "ZONE", "NODES", "PID", "SERVER"];
        print_table(&header, reports.iter().map(Report::row).collect());
    })?;
    Ok(ExitCode::SUCCESS)
}
