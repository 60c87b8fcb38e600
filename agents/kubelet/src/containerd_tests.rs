//! A pod on real containerd and runc, through the kubelet's code and its HTTPS server: started,
//! probed, read, entered over WebSocket and SPDY, restarted, deleted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use hansa_api::k8s_openapi::api::core::v1::Pod;
use hansa_client::Change;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;

use crate::api::fake::Fake;
use crate::config::Config;
use crate::context::Context;
use crate::cri::Cri;
use crate::manager::Manager;
use crate::server::Server;
use crate::server::spdy::{Role, Session};
use crate::testing::Containerd;
use crate::testing::containerd::BUSYBOX;

const PATIENCE: Duration = Duration::from_secs(60);

/// A CA, a certificate for the apiserver, and one for somebody else.
struct Pki {
    ca_pem: String,
    apiserver: (String, String),
    stranger: (String, String),
}

fn pki() -> Pki {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let client = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let (apiserver, stranger) = (client("system:apiserver"), client("jane"));
    Pki { ca_pem: ca.pem(), apiserver, stranger }
}

/// A client of the kubelet's server.
struct Client {
    address: SocketAddr,
    connector: tokio_rustls::TlsConnector,
}

#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Client {
    fn new(address: SocketAddr, (certificate, key): &(String, String)) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_client_auth_cert(chain, key)
            .unwrap();
        Self { address, connector: tokio_rustls::TlsConnector::from(Arc::new(config)) }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::from(self.address.ip());
        self.connector.connect(name, stream).await.unwrap()
    }

    async fn send(
        &self,
        request: http::request::Builder,
    ) -> hyper::Response<hyper::body::Incoming> {
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let request = request.header("host", "kubelet").body(Empty::<Bytes>::new()).unwrap();
        sender.send_request(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.send(http::Request::get(path)).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// Runs a command over WebSocket: what came on each channel.
    async fn exec(&self, path: &str, stdin: Option<&str>) -> [String; 4] {
        let mut request = format!("wss://kubelet{path}").into_client_request().unwrap();
        let protocol = http::HeaderValue::from_static("v5.channel.k8s.io");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let stream = self.connect().await;
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        if let Some(text) = stdin {
            let message = [&[0], text.as_bytes()].concat();
            socket.send(Message::binary(message)).await.unwrap();
            socket.send(Message::binary(vec![255, 0])).await.unwrap();
        }
        let mut channels: [Vec<u8>; 4] = Default::default();
        let mut close = None;
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Binary(bytes) => {
                    channels[usize::from(bytes[0])].extend_from_slice(&bytes[1..]);
                }
                Message::Close(frame) => close = frame,
                _ => {}
            }
        }
        assert_eq!(close.map(|frame| u16::from(frame.code)), Some(1000), "kubectl wants a code");
        channels.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// Runs a command over SPDY, passed through to the runtime.
    async fn exec_spdy(&self, path: &str) -> String {
        let request = http::Request::post(path)
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .header("x-stream-protocol-version", "v4.channel.k8s.io");
        let answer = self.send(request).await;
        assert_eq!(answer.status(), 101);
        let io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        let session = Session::new(io, Role::Client).unwrap();
        let named = |kind: &str| vec![("streamtype".to_string(), kind.to_string())];
        let _error = session.open(named("error")).await.unwrap();
        let mut stdout = session.open(named("stdout")).await.unwrap();
        let mut text = Vec::new();
        while let Some(bytes) = stdout.incoming.recv().await {
            text.extend_from_slice(&bytes);
        }
        String::from_utf8(text).unwrap()
    }
}

fn pod(port: u16) -> Value {
    let script = format!(
        "echo hello from $POD_NAME; echo oops >&2; mkdir -p /www; \
         busybox cp /data/greeting /www/index.html; \
         trap 'exit 0' TERM; httpd -p 127.0.0.1:{port} -h /www; while :; do sleep 1; done"
    );
    json!({
        "metadata": {"name": "box", "namespace": "shop", "uid": "uid-box"},
        "spec": {
            "hostNetwork": true, "restartPolicy": "Always", "terminationGracePeriodSeconds": 5,
            "volumes": [{"name": "data", "configMap": {"name": "cm"}}],
            "initContainers": [{"name": "prepare", "image": BUSYBOX,
                "command": ["/bin/sh", "-c", "echo prepared > /data-out/x"],
                "volumeMounts": [{"name": "scratch", "mountPath": "/data-out"}]}],
            "containers": [{
                "name": "web", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/busybox", "sh", "-c", script],
                "env": [{"name": "POD_NAME",
                    "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"},
                                 {"name": "scratch", "mountPath": "/scratch"}],
                "livenessProbe": {"periodSeconds": 1, "failureThreshold": 1, "exec":
                    {"command": ["/bin/busybox", "test", "!", "-e", "/tmp/sick"]}},
                "readinessProbe": {"httpGet": {"path": "/", "port": port}, "periodSeconds": 1},
                "resources": {"limits": {"memory": "64Mi"}},
            }],
        },
    })
}

