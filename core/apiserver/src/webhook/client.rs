//! One webhook's client: TLS with its own CA, HTTP/1.1, connections kept for the next call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;

use super::config::{Location, ca_certificates};
use super::resolve;
use crate::generic::registry::Registry;
use crate::server::tls;

/// How many idle connections are kept.
const IDLE_MAX: usize = 8;
/// How many bytes an answer may have.
const ANSWER_MAX: usize = 64 << 20;
/// Where systems keep the CAs that they trust.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Why a webhook gave no answer; the texts are what upstream's clients see.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The `clientConfig` cannot be used.
    #[error("{0}")]
    Config(String),
    /// The webhook cannot be reached, or broke off.
    #[error("Post {url:?}: {why}")]
    Call {
        /// What was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// It took too long.
    #[error("Post {url:?}: context deadline exceeded")]
    Timeout {
        /// What was asked.
        url: String,
    },
    /// It answered with an error of its own.
    #[error("{0}")]
    Answer(String),
}

type Sender = SendRequest<Full<Bytes>>;

/// A webhook that can be called.
pub struct Hook {
    location: Location,
    connector: tokio_rustls::TlsConnector,
    idle: Mutex<Vec<Sender>>,
}

impl Hook {
    /// A client for a `clientConfig` (`url` or `service`, `caBundle`).
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub fn new(config: &Value) -> Result<Self, HookError> {
        let location = Location::read(config)?;
        let bundle = config["caBundle"].as_str().unwrap_or_default();
        let unusable = |error: rustls::Error| HookError::Config(error.to_string());
        let mut roots = rustls::RootCertStore::empty();
        let own = ca_certificates(bundle);
        match bundle.is_empty() {
            true => roots.add_parsable_certificates(system_roots()),
            false => roots.add_parsable_certificates(own),
        };
        let mut client = rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = Arc::new(client).into();
        Ok(Self { location, connector, idle: Mutex::new(Vec::new()) })
    }

    /// Posts a body as JSON and reads the answer as JSON, within a time.
    ///
    /// # Errors
    /// Whatever keeps it from answering with a success.
    pub async fn post(
        &self,
        registry: &Arc<Registry>,
        body: &Value,
        limit: Duration,
    ) -> Result<Value, HookError> {
        let bytes = Bytes::from(body.to_string());
        let url = self.url(limit);
        let call = self.call(registry, &url, bytes);
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer,
            Err(_) => Err(HookError::Timeout { url }),
        }
    }

    /// What is asked, as messages show it.
    fn url(&self, limit: Duration) -> String {
        let (authority, path) = (self.location.authority(), &self.location.path);
        format!("https://{authority}{path}?timeout={}s", limit.as_secs().max(1))
    }

    async fn call(
        &self,
        registry: &Arc<Registry>,
        url: &str,
        body: Bytes,
    ) -> Result<Value, HookError> {
        let broken = |why: String| HookError::Call { url: url.to_string(), why };
        if let Some(mut sender) = self.idle_sender()
            && let Ok(response) = sender.send_request(self.request(url, body.clone())).await
        {
            return self.read(sender, response).await.map_err(broken)?;
        }
        let mut sender = self.connect(registry).await.map_err(broken)?;
        let sent = sender.send_request(self.request(url, body)).await;
        let response = sent.map_err(|error| broken(reason(&error)))?;
        self.read(sender, response).await.map_err(broken)?
    }

    fn idle_sender(&self) -> Option<Sender> {
        let mut idle = self.idle.lock();
        idle.retain(|sender| !sender.is_closed());
        let ready = idle.iter().position(SendRequest::is_ready)?;
        Some(idle.swap_remove(ready))
    }

    fn request(&self, url: &str, body: Bytes) -> Request<Full<Bytes>> {
        let path =
            url.strip_prefix("https://").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
        let request = Request::post(path.unwrap_or("/"))
            .header(header::HOST, self.location.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission");
        let empty = || Request::new(Full::default());
        request.body(Full::new(body)).unwrap_or_else(|_| empty())
    }

    async fn connect(&self, registry: &Arc<Registry>) -> Result<Sender, String> {
        let (host, port) = match &self.location.service {
            Some((namespace, name)) => {
                resolve::service(registry, namespace, name, self.location.port).await?
            }
            None => (self.location.host.clone(), self.location.port),
        };
        let dial = TcpStream::connect((host.as_str(), port)).await;
        let stream =
            dial.map_err(|error| format!("dial tcp {host}:{port}: {}", refusal(&error)))?;
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(self.location.host.clone());
        let name = name.map_err(|error| error.to_string())?;
        let stream = self.connector.connect(name, stream).await;
        let stream = stream.map_err(|error| tls_failure(&error))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| reason(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a webhook's connection ended");
            }
        });
        Ok(sender)
    }

    /// The outer error is of the connection, the inner one the webhook's own.
    async fn read(
        &self,
        sender: Sender,
        response: Response<Incoming>,
    ) -> Result<Result<Value, HookError>, String> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        let mut idle = self.idle.lock();
        if !sender.is_closed() && idle.len() < IDLE_MAX {
            idle.push(sender);
        }
        drop(idle);
        Ok(answer(status, &body))
    }
}

fn answer(status: StatusCode, body: &[u8]) -> Result<Value, HookError> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|error| {
            let text = String::from_utf8_lossy(&body[..body.len().min(256)]);
            HookError::Answer(format!("couldn't parse the answer {text:?}: {error}"))
        });
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(2048)]).trim().to_string();
    let why = match status.as_u16() {
        404 => "the server could not find the requested resource".to_string(),
        500.. if text.is_empty() => {
            "an error on the server (\"unknown\") has prevented the request from succeeding".into()
        }
        500.. => {
            format!("an error on the server ({text:?}) has prevented the request from succeeding")
        }
        400 => "the server rejected our request for an unknown reason".into(),
        code => {
            format!(
                "the server responded with the status code {code} but did not return more information"
            )
        }
    };
    Err(HookError::Answer(why))
}

fn reason(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() {
        "EOF".into()
    } else {
        error.to_string()
    }
}

fn refusal(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        _ => error.to_string(),
    }
}

/// What Go's TLS says where it matters to users: who signed the certificate, and for whom.
fn tls_failure(error: &std::io::Error) -> String {
    use rustls::CertificateError;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                .into()
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::Expired)) => {
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
                .into()
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("tls: failed to verify certificate: x509: {why}")
        }
        _ => error.to_string(),
    }
}

fn system_roots() -> Vec<CertificateDer<'static>> {
    use rustls_pki_types::pem::PemObject;
    let read = |path: &&str| std::fs::read(path).ok();
    let pem = SYSTEM_ROOTS.iter().find_map(read).unwrap_or_default();
    CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect()
}
