//! The command line: parsed once, each verb with its own arguments.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::output::put;
use crate::{describe, explain, get, init, join, policy, taint, unjoin, version};

/// Federates Kubernetes clusters: a hub holds templates and policies, members run them.
#[derive(Parser)]
#[command(name = "fedctl", version = env!("CARGO_PKG_VERSION"), propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    host: Host,
    #[command(subcommand)]
    verb: Verb,
}

/// Where the hub is.
#[derive(Args, Clone, Debug, Default)]
pub struct Host {
    /// The kubeconfig [default: KUBECONFIG, then ~/.kube/config].
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// The hub's context [default: the current context].
    #[arg(long, alias = "context", global = true, env = "HANSA_HOST_CONTEXT")]
    pub host_cluster_context: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    /// Prepare a hub: kinds, namespaces, roles.
    Init(init::Options),
    /// Make a cluster a member.
    Join(Box<join::Options>),
    /// Let a member go.
    Unjoin(unjoin::Options),
    /// List clusters, workloads, policies, bindings or works.
    Get(get::Options),
    /// Show all about one cluster or binding.
    Describe(describe::Options),
    /// Say why an object is where it is.
    Explain(explain::Options),
    /// Placement policy components: what decides, what decided, and back.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Keep new workloads away from a member.
    Cordon(taint::Cordon),
    /// Let new workloads into a member again.
    Uncordon(taint::Cordon),
    /// Add or remove a member's taints.
    Taint(taint::Taint),
    /// Print versions.
    Version(version::Options),
    /// Print a shell's completion script.
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// Runs the verb.
    pub async fn run(self) -> anyhow::Result<()> {
        let host = &self.host;
        match self.verb {
            Verb::Init(options) => init::run(host, options).await,
            Verb::Join(options) => join::run(host, *options).await,
            Verb::Unjoin(options) => unjoin::run(host, options).await,
            Verb::Get(options) => get::run(host, options).await,
            Verb::Describe(options) => describe::run(host, options).await,
            Verb::Explain(options) => explain::run(host, options).await,
            Verb::Policy(command) => policy::run(host, command).await,
            Verb::Cordon(options) => taint::cordon(host, options, true).await,
            Verb::Uncordon(options) => taint::cordon(host, options, false).await,
            Verb::Taint(options) => taint::run(host, options).await,
            Verb::Version(options) => version::run(host, options).await,
            Verb::Completion { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "fedctl", &mut script);
                put!("{}", String::from_utf8_lossy(&script));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_that_scripts_use_are_understood() {
        for line in [
            "fedctl init --dry-run",
            "fedctl join eu --cluster-context a --host-cluster-context b --kubeconfig /x",
            "fedctl join eu --print-rbac --mode push --provider p --region r --zone a --zone b",
            "fedctl get clusters -o wide",
            "fedctl get workloads -n shop -o json",
            "fedctl explain deployment/web -n shop",
            "fedctl unjoin eu --force --orphan",
            "fedctl policy rollback spread --to sha256:00",
            "fedctl taint eu key=value:NoSchedule other:NoExecute-",
            "fedctl completion bash",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|e| e.to_string()).unwrap());
        }
        assert!(Cli::try_parse_from(["fedctl", "join"]).is_err());
    }
}