async fn wait<T>(api: &Fake, what: &str, mut test: impl FnMut(&Fake) -> Option<T>) -> T {
    let trying = async {
        loop {
            if let Some(found) = test(api) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, trying).await {
        Ok(found) => found,
        Err(_) => panic!("{what}: {:#?}\n{:#?}", api.get("shop", "box"), api.events.lock()),
    }
}

/// Ready after exactly this many restarts.
fn ready(api: &Fake, restarts: i32) -> Option<Pod> {
    let pod = api.get("shop", "box")?;
    let web = pod.status.as_ref()?.container_statuses.as_ref()?.first()?.clone();
    (web.ready && web.restart_count == restarts).then_some(pod)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const EXEC: &str = "/exec/shop/box/web?output=1&error=1&command=/bin/busybox&command=";

/// Logs for the apiserver, nothing but health for a stranger.
async fn check_doors(client: &Client, stranger: &Client) {
    let logs = client.get("/containerLogs/shop/box/web").await;
    let mut lines: Vec<_> = logs.1.lines().collect();
    lines.sort_unstable();
    assert_eq!((logs.0, lines), (200, vec!["hello from box", "oops"]));
    assert_eq!(stranger.get("/containerLogs/shop/box/web").await.0, 401);
    assert_eq!(stranger.get("/healthz").await, (200, "ok".to_string()));
}

/// Output, exit codes, the end of input; over WebSocket and over SPDY.
async fn check_sessions(client: &Client) {
    let [_, out, _, status] = client.exec(&format!("{EXEC}cat&command=/scratch/x"), None).await;
    assert_eq!(out, "prepared\n");
    assert!(status.contains(r#""status":"Success""#), "{status}");
    let [_, out, err, status] =
        client.exec(&format!("{EXEC}sh&command=-c&command=echo+no+%3E%262;exit+3"), None).await;
    assert_eq!((out.as_str(), err.as_str()), ("", "no\n"));
    assert!(status.contains("NonZeroExitCode") && status.contains('3'), "{status}");
    let cat = "/exec/shop/box/web?input=1&output=1&command=/bin/busybox&command=cat";
    let [_, out, _, _] = client.exec(cat, Some("to the end of input")).await;
    assert_eq!(out, "to the end of input");
    let spdy = "/exec/shop/box/web?output=1&command=/bin/busybox&command=echo&command=over+spdy";
    assert_eq!(client.exec_spdy(spdy).await, "over spdy\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_on_containerd_and_runc() {
    let dir = tempfile::tempdir().unwrap();
    let containerd = match Containerd::start(dir.path()) {
        Ok(containerd) => containerd,
        Err(text) if !nix::unistd::geteuid().is_root() => {
            eprintln!("skipped: {text}");
            return;
        }
        Err(text) => panic!("{text}"),
    };
    let api = Arc::new(Fake::default());
    let map = serde_json::from_value(json!({"data": {"greeting": "moin"}})).unwrap();
    api.config_maps.lock().insert("shop/cm".to_string(), map);
    let pki = pki();
    let socket = containerd.socket().display().to_string();
    let mut config = Config::new("node-1", &socket, dir.path().join("kubelet"));
    config.tls.client_ca_pem = Some(pki.ca_pem.clone());
    config.periods.relist = Duration::from_millis(100);
    config.periods.backoff = Duration::from_millis(200);
    let cri = Cri::new(&socket).unwrap();
    let runtime = crate::wait_for_runtime(&cri).await;
    let stop = CancellationToken::new();
    let context = Arc::new(Context::new(config, cri.clone(), api.clone(), runtime));
    let server = Server::bind(context.clone(), Arc::new(Vec::new)).await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], server.port().unwrap()));
    tokio::spawn(server.run(stop.clone()));
    let (changes, receiver) = unbounded_channel();
    let manager = tokio::spawn(Manager::run(context, receiver, async {}, stop.clone()));

    let mut wanted = pod(free_port());
    let scratch = json!({"name": "scratch", "emptyDir": {}});
    wanted["spec"]["volumes"].as_array_mut().unwrap().push(scratch);
    let wanted: Pod = serde_json::from_value(wanted).unwrap();
    api.put(&wanted);
    changes.send(Change::Applied { old: None, new: Arc::new(wanted.clone()) }).unwrap();
    wait(&api, "the pod must become ready", |api| ready(api, 0)).await;

    let client = Client::new(address, &pki.apiserver);
    check_doors(&client, &Client::new(address, &pki.stranger)).await;
    check_sessions(&client).await;
    client.exec(&format!("{EXEC}touch&command=/tmp/sick"), None).await;
    wait(&api, "the sick container must be restarted", |api| ready(api, 1)).await;
    let previous = client.get("/containerLogs/shop/box/web?previous=true&tailLines=1").await;
    assert_eq!(previous.0, 200, "{}", previous.1);

    let mut ending = api.get("shop", "box").unwrap();
    let now = hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    ending.metadata.deletion_timestamp = Some(now(jiff::Timestamp::now()));
    ending.metadata.deletion_grace_period_seconds = Some(5);
    changes.send(Change::Applied { old: None, new: Arc::new(ending) }).unwrap();
    wait(&api, "the pod must go", |api| api.get("shop", "box").is_none().then_some(())).await;
    let folder = dir.path().join("kubelet/pods/uid-box");
    let containers = || containerd.ctr(&["containers", "list", "-q"]).unwrap();
    let empty = async {
        while folder.exists() || !containers().trim().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, empty).await.expect("nothing of the pod is left");
    stop.cancel();
    manager.await.unwrap();
}
