//! A webhook of the test's own: HTTPS on loopback, answering what a function says.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_bootstrap::pki::Pki;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::http::RUNTIME;

type Answerer = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

/// A running webhook; it is gone when this is dropped.
pub struct Webhook {
    /// Where it is.
    pub url: String,
    /// Its CA, as `caBundle` wants it.
    pub ca_bundle: String,
    calls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    _files: TempDir,
}

impl Webhook {
    /// Starts a webhook that answers every request's JSON with what `answer` makes of it; null is
    /// answered with status 500.
    ///
    /// # Panics
    /// If there is no port or no certificate to be had.
    pub fn start(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        let files = tempfile::tempdir().expect("there is room for a folder");
        let pki = Pki::open(files.path()).expect("a CA can be made");
        let acceptor = acceptor(&pki);
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let calls = Arc::new(AtomicUsize::new(0));
        let serving = serve(listener, acceptor, Arc::new(answer), calls.clone());
        Self {
            url: format!("https://127.0.0.1:{port}/"),
            ca_bundle: STANDARD.encode(pki.ca_pem()),
            calls,
            task: RUNTIME.spawn(serving),
            _files: files,
        }
    }

    /// How often it was asked.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(pki: &Pki) -> TlsAcceptor {
    let pair = pki.apiserver(&["127.0.0.1".into()]).expect("a certificate can be made");
    let chain = CertificateDer::pem_slice_iter(pair.certificate_pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("it was just made");
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).expect("it was just made");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    Arc::new(config.expect("key and certificate belong together")).into()
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answer: Answerer,
    calls: Arc<AtomicUsize>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, acceptor.clone(), answer.clone(), calls.clone()));
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    answer: Answerer,
    calls: Arc<AtomicUsize>,
) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| {
        calls.fetch_add(1, Ordering::Relaxed);
        reply(request, answer.clone())
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn reply(
    request: Request<Incoming>,
    answer: Answerer,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes());
    let asked = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    let said = answer(&asked);
    let mut response = Response::new(Full::new(Bytes::from(said.to_string())));
    if said.is_null() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response)
}
