//! Clusters on a real etcd: everything is in there, apart from each other's, and outlives the
//! process; while etcd is away the API says so and changes nothing.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use hansa_tests::free_port;
use hansa_tests::{Cluster, Options, Version, eventually, soon};
use tempfile::TempDir;

use crate::scenario::{config_map, deployment};

/// An etcd of the test's own.
struct Etcd {
    process: Child,
    folder: TempDir,
    ports: [u16; 2],
}

impl Etcd {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("hansa-etcd-").tempdir().unwrap();
        let ports = [free_port(), free_port()];
        let process = Self::spawn(&folder, ports);
        soon("etcd listens", || TcpStream::connect(("127.0.0.1", ports[0])).is_ok());
        Self { process, folder, ports }
    }

    fn spawn(folder: &TempDir, ports: [u16; 2]) -> Child {
        let [client, peer] = ports.map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(folder.path()).args(["--listen-client-urls", &client]);
        command.args(["--advertise-client-urls", &client, "--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("etcd is installed: run `cargo xtask setup`")
    }

    fn argument(&self) -> String {
        format!("--etcd-servers=http://127.0.0.1:{}", self.ports[0])
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.process = Self::spawn(&self.folder, self.ports);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn cluster(name: &'static str, etcd: &Etcd) -> Cluster {
    let options = Options { name, runtime: "hollow", nodes: 1, hub: false };
    Cluster::start_with(&options, &[&etcd.argument()])
}

#[test]
fn two_clusters_live_in_one_etcd() {
    let mut etcd = Etcd::start();
    let (mut one, other) = (cluster("one", &etcd), cluster("other", &etcd));
    let kubectl = one.kubectl(Version::V1_33, "etcd");
    kubectl.apply(&deployment("web", 2));
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    kubectl.apply(&config_map("last", "k", "acknowledged"));
    let namespace = format!("/api/v1/namespaces/{}", kubectl.namespace);
    assert_eq!(other.http().get(&namespace).code, 404, "each sees its own only");
    assert!(!one.dir().join("store").exists(), "nothing is kept beside etcd");
    let pods = || kubectl.path(&["pods", "-l", "app=web"], "{.items[*].metadata.uid}");
    let before = pods();
    one.kill();
    one.restart();
    assert_eq!(kubectl.path(&["cm", "last"], "{.data.k}"), "acknowledged");
    assert_eq!(pods(), before, "the same pods");
    an_absent_etcd_is_told(&mut etcd, &one);
}

fn an_absent_etcd_is_told(etcd: &mut Etcd, cluster: &Cluster) {
    let http = cluster.http();
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = serde_json::json!({"metadata": {"name": "never"}});
    etcd.kill();
    http.post(maps, &map).assert_status(503, "ServiceUnavailable");
    assert_eq!(http.get("/readyz").code, 500);
    etcd.start_again();
    soon("the API answers again", || http.get("/readyz").code == 200);
    let code = eventually("writes are taken again", || {
        Some(http.post(maps, &map).code).filter(|code| *code < 500)
    });
    assert_eq!(code, 201, "what was refused was not written");
}
