//! The command line: parsed once, into typed structs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands;
use crate::output::Output;

/// A whole Kubernetes-API cluster in one binary.
#[derive(Parser)]
#[command(name = "hansa", version = hansa_api::version::GIT_VERSION, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a local cluster; returns when it is ready.
    Up(commands::up::Args),
    /// Stop a local cluster; its data stays unless --purge is given.
    Down(commands::down::Args),
    /// Show one cluster: process, server, components.
    Status(commands::status::Args),
    /// List the local clusters.
    List(commands::list::Args),
    /// Print a cluster's log.
    Logs(commands::logs::Args),
    /// Images of the embedded runtime: WASI components under a reference.
    Image(commands::image::Args),
    /// Print versions.
    Version(VersionArgs),
    /// Print a shell's completion script.
    Completion(CompletionArgs),
    #[command(flatten)]
    Component(commands::component::Component),
}

/// Which local cluster a command is about.
#[derive(clap::Args, Clone, Debug)]
pub struct Which {
    /// The cluster's name.
    #[arg(default_value = "hansa")]
    pub name: String,
    /// Where the cluster's data lies [default: $XDG_DATA_HOME/hansa/NAME].
    #[arg(long, env = "HANSA_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(clap::Args)]
struct VersionArgs {
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(clap::Args)]
struct CompletionArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Parses the arguments. Started through a link that carries a component's name, such as
/// `kube-scheduler`, the binary is that component.
pub fn parse() -> Cli {
    let mut arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let called = arguments.first().map(PathBuf::from).unwrap_or_default();
    let component = called.file_name().and_then(|name| name.to_str()).and_then(component_of);
    if let Some(component) = component {
        arguments.insert(1, component.into());
    }
    Cli::parse_from(arguments)
}

fn component_of(link: &str) -> Option<&'static str> {
    Some(match link {
        "kube-apiserver" => "apiserver",
        "kube-scheduler" => "scheduler",
        "kube-controller-manager" => "controller-manager",
        "cloud-controller-manager" => "cloud-controller-manager",
        "kubelet" => "kubelet",
        "kube-proxy" => "proxy",
        _ => return None,
    })
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever kept it from being done, to be shown to the user.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Up(args) => commands::up::run(args),
            Verb::Down(args) => commands::down::run(&args),
            Verb::Status(args) => commands::status::run(&args),
            Verb::List(args) => commands::list::run(&args),
            Verb::Logs(args) => commands::logs::run(&args),
            Verb::Image(args) => commands::image::run(args),
            Verb::Version(args) => version(args.output),
            Verb::Completion(args) => {
                let mut command = Cli::command();
                clap_complete::generate(args.shell, &mut command, "hansa", &mut std::io::stdout());
                Ok(ExitCode::SUCCESS)
            }
            Verb::Component(component) => commands::component::run(component),
        }
    }
}

fn version(output: Output) -> anyhow::Result<ExitCode> {
    let versions = serde_json::json!({
        "hansa": env!("CARGO_PKG_VERSION"),
        "kubernetes": hansa_api::version::GIT_VERSION,
    });
    output.print(&versions, || {
        println!("hansa {}", env!("CARGO_PKG_VERSION"));
        println!("Kubernetes {}", hansa_api::version::GIT_VERSION);
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn links_carry_the_components_own_names() {
        assert_eq!(component_of("kube-scheduler"), Some("scheduler"));
        assert_eq!(component_of("hansa"), None);
    }
}
