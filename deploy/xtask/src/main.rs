//! Developer commands: `cargo xtask setup|guests|demo|test|lint|tidy|bench|conformance|differential`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod conformance;
mod demo;
mod differential;
mod guests;
mod run;
mod sample;
mod setup;
mod test;

/// Developer commands.
#[derive(Parser)]
#[command(name = "xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building and testing need, saying what and why.
    Setup,
    /// Build the WASM guests and the sample into target/guests.
    Guests {
        /// Names such as scheduler-node-name; all of them if none is given.
        names: Vec<String>,
    },
    /// Two regions, one league: the whole product on this machine.
    Demo(demo::Args),
    /// Install what the tests need and run all of them.
    Test,
    /// Formatting and clippy.
    Lint,
    /// The rules of the house, only.
    Tidy,
    /// Measurements; see `--help` of each.
    Bench(bench::Args),
    /// Upstream's conformance suite, and the ledger of what passes.
    Conformance(conformance::Args),
    /// The same requests to upstream's API server and to ours, and what differs.
    Differential(differential::Args),
}

fn main() -> ExitCode {
    let root = root();
    let outcome = match Cli::parse().verb {
        Verb::Setup => setup::for_tests(&root),
        Verb::Guests { names } => guests(&root, &names),
        Verb::Demo(args) => demo::run(&root, &args),
        Verb::Test => test::all(&root),
        Verb::Lint => test::lint(&root),
        Verb::Tidy => test::tidy(&root),
        Verb::Bench(args) => bench::run(&root, &args),
        Verb::Conformance(args) => conformance::run(&root, &args),
        Verb::Differential(args) => differential::run(&root, &args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn guests(root: &Path, names: &[String]) -> anyhow::Result<()> {
    setup::wasm_target()?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut files = guests::build_guests(root, &names)?;
    if names.is_empty() {
        files.push(sample::build(root)?);
    }
    for file in files {
        println!("{}", file.display());
    }
    Ok(())
}

/// The repository: this package lies two folders below it.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}
