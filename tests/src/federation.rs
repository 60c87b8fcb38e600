//! A hub and two members, each a real cluster, with real `fedctl` on all of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::kubectl::{LIMIT_SECS, Output, output};
use crate::process::{Cluster, Options, binary};

/// The hub `league` and the members `eu-west` and `us-east`, named like their contexts.
pub struct League {
    /// The hub.
    pub hub: Cluster,
    /// A member, in the region `eu-west`.
    pub eu: Cluster,
    /// A member, in the region `us-east`.
    pub us: Cluster,
    /// `fedctl`; the hub's is its default context.
    pub fedctl: Fedctl,
}

/// `fedctl` with some kubeconfigs.
pub struct Fedctl {
    home: TempDir,
    kubeconfigs: Vec<PathBuf>,
}

impl League {
    /// Starts the three at once and waits until they are ready. Nothing is joined yet.
    ///
    /// # Panics
    /// If one does not become ready.
    pub fn start() -> Self {
        let member = |name| Options { name, runtime: "hollow", nodes: 1, hub: false };
        let all = [
            Options { name: "league", runtime: "hollow", nodes: 0, hub: true },
            member("eu-west"),
            member("us-east"),
        ];
        let starting = all.map(|options| thread::spawn(move || Cluster::start(&options)));
        let [hub, eu, us] = starting.map(|one| one.join().expect("the cluster starts"));
        let kubeconfigs = vec![hub.kubeconfig(), eu.kubeconfig(), us.kubeconfig()];
        Self { hub, eu, us, fedctl: Fedctl::new(kubeconfigs) }
    }

    /// Runs `fedctl`; the hub is its default context.
    pub fn fedctl(&self, args: &[&str]) -> Output {
        self.fedctl.run(args)
    }

    /// Runs `fedctl`, which must succeed; answers its standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn fedctl_ok(&self, args: &[&str]) -> String {
        let output = self.fedctl(args);
        assert!(output.success, "fedctl {args:?} failed: {output:#?}");
        output.stdout
    }
}

impl Fedctl {
    /// With these kubeconfigs; the first one's context is the default.
    pub fn new(kubeconfigs: Vec<PathBuf>) -> Self {
        let home = tempfile::Builder::new().prefix("hansa-it-").tempdir().expect("a folder");
        Self { home, kubeconfigs }
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        let paths = std::env::join_paths(&self.kubeconfigs).expect("no path has a colon");
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", LIMIT_SECS]).arg(binary("fedctl")).args(args);
        command.env("HOME", self.home.path()).env("KUBECONFIG", paths);
        command.env_remove("HANSA_HOST_CONTEXT");
        output(command.stdin(Stdio::null()))
    }

    /// Makes one more context known: a server that nobody needs to be.
    pub fn add_context(&mut self, name: &str, server: &str) {
        let path = write_kubeconfig(self.home.path(), name, server);
        self.kubeconfigs.push(path);
    }
}

fn write_kubeconfig(folder: &Path, name: &str, server: &str) -> PathBuf {
    let content = format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: {name}, cluster: {{server: '{server}'}}}}]
users: [{{name: {name}, user: {{token: none}}}}]
contexts: [{{name: {name}, context: {{cluster: {name}, user: {name}}}}}]
"
    );
    crate::process::write(folder, &format!("{name}.conf"), &content)
}
