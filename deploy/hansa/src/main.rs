//! `hansa`: every component of a cluster, alone or all in one.

use std::process::ExitCode;

mod cli;
mod cluster;
mod commands;
mod instance;
mod network;
mod output;

/// Many threads allocate and free small JSON trees all the time: in a profile of a thousand nodes the
/// system's allocator took two fifths of the processor's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hansa: {error:#}");
            ExitCode::FAILURE
        }
    }
}
