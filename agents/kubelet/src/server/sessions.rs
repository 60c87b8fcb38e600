//! exec, attach and port-forward: the client's connection carried to the runtime's streaming
//! server. SPDY clients are passed through; WebSocket clients are bridged to SPDY, which every
//! runtime speaks and which alone lets standard input end on its own.

use std::sync::Arc;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use tokio::net::TcpStream;

use super::logs::truth;
use super::spdy::{Role, Session};
use super::{Body, forward, internal, text, websocket};
use crate::context::Context;
use crate::cri::CriError;

/// The header in which SPDY clients name the subprotocols they speak.
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// The subprotocol for exec and attach over SPDY: exit codes as a Status on the error stream.
const REMOTE_COMMAND: &str = "v4.channel.k8s.io";

/// The subprotocol for port-forward over SPDY.
const PORT_FORWARD: &str = "portforward.k8s.io";

/// Which streams a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; never with a terminal.
    pub stderr: bool,
    /// A terminal, whose size may change.
    pub tty: bool,
}

impl Wanted {
    /// Reads the query: kubelets' names first, the API's as well.
    #[must_use]
    pub fn parse(query: &[(String, String)]) -> Self {
        let has = |names: [&str; 2]| {
            query.iter().any(|(key, value)| names.contains(&key.as_str()) && truth(value))
        };
        let tty = has(["tty", "tty"]);
        Self {
            stdin: has(["input", "stdin"]),
            stdout: has(["output", "stdout"]),
            stderr: has(["error", "stderr"]) && !tty,
            tty,
        }
    }
}

/// Runs a command in a container.
pub async fn exec(
    context: &Arc<Context>,
    request: Request<Incoming>,
    query: &[(String, String)],
    container_id: String,
) -> Response<Body> {
    let wanted = Wanted::parse(query);
    let command = query.iter().filter(|(key, _)| key == "command");
    let asked = cri::ExecRequest {
        container_id,
        cmd: command.map(|(_, value)| value.clone()).collect(),
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    if asked.cmd.is_empty() {
        return text(StatusCode::BAD_REQUEST, "you must specify a command");
    }
    match context.cri.exec(asked).await {
        Ok(url) => remote_command(request, &url, wanted).await,
        Err(error) => refused(&error),
    }
}

/// Joins a container's own input and output.
pub async fn attach(
    context: &Arc<Context>,
    request: Request<Incoming>,
    query: &[(String, String)],
    container_id: String,
) -> Response<Body> {
    let wanted = Wanted::parse(query);
    let Wanted { stdin, stdout, stderr, tty } = wanted;
    let asked = cri::AttachRequest { container_id, stdin, tty, stdout, stderr };
    match context.cri.attach(asked).await {
        Ok(url) => remote_command(request, &url, wanted).await,
        Err(error) => refused(&error),
    }
}

/// Forwards connections to a pod's ports; by the kubelet itself where the runtime has no way.
pub async fn port_forward(
    context: &Arc<Context>,
    request: Request<Incoming>,
    query: &[(String, String)],
    sandbox_id: String,
) -> Response<Body> {
    let ports = query.iter().filter(|(key, _)| key == "port" || key == "ports");
    let ports = ports.flat_map(|(_, value)| value.split(',')).filter_map(|port| port.parse().ok());
    match context.cri.port_forward(&sandbox_id, ports.collect()).await {
        Ok(url) if is_websocket(request.headers()) => match dial(&url, PORT_FORWARD).await {
            Ok(runtime) => websocket::tunnel(request, TokioIo::new(runtime)),
            Err(message) => internal(&message),
        },
        Ok(url) => pass_through(request, &url).await,
        Err(error) if error.unimplemented() => {
            match context.cri.sandbox_status(&sandbox_id).await {
                Ok(status) => forward::serve(request, &status),
                Err(error) => refused(&error),
            }
        }
        Err(error) => refused(&error),
    }
}

/// The runtime's refusal, in its words.
fn refused(error: &CriError) -> Response<Body> {
    if error.unimplemented() {
        return text(StatusCode::NOT_IMPLEMENTED, &error.message());
    }
    internal(&error.message())
}

/// Whether the client wants a WebSocket.
#[must_use]
pub fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

async fn remote_command(request: Request<Incoming>, url: &str, wanted: Wanted) -> Response<Body> {
    if !is_websocket(request.headers()) {
        return pass_through(request, url).await;
    }
    let Some(protocol) = websocket::choose(request.headers()) else {
        return text(StatusCode::BAD_REQUEST, "unable to upgrade: no subprotocol in common");
    };
    let runtime = match dial(url, REMOTE_COMMAND).await {
        Ok(runtime) => runtime,
        Err(message) => return internal(&message),
    };
    match Session::new(TokioIo::new(runtime), Role::Client) {
        Ok(session) => websocket::remote_command(request, protocol, session, wanted),
        Err(error) => internal(&error.to_string()),
    }
}

/// Connects to a URL of the runtime and upgrades to SPDY with this subprotocol.
async fn dial(url: &str, protocol: &str) -> Result<Upgraded, String> {
    let request = Request::builder()
        .method("POST")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "SPDY/3.1")
        .header(STREAM_PROTOCOL, protocol);
    let response = ask(url, request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(reason(response).await);
    }
    hyper::upgrade::on(response).await.map_err(|error| error.to_string())
}

