//! The kubelet's HTTPS server: logs, exec, attach, port-forward, and what monitors read.
//!
//! - [`tls`]: its identity, and whom it lets in.
//! - [`logs`]: containers' logs.
//! - [`sessions`]: exec, attach and port-forward, carried to the runtime's streaming server.
//! - [`spdy`], [`websocket`]: the two protocols that clients speak.
//! - [`forward`]: port-forward by the kubelet itself, for runtimes without it.
//! - [`figures`]: statistics and metrics.

pub mod figures;
pub mod forward;
pub mod logs;
pub mod sessions;
pub mod spdy;
pub mod tls;
pub mod websocket;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt;
use hansa_api::k8s_openapi::api::core::v1::Pod;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::names::{self, identity};

/// An answer's body.
pub type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// The pods of this node as last seen.
pub type Pods = Arc<dyn Fn() -> Vec<Arc<Pod>> + Send + Sync>;

/// A bound server.
pub struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    inner: Arc<Inner>,
}

struct Inner {
    context: Arc<Context>,
    pods: Pods,
}

impl Server {
    /// Binds the node's address.
    ///
    /// # Errors
    /// The port is taken, or a certificate is none.
    pub async fn bind(context: Arc<Context>, pods: Pods) -> anyhow::Result<Self> {
        let tls = tls::server_config(&context.config)?;
        let address = context.config.listen_address();
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("failed to listen on {address}"))?;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        Ok(Self { listener, acceptor, inner: Arc::new(Inner { context, pods }) })
    }

    /// The port that was bound.
    ///
    /// # Errors
    /// The system does not say.
    pub fn port(&self) -> std::io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Serves until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else { continue };
            let serving = connection(stream, self.acceptor.clone(), self.inner.clone());
            tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, inner: Arc<Inner>) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let certificates = stream.get_ref().1.peer_certificates();
    let admitted = certificates.and_then(|all| all.first()).is_some_and(|own| tls::admits(own));
    let service = service_fn(move |request| {
        let inner = inner.clone();
        async move { Ok::<_, std::convert::Infallible>(inner.answer(request, admitted).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.with_upgrades().await {
        tracing::debug!(%error, "connection ended early");
    }
}

impl Inner {
    async fn answer(&self, request: Request<Incoming>, admitted: bool) -> Response<Body> {
        let path = request.uri().path().to_string();
        let parts: Vec<_> = path.split('/').skip(1).collect();
        if parts == ["healthz"] {
            return text(StatusCode::OK, "ok");
        }
        if !admitted {
            return text(StatusCode::UNAUTHORIZED, "Unauthorized");
        }
        let query = parse_query(request.uri().query().unwrap_or_default());
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["containerLogs", namespace, pod, container]) => {
                self.logs(namespace, pod, container, &query).await
            }
            (_, ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container]) => {
                match self.running(namespace, pod, container).await {
                    Ok(id) => sessions::exec(&self.context, request, &query, id).await,
                    Err(refusal) => refusal,
                }
            }
            (
                _,
                ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container],
            ) => match self.running(namespace, pod, container).await {
                Ok(id) => sessions::attach(&self.context, request, &query, id).await,
                Err(refusal) => refusal,
            },
            (_, ["portForward", namespace, pod] | ["portForward", namespace, pod, _]) => {
                match self.sandbox(namespace, pod).await {
                    Ok(id) => sessions::port_forward(&self.context, request, &query, id).await,
                    Err(refusal) => refusal,
                }
            }
            (&Method::GET, ["pods"]) => self.pod_list(),
            (&Method::GET, ["stats", "summary"]) => figures::summary(&self.context).await,
            (&Method::GET, ["metrics"]) => {
                figures::metrics(&self.context, (self.pods)().len()).await
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    fn pod_list(&self) -> Response<Body> {
        let items: Vec<_> = (self.pods)();
        let items: Vec<&Pod> = items.iter().map(AsRef::as_ref).collect();
        let list = serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {},
            "items": items});
        json(&list)
    }

    /// The newest container of this name, running.
    async fn running(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<String, Response<Body>> {
        let found = self.containers(namespace, pod, container).await?;
        let running = cri::ContainerState::ContainerRunning as i32;
        let found = found.into_iter().find(|found| found.state == running);
        found.map(|found| found.id).ok_or_else(|| {
            let message = format!("container not found ({container:?})");
            text(StatusCode::NOT_FOUND, &message)
        })
    }

    /// The containers of this name, newest first.
    async fn containers(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<Vec<cri::Container>, Response<Body>> {
        let mut wanted = self.labels(namespace, pod);
        wanted.insert(names::CONTAINER_NAME.to_string(), container.to_string());
        let found = self.context.cri.containers_labelled(wanted).await;
        let mut found = found.map_err(|error| internal(&error.message()))?;
        found.sort_by_key(|found| std::cmp::Reverse((found.created_at, attempt(found))));
        Ok(found)
    }

    /// What a pod's sandboxes and containers are labelled with. One that was force-deleted may
    /// still be ending while another of its name runs: the UID tells them apart.
    fn labels(&self, namespace: &str, name: &str) -> HashMap<String, String> {
        let pods = (self.pods)();
        let uid =
            pods.iter().map(|pod| identity(pod)).find_map(|(its_namespace, its_name, uid)| {
                (its_namespace == namespace && its_name == name).then(|| uid.to_string())
            });
        let own = [
            (names::POD_NAMESPACE, Some(namespace.to_string())),
            (names::POD_NAME, Some(name.to_string())),
            (names::POD_UID, uid),
        ];
        let known = own.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?)));
        known.collect()
    }

    async fn sandbox(&self, namespace: &str, pod: &str) -> Result<String, Response<Body>> {
        let all = self.context.cri.sandboxes(None).await;
        let all = all.map_err(|error| internal(&error.message()))?;
        let wanted = self.labels(namespace, pod);
        let ready = cri::PodSandboxState::SandboxReady as i32;
        let mut all = all.into_iter().filter(|found| found.state == ready);
        let found = all
            .find(|found| wanted.iter().all(|(key, value)| found.labels.get(key) == Some(value)));
        let missing = || text(StatusCode::NOT_FOUND, &format!("pod {pod}_{namespace} not found"));
        found.map(|found| found.id).ok_or_else(missing)
    }

    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        query: &[(String, String)],
    ) -> Response<Body> {
        let options = match logs::Options::parse(query, Timestamp::now()) {
            Ok(options) => options,
            Err(message) => return text(StatusCode::BAD_REQUEST, &message),
        };
        let found = match self.containers(namespace, pod, container).await {
            Ok(found) => found,
            Err(refusal) => return refusal,
        };
        let Some(chosen) = found.get(usize::from(options.previous)) else {
            return text(StatusCode::BAD_REQUEST, &no_log(pod, container, options.previous));
        };
        match self.context.cri.container_status(&chosen.id).await {
            Ok(status) => self.stream_log(&chosen.id, status, options),
            Err(error) => internal(&error.message()),
        }
    }

    fn stream_log(
        &self,
        id: &str,
        status: cri::ContainerStatus,
        options: logs::Options,
    ) -> Response<Body> {
        let (out, lines) = tokio::sync::mpsc::channel(16);
        let (cri, id) = (self.context.cri.clone(), id.to_string());
        tokio::spawn(async move {
            let alive = || async {
                let status = cri.container_status(&id).await;
                status.is_ok_and(|status| status.state() == cri::ContainerState::ContainerRunning)
            };
            let path = std::path::PathBuf::from(&status.log_path);
            if let Err(error) = logs::stream(&path, options, out.clone(), alive).await {
                let text = format!("failed to open the log: {error}\n");
                let _ = out.send(text.into()).await;
            }
        });
        let frames = ReceiverStream::new(lines).map(|bytes| Ok(Frame::data(bytes)));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

fn attempt(container: &cri::Container) -> u32 {
    container.metadata.as_ref().map_or(0, |metadata| metadata.attempt)
}

fn no_log(pod: &str, container: &str, previous: bool) -> String {
    if previous {
        return format!("previous terminated container {container:?} in pod {pod:?} not found");
    }
    format!("container {container:?} in pod {pod:?} is waiting to start: ContainerCreating")
}

/// A query's parameters, decoded, in order.
#[must_use]
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        let escaped = hex.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (bytes[index], escaped) {
            (b'%', Some(byte)) => {
                out.push(byte);
                index += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A plain answer.
#[must_use]
pub fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_string())).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// The answer when the runtime fails us.
#[must_use]
pub fn internal(message: &str) -> Response<Body> {
    text(StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// A JSON answer.
#[must_use]
pub fn json(value: &serde_json::Value) -> Response<Body> {
    let mut response = text(StatusCode::OK, &value.to_string());
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_in_order() {
        let got = parse_query("command=ls&command=%2Ftmp%20x+y&input=1&bad=%zz&flag");
        let want = [
            ("command", "ls"),
            ("command", "/tmp x y"),
            ("input", "1"),
            ("bad", "%zz"),
            ("flag", ""),
        ];
        assert_eq!(got, want.map(|(k, v)| (k.to_string(), v.to_string())));
    }
}
