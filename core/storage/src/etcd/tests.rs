//! The backend against a real etcd, which the tests start and end themselves.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use super::*;
use crate::{Event, WatchItem};

/// A real etcd on loopback; ends with the value.
struct Server {
    child: Child,
    ports: [u16; 2],
    dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports();
        let child = spawn(dir.path(), ports);
        let server = Self { child, ports, dir };
        server.ready().await;
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    fn options(&self) -> Options {
        Options { prefix: "/league".into(), keep: None, ..Options::new([self.url()]) }
    }

    async fn connect(&self) -> Etcd {
        Etcd::connect(self.options()).await.unwrap()
    }

    async fn ready(&self) {
        loop {
            if let Ok(store) = Etcd::connect(self.options()).await
                && store.health().await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn start_again(&mut self) {
        self.child = spawn(self.dir.path(), self.ports);
        self.ready().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A CA with a certificate that serves for 127.0.0.1 and as a client's, as PEM files in `dir`.
fn write_pki(dir: &Path) -> [PathBuf; 3] {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new([]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let cert = leaf.signed_by(&key, &rcgen::Issuer::new(ca, ca_key)).unwrap();
    let files = [("ca", ca_cert.pem()), ("cert", cert.pem()), ("key", key.serialize_pem())];
    files.map(|(name, pem)| {
        let path = dir.join(format!("{name}.pem"));
        std::fs::write(&path, pem).unwrap();
        path
    })
}

/// Two ports that were free a moment ago.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn spawn(dir: &Path, ports: [u16; 2]) -> Child {
    spawn_with(dir, ports, "http", &[])
}

fn spawn_with(dir: &Path, [client, peer]: [u16; 2], scheme: &str, flags: &[String]) -> Child {
    let client = format!("{scheme}://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    Command::new("etcd")
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(["--name", "one", "--log-level", "error", "--logger", "zap"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("one={peer}")])
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start etcd; it comes with the Debian package etcd-server")
}

async fn put(store: &Etcd, key: &str) -> Revision {
    match store.put(key.as_bytes(), Bytes::from("x"), Expect::Any, 0).await.unwrap() {
        Outcome::Committed { revision, .. } => revision,
        Outcome::Conflict { .. } => unreachable!("no expectation"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn etcd_passes_the_suite() {
    let server = Server::start().await;
    crate::suite::run(Arc::new(server.connect().await)).await;
}

#[tokio::test]
async fn tls_proves_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    let [ca, cert, key] = write_pki(dir.path());
    let ports = free_ports();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut flags = vec!["--client-cert-auth".to_owned()];
    for (flag, file) in [("--trusted-ca-file", &ca), ("--cert-file", &cert), ("--key-file", &key)] {
        flags.extend([flag.to_owned(), path(file)]);
    }
    let child = spawn_with(dir.path(), ports, "https", &flags);
    let server = Server { child, ports, dir };
    let plain = Options { ca: Some(ca), ..Options::new([server.url().replace("http", "https")]) };
    let options = Options { cert: Some(cert), key: Some(key), ..plain.clone() };
    let store = loop {
        match Etcd::connect(options.clone()).await {
            Ok(store) => break store,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    put(&store, "/a").await;
    assert!(Etcd::connect(plain).await.is_err(), "a client without a certificate is refused");
    let half = Options { key: None, ..options };
    assert!(matches!(Etcd::connect(half).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn clusters_with_their_own_prefixes_do_not_see_each_other() {
    let server = Server::start().await;
    let one = server.connect().await;
    let other = Etcd::connect(Options { prefix: "/leaguf".into(), ..server.options() }).await;
    let other = other.unwrap();
    let mut watch = other.watch(b"", None).await.unwrap();
    put(&one, "/a").await;
    let mine = put(&other, "/a").await;
    assert_eq!(one.count(b"").await.unwrap(), 1);
    let found = other.range(RangeQuery::default()).await.unwrap().kvs;
    assert_eq!((found.len(), &found[0].key[..], found[0].mod_revision), (1, &b"/a"[..], mine));
    assert_eq!(next_put(&mut watch).await, ("/a".into(), mine));
}

#[tokio::test]
async fn a_watch_goes_on_after_the_server_was_killed() {
    let mut server = Server::start().await;
    let options = Options { watch_patience: Duration::from_millis(200), ..server.options() };
    let store = Etcd::connect(options).await.unwrap();
    let mut watch = store.watch(b"/", None).await.unwrap();
    let before = put(&store, "/before").await;
    assert_eq!(next_put(&mut watch).await, ("/before".into(), before));
    server.kill();
    let watching = tokio::spawn(async move { next_put(&mut watch).await });
    server.start_again().await;
    let again = server.connect().await;
    let after = put(&again, "/after").await;
    assert_eq!(watching.await.unwrap(), ("/after".into(), after));
}

#[tokio::test]
async fn a_watch_ends_when_the_server_stays_away() {
    let mut server = Server::start().await;
    let short = Duration::from_millis(100);
    let options = Options { watch_patience: short, resume_for: short, ..server.options() };
    let store = Etcd::connect(options).await.unwrap();
    let mut watch = store.watch(b"/", None).await.unwrap();
    server.kill();
    let item = watch.next().await;
    assert!(matches!(item, Some(Err(Error::Unavailable(_)))), "{item:?}");
    assert!(watch.next().await.is_none());
    assert!(matches!(store.health().await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn large_answers_are_put_together_from_pages() {
    let server = Server::start().await;
    let store = server.connect().await;
    for index in 0..PAGE + 10 {
        put(&store, &format!("/{index:05}")).await;
    }
    let all = store.range(RangeQuery::default()).await.unwrap();
    assert_eq!((all.kvs.len(), all.more), (PAGE + 10, false));
    assert!(all.kvs.is_sorted_by(|a, b| a.key < b.key));
    let query = RangeQuery { limit: PAGE + 3, ..RangeQuery::default() };
    let most = store.range(query).await.unwrap();
    assert_eq!((most.kvs.len(), most.more, most.remaining), (PAGE + 3, true, 7));
}

async fn next_put(watch: &mut WatchStream) -> (String, Revision) {
    loop {
        match watch.next().await.unwrap().unwrap() {
            WatchItem::Progress(_) => {}
            WatchItem::Events(events) => match &events[..] {
                [Event::Put { kv, .. }] => {
                    return (String::from_utf8(kv.key.to_vec()).unwrap(), kv.mod_revision);
                }
                other => panic!("{other:?}"),
            },
        }
    }
}

#[test]
fn releases_with_exact_progress_are_known() {
    for version in ["3.4.31", "3.5.13", "3.6.0", "3.6.0-rc.1", "4.0.0"] {
        assert!(has_exact_progress(version), "{version}");
    }
    for version in ["3.4.23", "3.5.12", "3.3.99", "unknown", ""] {
        assert!(!has_exact_progress(version), "{version}");
    }
}
