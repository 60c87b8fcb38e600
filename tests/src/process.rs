//! Real clusters: `hansa up --foreground` in a process and a folder of its own.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::Http;
use crate::kubectl::{Kubectl, Version};
use crate::wait::{eventually, soon};

/// What kind of cluster to start.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Its name, and its region's.
    pub name: &'static str,
    /// `wasm`, `hollow` or `containerd`.
    pub runtime: &'static str,
    /// How many nodes.
    pub nodes: u16,
    /// A federation hub.
    pub hub: bool,
}

/// A cluster that lives as long as this value, or, if that is static, as long as the test process.
pub struct Cluster {
    options: Options,
    home: TempDir,
    port: u16,
    /// Further arguments of `hansa up`.
    more: Vec<String>,
    keeper: Child,
}

/// Runs a command and kills it when standard input ends, which it does when the test process is
/// gone for whatever reason: values in statics are never dropped. Then removes the folder.
const KEEPER: &str = r#"
trap '' INT
home=$1; shift
"$@" </dev/null >>"$home/out" 2>&1 &
child=$!
read -r _
kill -9 $child 2>/dev/null
wait $child
rm -rf "$home"
"#;

impl Cluster {
    /// Starts a cluster and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready; with the end of its log.
    pub fn start(options: &Options) -> Self {
        Self::start_with(options, &[])
    }

    /// Starts a cluster with further arguments, such as `--cri-endpoint=…`.
    ///
    /// # Panics
    /// If it does not become ready; with the end of its log.
    pub fn start_with(options: &Options, more: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("hansa-it-").tempdir().expect("a folder");
        let port = free_port();
        let more: Vec<String> = more.iter().map(ToString::to_string).collect();
        let keeper = keep(options, home.path(), port, &more);
        let cluster = Self { options: *options, home, port, more, keeper };
        cluster.wait_ready();
        cluster
    }

