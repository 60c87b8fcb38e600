//! `hansa`: every component of a cluster, alone or all in one.

use std::process::ExitCode;

mod cli;
mod cluster;
mod commands;
mod instance;
mod network;
mod output;

fn main() -> ExitCode {
    match cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hansa: {error:#}");
            ExitCode::FAILURE
        }
    }
}
