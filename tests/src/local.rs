//! An API server inside this process, over the embedded store without a disk: for what concerns the
//! API only, without TLS, controllers or nodes.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hansa_apiserver::authn::Identity;
use hansa_apiserver::body::{Body, boxed};
use hansa_apiserver::server::{ApiServer, Config, FrontProxy};
use hansa_bootstrap::pki::{CertKey, Pki};
use hansa_storage::embedded::Engine;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::http::{Answer, RUNTIME};

/// The longest that one request may take.
const LIMIT: Duration = Duration::from_secs(60);

/// An API server whose every request is made by the administrator, or whom a test names.
pub struct Local {
    server: Arc<ApiServer>,
    stop: CancellationToken,
}

/// Making keys takes a while: one set is enough.
static PKI: LazyLock<(Pki, TempDir)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    (Pki::open(dir.path()).expect("keys can be made"), dir)
});
static FRONT_PROXY: LazyLock<CertKey> =
    LazyLock::new(|| Local::pki().front_proxy_client().expect("certificates can be made"));
static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    Local::pki().service_account_key_pem().expect("keys can be made").into_bytes()
});

fn admin() -> Identity {
    Identity::user("admin", &["system:masters", "system:authenticated"])
}

impl Local {
    /// A fresh server with the namespace `default` and its service account.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        Self::with(Config { service_cidr: "10.96.0.0/16".to_owned(), ..Config::default() })
    }

    /// A fresh server that other servers may stand behind, on loopback.
    ///
    /// # Panics
    /// If it does not start.
    pub fn aggregating() -> Self {
        let client = FRONT_PROXY.clone();
        let front_proxy = FrontProxy {
            ca_pem: Self::pki().front_proxy_ca_pem().into(),
            client_ca_pem: Self::pki().ca_pem().into(),
            certificate_pem: client.certificate_pem.into(),
            key_pem: client.key_pem.into(),
        };
        let service_cidr = "127.99.128.0/17".to_owned();
        Self::with(Config { front_proxy: Some(front_proxy), service_cidr, ..Config::default() })
    }

    /// The certificates of all servers of this process.
    pub fn pki() -> &'static Pki {
        &PKI.0
    }

    fn with(config: Config) -> Self {
        let stop = CancellationToken::new();
        let config = Config { service_account_key_pem: KEY.clone(), ..config };
        let server = RUNTIME.block_on(async {
            let storage = Arc::new(Engine::ephemeral().expect("memory is enough"));
            let server = ApiServer::new(config, storage, stop.clone()).await.expect("it starts");
            server.ready().await;
            server
        });
        let local = Self { server, stop };
        let account = json!({"metadata": {"name": "default"}});
        let made = local.post("/api/v1/namespaces/default/serviceaccounts", &account);
        assert_eq!(made.code, 201, "{}", made.text);
        local
    }

    /// Sends a request as the administrator.
    pub fn send(&self, method: &str, path: &str, media: &str, body: &[u8]) -> Answer {
        self.send_as(admin(), method, path, media, body)
    }

    /// Sends a request as somebody.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn send_as(
        &self,
        who: Identity,
        method: &str,
        path: &str,
        media: &str,
        body: &[u8],
    ) -> Answer {
        self.exchange(who, method, path, &[("content-type", media)], body)
    }

    /// GET with these headers, as the administrator.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_with("GET", path, headers, b"")
    }

    /// Sends a request with these headers as the administrator.
    pub fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.exchange(admin(), method, path, headers, body)
    }

    fn exchange(
        &self,
        who: Identity,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let body: Body = boxed(Full::from(body.to_vec()));
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("it is a request");
        RUNTIME.block_on(async {
            let answer = async {
                let response = self.server.handle(request, Some(Arc::new(who))).await;
                let (parts, body) = response.into_parts();
                let bytes = body.collect().await.expect("the answer is whole").to_bytes();
                Answer::new(parts.status.as_u16(), parts.headers, bytes)
            };
            let answer = tokio::time::timeout(LIMIT, answer).await;
            answer.unwrap_or_else(|_| panic!("{method} {path}: no answer within {LIMIT:?}"))
        })
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", b"")
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", body.to_string().as_bytes())
    }

    /// PUT of JSON.
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, "application/json", body.to_string().as_bytes())
    }

    /// PATCH; `kind` is `json`, `merge` or `strategic-merge`.
    pub fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let media = format!("application/{kind}-patch+json");
        self.send("PATCH", path, &media, body.to_string().as_bytes())
    }

    /// DELETE with these options.
    pub fn delete(&self, path: &str, options: &Value) -> Answer {
        self.send("DELETE", path, "application/json", options.to_string().as_bytes())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
