//! Raw requests to a real cluster: any method, any body, any credential.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use hansa_client::kube::client::Body;
use hansa_client::kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use hansa_client::kube::{Client, Config};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::runtime::Runtime;

/// The longest that one request may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The runtime under all raw requests.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // An Err means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("there are threads")
});

/// One client with one credential.
pub struct Http {
    client: Client,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub bytes: Bytes,
    /// The body as text.
    pub text: String,
    /// The body as JSON; null if it is none.
    pub body: Value,
}

impl Http {
    /// As the user of a kubeconfig.
    pub fn admin(kubeconfig: &Path) -> Self {
        Self::with(kubeconfig, None)
    }

    pub(crate) fn bearer(kubeconfig: &Path, token: Option<&str>) -> Self {
        let token = token.map(|token| token.to_owned().into());
        Self::with(kubeconfig, Some(AuthInfo { token, ..AuthInfo::default() }))
    }

    fn with(kubeconfig: &Path, auth: Option<AuthInfo>) -> Self {
        let client = RUNTIME.block_on(async {
            let file = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig is there");
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(file, &options).await;
            let mut config = config.expect("the kubeconfig is complete");
            // What the server answers is what is tested, also where a client would try again.
            config.default_retry = false;
            config.auth_info = auth.unwrap_or(config.auth_info);
            Client::try_from(config).expect("its certificates are valid")
        });
        Self { client }
    }

    /// Sends a request with these headers.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let answer = self.try_send(method, path, headers, body);
        answer.unwrap_or_else(|| panic!("{method} {path}: no whole answer within {LIMIT:?}"))
    }

    /// The same, of a server that may not answer.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.as_bytes().to_vec())).expect("it is a request");
        RUNTIME.block_on(async {
            tokio::time::timeout(LIMIT, self.exchange(request)).await.unwrap_or_default()
        })
    }

    async fn exchange(&self, request: Request<Body>) -> Option<Answer> {
        let (parts, body) = self.client.send(request).await.ok()?.into_parts();
        let bytes = body.collect().await.ok()?.to_bytes();
        Some(Answer::new(parts.status.as_u16(), parts.headers, bytes))
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], &body.to_string())
    }
}

impl Answer {
    pub(crate) fn new(code: u16, headers: HeaderMap, bytes: Bytes) -> Self {
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Self { code, headers, bytes, text, body }
    }

    /// The Status' reason; empty if it is none.
    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    /// The Status' message; empty if there is none.
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// Names of a list's items.
    pub fn names(&self) -> Vec<&str> {
        let items = self.body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
    }

    /// The object's or list's resourceVersion.
    pub fn version(&self) -> &str {
        self.body["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }

    /// A watch's events.
    pub fn events(&self) -> Vec<Value> {
        let lines = self.text.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).expect("an event is JSON")).collect()
    }

    /// Panics unless this is a failed Status of this code and reason.
    ///
    /// # Panics
    /// If it is another answer.
    pub fn assert_status(&self, code: u16, reason: &str) {
        let own = (self.code, self.reason(), self.body["code"].as_u64());
        assert_eq!(own, (code, reason, Some(code.into())), "{}", self.text);
        assert_eq!(
            (&self.body["kind"], &self.body["status"]),
            (&"Status".into(), &"Failure".into())
        );
    }
}
