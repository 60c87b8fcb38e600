//! A component that exports `wasi:http/incoming-handler`, served on the pod's address: a fresh
//! instance per request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_cri::v1 as cri;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

use super::command::Timed;
use super::guest::{Guest, GuestSpec};
use crate::backend::Start;
use crate::record::Exit;

/// The port when neither the pod nor its environment names one.
const DEFAULT_PORT: u16 = 8080;

/// Requests of one container answered at the same time; more wait.
const MOST_CONCURRENT: usize = 128;

/// The annotation in which a kubelet passes a container's ports, as JSON.
const PORTS_ANNOTATION: &str = "io.kubernetes.container.ports";

/// A container with its socket bound.
pub struct Serving {
    listener: TcpListener,
    handler: Arc<Handler>,
}

struct Handler {
    pre: ProxyPre<Guest>,
    spec: GuestSpec,
    timeout: Duration,
    slots: Semaphore,
}

/// Binds the pod's address.
///
/// # Errors
/// The address and port are taken.
pub async fn listen(
    pre: ProxyPre<Guest>,
    spec: GuestSpec,
    start: &Start,
    timeout: Duration,
) -> Result<Serving, String> {
    let port = port_of(&start.container.config, &start.sandbox.config);
    let address = SocketAddr::from((start.address(), port));
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|error| format!("listen on {address}: {error}"))?;
    let slots = Semaphore::new(MOST_CONCURRENT);
    Ok(Serving { listener, handler: Arc::new(Handler { pre, spec, timeout, slots }) })
}

/// The first port the container declares, else the environment's `PORT`, else the first the pod
/// declares, else 8080.
fn port_of(container: &cri::ContainerConfig, sandbox: &cri::PodSandboxConfig) -> u16 {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Port {
        container_port: u16,
    }
    let declared = container.annotations.get(PORTS_ANNOTATION);
    let declared = declared.and_then(|json| serde_json::from_str::<Vec<Port>>(json).ok());
    let declared = declared.and_then(|ports| ports.first().map(|port| port.container_port));
    let named = || container.envs.iter().find(|kv| kv.key == "PORT")?.value.parse().ok();
    let mapped = || u16::try_from(sandbox.port_mappings.first()?.container_port).ok();
    declared.or_else(named).or_else(mapped).unwrap_or(DEFAULT_PORT)
}

impl Serving {
    /// Serves until told to stop, then finishes the requests under way.
    pub async fn run(self, stop: CancellationToken) -> Exit {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let handler = self.handler.clone();
                    connections.spawn(serve_connection(stream, handler, stop.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
        Exit::code(0)
    }
}

async fn serve_connection(stream: TcpStream, handler: Arc<Handler>, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move { Ok::<_, std::convert::Infallible>(handler.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

impl Handler {
    /// The guest's answer, or one that says what went wrong with the guest.
    async fn answer(&self, request: Request<Incoming>) -> Response<WasiBody> {
        let Ok(_slot) = self.slots.acquire().await else {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "the container is stopping");
        };
        match tokio::time::timeout(self.timeout, self.call(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(text)) => {
                self.spec.complain(&text);
                failure(StatusCode::INTERNAL_SERVER_ERROR, &text)
            }
            Err(_) => {
                self.spec.complain("the component did not answer in time");
                failure(StatusCode::GATEWAY_TIMEOUT, "the component did not answer in time")
            }
        }
    }

    /// Runs a fresh instance. It may go on after it has set its response, to stream the body;
    /// then `linger` bounds it.
    async fn call(&self, request: Request<Incoming>) -> Result<Response<WasiBody>, String> {
        let (give, mut take) = oneshot::channel();
        let mut guest = Box::pin(Timed {
            inner: Box::pin(run_once(self.pre.clone(), self.spec.clone(), request, give)),
            usage: self.spec.usage().clone(),
        });
        tokio::select! {
            biased;
            response = &mut take => {
                tokio::spawn(linger(guest, self.spec.clone(), self.timeout));
                received(response)
            }
            ended = &mut guest => match ended {
                Ok(()) => received(take.await),
                Err(error) => Err(format!("the component trapped: {error:#}")),
            },
        }
    }
}

type Given = Result<Response<WasiBody>, ErrorCode>;

async fn run_once(
    pre: ProxyPre<Guest>,
    spec: GuestSpec,
    request: Request<Incoming>,
    give: oneshot::Sender<Given>,
) -> wasmtime::Result<()> {
    let mut store = spec.store(pre.engine())?;
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let out = store.data_mut().http().new_response_outparam(give)?;
    let proxy = pre.instantiate_async(&mut store).await?;
    proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
}

async fn linger(
    guest: impl Future<Output = wasmtime::Result<()>>,
    spec: GuestSpec,
    timeout: Duration,
) {
    match tokio::time::timeout(timeout, guest).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => spec.complain(&format!("the component trapped: {error:#}")),
        Err(_) => spec.complain("the component went on too long after its response"),
    }
}

fn received(
    response: Result<Given, oneshot::error::RecvError>,
) -> Result<Response<WasiBody>, String> {
    match response {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(code)) => Err(format!("the component answered with an error: {code:?}")),
        Err(_) => Err("the component ended without a response".to_string()),
    }
}

fn failure(status: StatusCode, text: &str) -> Response<WasiBody> {
    let body = Full::new(Bytes::from(format!("{text}\n")));
    let body = body.map_err(Into::into).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_containers_then_the_environments_then_the_pods() {
        let mut sandbox = cri::PodSandboxConfig::default();
        let mut container = cri::ContainerConfig::default();
        assert_eq!(port_of(&container, &sandbox), 8080);
        let mapping = cri::PortMapping { container_port: 7000, ..Default::default() };
        sandbox.port_mappings.push(mapping);
        assert_eq!(port_of(&container, &sandbox), 7000);
        let port = cri::KeyValue { key: "PORT".to_string(), value: "7001".to_string() };
        container.envs.push(port);
        assert_eq!(port_of(&container, &sandbox), 7001);
        let ports = r#"[{"name":"http","containerPort":7002,"protocol":"TCP"}]"#;
        container.annotations.insert(PORTS_ANNOTATION.to_string(), ports.to_string());
        assert_eq!(port_of(&container, &sandbox), 7002);
    }
}