async fn reason(response: Response<Incoming>) -> String {
    let status = response.status();
    let body = Limited::new(response.into_body(), 64 * 1024).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    format!("the runtime's streaming server answered {status}: {}", String::from_utf8_lossy(&body))
}

async fn ask(url: &str, request: http::request::Builder) -> Result<Response<Incoming>, String> {
    let url: http::Uri = url.parse().map_err(|error| format!("bad URL {url:?}: {error}"))?;
    let authority = url.authority().ok_or_else(|| format!("bad URL {url}: no host"))?;
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
    let stream = stream.map_err(|error| format!("failed to reach {url}: {error}"))?;
    let _ = stream.set_nodelay(true);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = request.uri(path).header(HOST, authority.as_str()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(|error| error.to_string())
}

/// Carries the client's own upgrade to the runtime, byte for byte.
async fn pass_through(request: Request<Incoming>, url: &str) -> Response<Body> {
    let mut onward = Request::builder().method(request.method().clone());
    for (name, value) in request.headers() {
        if onward_header(name) {
            onward = onward.header(name, value);
        }
    }
    let answer = match ask(url, onward).await {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => answer,
        Ok(answer) => {
            let status = answer.status();
            return text(status, &reason(answer).await);
        }
        Err(message) => return internal(&message),
    };
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    for (name, value) in answer.headers() {
        response.headers_mut().append(name, value.clone());
    }
    tokio::spawn(async move {
        let both = tokio::try_join!(hyper::upgrade::on(request), hyper::upgrade::on(answer));
        if let Ok((client, runtime)) = both {
            let (mut client, mut runtime) = (TokioIo::new(client), TokioIo::new(runtime));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut runtime).await;
        }
    });
    response
}

fn onward_header(name: &HeaderName) -> bool {
    name == CONNECTION
        || name == UPGRADE
        || name == STREAM_PROTOCOL
        || name.as_str().starts_with("sec-websocket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_no_standard_error_of_its_own() {
        let pairs = |text: &str| super::super::parse_query(text);
        let wanted = Wanted::parse(&pairs("input=1&output=1&error=1&tty=1"));
        assert_eq!(wanted, Wanted { stdin: true, stdout: true, stderr: false, tty: true });
        let wanted = Wanted::parse(&pairs("stdout=true&stderr=true&stdin=false"));
        assert_eq!(wanted, Wanted { stdin: false, stdout: true, stderr: true, tty: false });
    }
}
