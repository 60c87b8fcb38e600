//! The server as clients meet it: TLS, identities, RBAC, tokens, discovery, shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use hansa_bootstrap::pki::{CertKey, Pki};
use hansa_storage::embedded::Engine;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::tls::{Material, ServingTls};
use super::*;
use crate::body::{empty, full};

/// A served cluster in a temporary directory.
struct Cluster {
    pki: Pki,
    address: SocketAddr,
    server: Arc<ApiServer>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let serving = pki.apiserver(&[]).unwrap();
        let material = Material {
            certificate_pem: serving.certificate_pem.into(),
            key_pem: serving.key_pem.into(),
            client_ca_pem: Some(pki.ca_pem().into()),
            front_proxy_ca_pem: Some(pki.front_proxy_ca_pem().into()),
        };
        let config = Config {
            service_account_key_pem: pki.service_account_key_pem().unwrap().into(),
            service_cidr: "127.99.128.0/17".into(),
            ..Config::default()
        };
        let stop = CancellationToken::new();
        let storage = Arc::new(Engine::ephemeral().unwrap());
        let server = ApiServer::new(config, storage, stop.clone()).await.unwrap();
        server.ready().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = ServingTls::new(&material).unwrap();
        let serving = {
            let (server, stop) = (server.clone(), stop.clone());
            tokio::spawn(async move { server.serve(listener, tls, stop).await })
        };
        Self { pki, address, server, stop, serving, _dir: dir }
    }

    fn client(&self, certificate: Option<CertKey>) -> Client {
        let provider = tls::provider();
        let roots = tls::roots(self.pki.ca_pem().as_bytes(), "CA").unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain =
                    vec![CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Client { config, address: self.address, token: None }
    }

    fn admin(&self) -> Client {
        self.client(Some(self.pki.admin().unwrap()))
    }

    fn user(&self, name: &str) -> Client {
        self.client(Some(self.pki.client(name, &[]).unwrap()))
    }
}

/// Who asks, and where; every request has a connection of its own.
struct Client {
    config: rustls::ClientConfig,
    address: SocketAddr,
    token: Option<String>,
}

