//! A small aggregated API server on loopback: one group version, TLS, and the front proxy's word.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hansa_apiserver::server::tls::{Material, ServingTls};
use hansa_bootstrap::pki::{CertKey, Pki};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::http::RUNTIME;

/// The group that it serves, in version `v1`.
pub const GROUP: &str = "agg.ex.org";

/// Tests run at once and share their folder of certificates.
static SERVING: OnceLock<CertKey> = OnceLock::new();

/// The server; it stops with this value.
pub struct Extension {
    address: SocketAddr,
    ca_bundle: String,
    broken: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Extension {
    /// Starts it behind the Service `default/api`, with certificates of this cluster.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(pki: &Pki) -> Self {
        let serving = SERVING.get_or_init(|| {
            let made = pki.kubelet_serving("api", &["api.default.svc".to_owned()]);
            made.expect("certificates can be made")
        });
        let material = Material {
            certificate_pem: serving.certificate_pem.clone().into(),
            key_pem: serving.key_pem.clone().into(),
            client_ca_pem: Some(pki.front_proxy_ca_pem().into()),
            front_proxy_ca_pem: None,
        };
        let tls = ServingTls::new(&material).expect("its certificates are valid");
        let broken = Arc::new(AtomicBool::new(false));
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let task = RUNTIME.spawn(serve(listener, tls, broken.clone()));
        Self { address, ca_bundle: STANDARD.encode(pki.ca_pem()), broken, task }
    }

    /// From now on it answers everything with 500, or no longer.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// The Service in front of it.
    pub fn service(&self) -> Value {
        json!({"metadata": {"name": "api"}, "spec": {"ports": [{"name": "https", "port": 443}]}})
    }

    /// Where it is.
    pub fn slice(&self) -> Value {
        json!({"metadata": {"name": "api", "labels": {"kubernetes.io/service-name": "api"}},
            "addressType": "IPv4", "endpoints": [{"addresses": [self.address.ip().to_string()]}],
            "ports": [{"name": "https", "port": self.address.port()}]})
    }

    /// Its APIService.
    pub fn api_service(&self) -> Value {
        json!({"metadata": {"name": format!("v1.{GROUP}")}, "spec": {"group": GROUP,
            "version": "v1", "groupPriorityMinimum": 1500, "versionPriority": 10,
            "caBundle": self.ca_bundle, "service": {"namespace": "default", "name": "api"}}})
    }
}

impl Drop for Extension {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, tls: Arc<ServingTls>, broken: Arc<AtomicBool>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, tls.clone(), broken.clone()));
    }
}

async fn connection(stream: TcpStream, tls: Arc<ServingTls>, broken: Arc<AtomicBool>) {
    let Ok(stream) = tls.acceptor().accept(stream).await else { return };
    let proxied = tls.peer(stream.get_ref().1).identity();
    let proxied = proxied.map_or_else(String::new, |identity| identity.name.clone());
    let service = service_fn(move |request| answer(request, proxied.clone(), broken.clone()));
    let builder = hyper::server::conn::http1::Builder::new();
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    proxied: String,
    broken: Arc<AtomicBool>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let root = format!("/apis/{GROUP}/v1");
    let path = request.uri().path().to_owned();
    if path == format!("{root}/slow") {
        std::future::pending::<()>().await;
    }
    let document = match path.as_str() {
        _ if broken.load(Ordering::SeqCst) => None,
        "/openapi/v3" => Some(json!({"paths": {format!("apis/{GROUP}/v1"): {
            "serverRelativeURL": format!("/openapi/v3/apis/{GROUP}/v1?hash=ABC123")}}})),
        "/openapi/v2" => Some(json!({"swagger": "2.0",
            "paths": {format!("{root}/echoes"): {}, "/apis/other/v1": {}},
            "definitions": {"org.ex.agg.v1.Echo": {"type": "object"}}})),
        path if path == format!("/openapi/v3/apis/{GROUP}/v1") => {
            Some(json!({"openapi": "3.0.0", "info": {"title": "echoes"}}))
        }
        path if path == root => Some(resources()),
        path if path == format!("{root}/echoes") => Some(echo(&request, &proxied)),
        _ => None,
    };
    let code = match (&document, broken.load(Ordering::SeqCst)) {
        (_, true) => 500,
        (Some(_), false) => 200,
        (None, false) => 404,
    };
    let text = document.unwrap_or(Value::Null).to_string();
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = code.try_into().expect("a status code");
    let media = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", media);
    Ok(response)
}

fn resources() -> Value {
    json!({"kind": "APIResourceList", "groupVersion": format!("{GROUP}/v1"), "resources": [
        {"name": "echoes", "singularName": "echo", "namespaced": false, "kind": "Echo",
         "verbs": ["get", "list"], "shortNames": ["ec"]}]})
}

/// What it was told of who asks.
fn echo(request: &Request<Incoming>, proxied: &str) -> Value {
    let all = |name: &str| -> Vec<String> {
        let values = request.headers().get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    json!({"kind": "EchoList", "apiVersion": format!("{GROUP}/v1"), "items": [],
        "proxy": proxied, "user": all("x-remote-user"), "groups": all("x-remote-group"),
        "authorization": all("authorization"), "query": request.uri().query()})
}
