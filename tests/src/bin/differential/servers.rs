//! The two servers: ours over its own store, and the peer over etcd, on the same keys.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hansa_bootstrap::kubeconfig::Entry;
use hansa_bootstrap::pki::Pki;
use hansa_tests::Http;

/// The address range of both servers' Services.
const SERVICES: &str = "10.96.0.0/16";
/// The longest that a server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Processes that end with this value, and clients of the two servers.
pub struct Servers {
    /// Ours.
    pub ours: Http,
    /// Upstream's.
    pub peer: Http,
    _children: Vec<Owned>,
    _home: tempfile::TempDir,
}

/// A process that ends with this value.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The files that both servers are started with.
struct Keys {
    dir: PathBuf,
    pki: Pki,
}

impl Servers {
    /// Starts both and waits until they are ready.
    ///
    /// # Panics
    /// If one of them does not become ready; its log is in the folder that the message names.
    pub fn start(hansa: &Path, peer: &Path) -> Self {
        let home = tempfile::Builder::new().prefix("hansa-diff-").tempdir().expect("a folder");
        let keys = Keys::make(home.path());
        let (our_port, peer_port, etcd) = (free_port(), free_port(), free_port());
        let children = vec![
            run(home.path(), "hansa", &mut keys.hansa(hansa, our_port)),
            run(home.path(), "etcd", &mut etcd_command(home.path(), etcd)),
            run(home.path(), "kube-apiserver", &mut keys.peer(peer, peer_port, etcd)),
        ];
        let ours = keys.client("ours", our_port);
        let peer = keys.client("peer", peer_port);
        for (name, client) in [("hansa", &ours), ("kube-apiserver", &peer)] {
            wait(name, client, home.path());
        }
        Self { ours, peer, _children: children, _home: home }
    }
}

impl Keys {
    fn make(home: &Path) -> Self {
        let dir = home.join("pki");
        let pki = Pki::open(&dir).expect("keys can be made");
        let sans = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let serving = pki.apiserver(&sans).expect("a certificate can be made");
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("a file");
        write("serving.crt", &serving.certificate_pem);
        write("serving.key", &serving.key_pem);
        write("clients.crt", pki.ca_pem());
        Self { dir, pki }
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Flags that have the same names in both.
    fn common(&self, command: &mut Command, port: u16) {
        let issuer = "https://kubernetes.default.svc.cluster.local";
        for (flag, value) in [
            ("bind-address", "127.0.0.1"),
            ("secure-port", &port.to_string()),
            ("service-cluster-ip-range", SERVICES),
            ("tls-cert-file", &self.file("serving.crt")),
            ("tls-private-key-file", &self.file("serving.key")),
            ("client-ca-file", &self.file("clients.crt")),
            ("service-account-signing-key-file", &self.file("sa.key")),
            ("service-account-issuer", issuer),
        ] {
            command.arg(format!("--{flag}={value}"));
        }
    }

    fn hansa(&self, program: &Path, port: u16) -> Command {
        let mut command = Command::new(program);
        command.arg("apiserver");
        self.common(&mut command, port);
        command.arg(format!("--data-dir={}", self.file("../store")));
        command
    }

    fn peer(&self, folder: &Path, port: u16, etcd: u16) -> Command {
        let mut command = Command::new(folder.join("kube-apiserver"));
        self.common(&mut command, port);
        command.arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"));
        command.arg(format!("--service-account-key-file={}", self.file("sa.pub")));
        command.arg(format!("--cert-dir={}", self.file("../peer")));
        command.args(["--authorization-mode=Node,RBAC", "--endpoint-reconciler-type=none"]);
        command
    }

    fn client(&self, name: &str, port: u16) -> Http {
        let admin = self.pki.admin().expect("a certificate can be made");
        let server = format!("https://127.0.0.1:{port}");
        let path = self.dir.join(format!("{name}.conf"));
        let entry = Entry::admin(name, &server, self.pki.ca_pem(), admin);
        entry.write(&path).expect("a file can be written");
        Http::admin(&path)
    }
}

fn etcd_command(home: &Path, port: u16) -> Command {
    let mut command = Command::new("etcd");
    let (client, member) = (format!("http://127.0.0.1:{port}"), free_port());
    command.arg(format!("--data-dir={}", home.join("etcd").display()));
    command.args([
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
    ]);
    command.arg(format!("--listen-peer-urls=http://127.0.0.1:{member}"));
    command
}

fn run(home: &Path, name: &str, command: &mut Command) -> Owned {
    let log = File::create(home.join(format!("{name}.log"))).expect("a file");
    let errors = log.try_clone().expect("a file");
    let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
    Owned(child.unwrap_or_else(|error| panic!("failed to start {name}: {error}")))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

fn wait(name: &str, client: &Http, home: &Path) {
    let begun = Instant::now();
    while client.try_send("GET", "/readyz", &[], "").is_none_or(|answer| answer.code != 200) {
        if begun.elapsed() > PATIENCE {
            let log = fs::read_to_string(home.join(format!("{name}.log"))).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(20).collect();
            panic!(
                "{name} is not ready after {PATIENCE:?}; the end of its log, backwards: {end:#?}"
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
