//! `fedctl`: the federation's command line.

mod cli;
mod context;
mod describe;
mod error;
mod explain;
mod get;
mod init;
mod join;
mod output;
mod policy;
mod rbac;
mod taint;
mod unjoin;
mod upsert;
mod version;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error),
    }
}