    /// Kills the process outright, as a crash does, and waits until it is gone.
    pub fn kill(&mut self) {
        let pid = self.pid();
        let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
        assert!(status.expect("kill runs").success());
        soon("the killed process is gone", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z")
        });
    }

    /// Starts the process again on the same data, and waits until it is ready.
    pub fn restart(&mut self) {
        // The keeper would remove the data: it is killed before its input ends.
        self.keeper.kill().expect("the keeper is our child");
        self.keeper.wait().expect("the keeper is our child");
        self.keeper = self.keep();
        self.wait_ready();
    }

    /// The process.
    pub fn pid(&self) -> u64 {
        self.state()["pid"].as_u64().expect("a running cluster says its pid")
    }

    /// Whether every component of the running process works.
    pub fn is_ready(&self) -> bool {
        let own = self.state();
        let alive = own["pid"].as_u64().is_some_and(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            stat.contains(&*self.home.path().to_string_lossy())
        });
        alive && own["ready"] == true
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("admin.conf")
    }

    /// The CA that the API server's certificate is signed by.
    pub fn ca_pem(&self) -> String {
        fs::read_to_string(self.dir().join("pki/ca.crt")).expect("the CA's certificate is there")
    }

    /// The key that signs the tokens of service accounts, PEM.
    pub fn service_account_key_pem(&self) -> Vec<u8> {
        fs::read(self.dir().join("pki/sa.key")).expect("the signing key is there")
    }

    /// A kubectl in a namespace that is there, or will be.
    pub fn kubectl_in(&self, version: Version, namespace: &str) -> Kubectl {
        Kubectl::new(version, self.kubeconfig(), self.home.path(), namespace)
    }

    /// A kubectl with a namespace of its own, which this makes.
    pub fn kubectl(&self, version: Version, scenario: &str) -> Kubectl {
        let namespace = format!("{}-{}", scenario.replace('_', "-"), version.suffix());
        let kubectl = self.kubectl_in(version, &namespace);
        kubectl.ok(&["create", "namespace", &namespace]);
        soon("the namespace has its service account", || {
            kubectl.run(&["get", "serviceaccount", "default"]).success
        });
        kubectl
    }

    /// Raw requests as the administrator.
    pub fn http(&self) -> Http {
        Http::admin(&self.kubeconfig())
    }

    /// Raw requests with this bearer token, or without any credential.
    pub fn http_as(&self, token: Option<&str>) -> Http {
        Http::bearer(&self.kubeconfig(), token)
    }

    /// Puts a built guest under a reference on every node.
    pub fn import(&self, guest: &str, reference: &str) {
        let file = guests().join(guest);
        let mut command = hansa(self.home.path());
        command.args(["image", "import", "--cluster", self.options.name]).arg(&file).arg(reference);
        let output = command.output().expect("hansa runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} is not imported: {error}", file.display());
    }

    /// Runs another command of `hansa` on this cluster's home.
    pub fn hansa(&self, args: &[&str]) -> std::process::Output {
        hansa(self.home.path()).args(args).output().expect("hansa runs")
    }

    fn keep(&self) -> Child {
        keep(&self.options, self.home.path(), self.port, &self.more)
    }

    /// Where the cluster keeps everything.
    pub fn dir(&self) -> PathBuf {
        self.home.path().join("data/hansa").join(self.options.name)
    }

    fn state(&self) -> Value {
        let bytes = fs::read(self.dir().join("state.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn wait_ready(&self) {
        let out = self.home.path().join("out");
        eventually(&format!("cluster {} is ready", self.options.name), || {
            let log = fs::read_to_string(&out).unwrap_or_default();
            assert!(
                !log.lines().any(|line| line.starts_with("hansa: ")),
                "cluster {} does not start: {log}",
                self.options.name
            );
            self.is_ready().then_some(())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn keep(options: &Options, home: &Path, port: u16, more: &[String]) -> Child {
    let mut args = vec!["up".to_owned(), options.name.to_owned(), "--foreground".to_owned()];
    match options.hub {
        true => args.push("--hub".to_owned()),
        false => args.extend([
            format!("--runtime={}", options.runtime),
            format!("--nodes={}", options.nodes),
            format!("--region={}", options.name),
        ]),
    }
    args.extend_from_slice(more);
    args.push(format!("--api-port={port}"));
    args.push(format!("--data-dir={}", home.join("data/hansa").join(options.name).display()));
    let program = hansa(home);
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "keeper"]).arg(home).arg(program.get_program()).args(args);
    for (name, value) in program.get_envs() {
        keeper.env(name, value.unwrap_or_default());
    }
    keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    keeper.spawn().expect("a shell runs")
}

/// `hansa` with everything of its own below `home`.
fn hansa(home: &Path) -> Command {
    let mut command = Command::new(binary("hansa"));
    command.env("XDG_DATA_HOME", home.join("data"));
    command.env("KUBECONFIG", home.join("kubeconfig"));
    command.env("HOME", home);
    command.env("HANSA_GUESTS", guests());
    command
}

/// A built binary beside the test's own.
pub(crate) fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    // A test lies in target/<profile>/deps, the bench program in target/<profile>.
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: run `cargo build --bins`"))
}

/// Where the built guests lie.
///
/// # Panics
/// If they are not built.
pub fn guests() -> PathBuf {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests");
    assert!(guests.is_dir(), "{} is missing: run `cargo xtask guests`", guests.display());
    guests
}

/// A port of 127.0.0.1 that nobody listens on, and that the kernel gives to nobody by itself: one out
/// of its own range could be the near end of some connection by the time it is bound.
///
/// # Panics
/// If a thousand ports in a row are taken.
pub fn free_port() -> u16 {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 100).expect("it is less than 100") * 100;
    let ports = (0..1000).map(|_| 20_000 + (own + COUNT.fetch_add(1, Ordering::Relaxed)) % 10_000);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a port is free")
}

/// Writes a file below the cluster's home and answers its path.
pub(crate) fn write(home: &Path, name: &str, content: &str) -> PathBuf {
    let path = home.join(name);
    let mut file = fs::File::create(&path).expect("the folder is writable");
    file.write_all(content.as_bytes()).expect("the disk is not full");
    path
}