impl Client {
    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map_or_else(empty, |body| full(body.to_string()));
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let mut config = self.config.clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = self.connect(config).await;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap().map(crate::body::boxed)
    }

    async fn connect(
        &self,
        config: rustls::ClientConfig,
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(self.address).await.unwrap();
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let response = self.send(method, path, body).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, None).await
    }

    async fn create(&self, path: &str, body: Value) -> Value {
        let (code, answer) = self.ask("POST", path, Some(&body)).await;
        assert_eq!(code, 201, "{answer}");
        answer
    }
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn everybody_gets_what_their_identity_allows() {
    let cluster = Cluster::start().await;
    let nobody = cluster.client(None);
    assert_eq!(nobody.get("/readyz").await.0, 200);
    assert_eq!(nobody.get("/version").await.1["minor"], "36");
    let (code, refusal) = nobody.get(MAPS).await;
    assert_eq!(code, 403);
    assert_eq!(
        refusal["message"],
        "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" \
         in API group \"\" in the namespace \"default\""
    );
    let admin = cluster.admin();
    admin.create(MAPS, map("a")).await;
    assert_eq!(admin.get(MAPS).await.1["items"][0]["metadata"]["name"], "a");
    let scheduler = cluster.user("system:kube-scheduler");
    assert_eq!(scheduler.get("/api/v1/nodes").await.0, 200);
    assert_eq!(scheduler.get("/api/v1/secrets").await.0, 403);
    assert_eq!(scheduler.get("/apis/apps/v1").await.1["kind"], "APIResourceList");
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_unauthorized_not_disconnected() {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let stranger = Pki::open(dir.path()).unwrap().admin().unwrap();
    let (code, answer) = cluster.client(Some(stranger)).get("/version").await;
    assert_eq!((code, &answer["reason"]), (401, &json!("Unauthorized")));
}

#[tokio::test]
async fn a_front_proxy_asks_for_whom_it_names_and_nobody_else_does() {
    let cluster = Cluster::start().await;
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let ask = async |client: Client, user: Option<&str>| {
        let mut config = client.config.clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = client.connect(config).await;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post(review).header("host", "localhost");
        if let Some(user) = user {
            request = request.header("x-remote-user", user).header("x-remote-group", "dev");
        }
        let response = sender.send_request(request.body(full("{}")).unwrap()).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let proxy = || cluster.client(Some(cluster.pki.front_proxy_client().unwrap()));
    let info = &ask(proxy(), Some("ann")).await["status"]["userInfo"];
    assert_eq!(
        (&info["username"], &info["groups"]),
        (&json!("ann"), &json!(["dev", "system:authenticated"]))
    );
    assert_eq!(ask(proxy(), None).await["code"], 401, "it is no user itself");
    let own = ask(cluster.user("bob"), Some("ann")).await;
    assert_eq!(own["status"]["userInfo"]["username"], "bob");
}

#[tokio::test]
async fn a_service_accounts_token_works_until_the_account_is_gone() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin.create(accounts, json!({"metadata": {"name": "till"}})).await;
    let request = json!({"spec": {"expirationSeconds": 600}});
    let issued = admin.create(&format!("{accounts}/till/token"), request).await;
    let token = issued["status"]["token"].as_str().unwrap().to_string();
    let mut till = cluster.client(None);
    till.token = Some(token.clone());
    assert_eq!(till.get(MAPS).await.0, 403, "known, but without rights");
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "till", "namespace": "default"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    admin.create(bindings, binding).await;
    eventually(async || till.get(MAPS).await.0 == 200).await;
    assert_eq!(till.get("/api/v1/namespaces/default/secrets").await.0, 403);
    till.token = Some(format!("{token}x"));
    assert_eq!(till.get(MAPS).await.0, 401, "forged");
    let fresh = admin.create(&format!("{accounts}/till/token"), json!({"spec": {}})).await;
    assert_eq!(admin.ask("DELETE", &format!("{accounts}/till"), None).await.0, 200);
    till.token = fresh["status"]["token"].as_str().map(String::from);
    assert_eq!(till.get(MAPS).await.0, 401, "the account is gone");
}

async fn eventually(check: impl AsyncFn() -> bool) {
    let wait = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it never came true");
}

#[tokio::test]
async fn aggregated_roles_are_filled_and_rights_cannot_be_made_up() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let view = format!("{roles}/view");
    eventually(async || {
        admin.get(&view).await.1["rules"].as_array().is_some_and(|rules| rules.len() > 5)
    })
    .await;
    let may_write_roles = json!({"metadata": {"name": "r"}, "rules": [{"verbs": ["*"],
        "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
        "resourceNames": ["mine"]}, {"verbs": ["create"],
        "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]}]});
    admin.create(roles, may_write_roles).await;
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]});
    admin.create(bindings, binding).await;
    let ann = cluster.user("ann");
    let grab = json!({"metadata": {"name": "grab"}, "rules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    let refused = async || {
        let (code, answer) = ann.ask("POST", roles, Some(&grab)).await;
        let message = answer["message"].as_str().unwrap_or_default();
        code == 403 && message.contains("attempting to grant RBAC permissions not currently held")
    };
    eventually(refused).await;
}

#[tokio::test]
async fn a_node_stays_within_itself() {
    let cluster = Cluster::start().await;
    let node = cluster.client(Some(cluster.pki.node("n1").unwrap()));
    let body = |name: &str| json!({"metadata": {"name": name}});
    node.create("/api/v1/nodes", body("n1")).await;
    assert_eq!(node.ask("POST", "/api/v1/nodes", Some(&body("n2"))).await.0, 403);
    assert_eq!(node.get("/api/v1/nodes/n1").await.0, 200);
    assert_eq!(node.get("/api/v1/nodes/n2").await.0, 403);
    assert_eq!(node.get("/api/v1/secrets").await.0, 403);
    let own = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1";
    assert_eq!(node.get(own).await.0, 200);
    assert_eq!(node.get("/api/v1/pods").await.0, 403);
}

#[tokio::test]
async fn reviews_answer_and_impersonation_needs_a_right() {
    let cluster = Cluster::start().await;
    let ann = cluster.user("ann");
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let spec = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    assert_eq!(ann.create(path, spec).await["status"]["allowed"], false);
    let as_scheduler = |who: Identity| {
        let request = Request::builder()
            .uri("/api/v1/nodes")
            .header("impersonate-user", "system:kube-scheduler")
            .body(empty())
            .unwrap();
        cluster.server.handle(request, Some(Arc::new(who)))
    };
    assert_eq!(as_scheduler(Identity::user("ann", &[])).await.status(), 403);
    assert_eq!(as_scheduler(Identity::apiserver()).await.status(), 200);
}

#[tokio::test]
async fn http2_is_spoken_and_too_large_bodies_are_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut config = admin.config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = admin.connect(config).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = hyper::client::conn::http2::handshake::<_, _, Body>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    );
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let url = format!("https://localhost{MAPS}");
    let large = vec![b' '; filters::MAX_BODY_BYTES + 1];
    let request = Request::post(&url).body(full(large)).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 413);
    let request = Request::get(&url).body(empty()).unwrap();
    let got = sender.send_request(request).await.unwrap();
    assert_eq!(got.status(), 200);
    let length = got.headers()["content-length"].clone();
    let request = Request::head(&url).body(empty()).unwrap();
    let head = sender.send_request(request).await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &length));
    assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn who_forgets_tls_is_told() {
    let cluster = Cluster::start().await;
    let mut stream = TcpStream::connect(cluster.address).await.unwrap();
    stream.write_all(b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 400 "), "{answer}");
    assert!(answer.contains("Client sent an HTTP request to an HTTPS server."), "{answer}");
}

#[tokio::test]
async fn stopping_ends_watches_and_drains() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let response = admin.send("GET", &format!("{MAPS}?watch=true"), None).await;
    assert_eq!(response.status(), 200);
    let reading = tokio::spawn(response.into_body().collect());
    cluster.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(30), async {
        cluster.serving.await.unwrap().unwrap();
        reading.await.unwrap()
    });
    assert!(ended.await.expect("the watch kept the server from stopping").is_ok());
}
