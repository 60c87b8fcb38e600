//! One request carried to the far end and its answer back; an upgrade becomes a byte tunnel.

use hansa_api::ApiError;
use hansa_api::status::Reason;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::transport::{Authority, Stream};
use crate::body::{Body, boxed, collect, empty};

/// Headers of one hop (RFC 9110 section 7.6.1); an upgrade keeps the two that make it.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Sends `request` as `path` to the far end and returns its answer.
pub(crate) async fn forward(
    stream: Box<dyn Stream>,
    to: &Authority,
    path: &str,
    mut request: Request<Body>,
    stop: CancellationToken,
) -> Result<Response<Body>, ApiError> {
    let upgrade = is_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let outgoing = outgoing(request, to, path, upgrade.is_some())?;
    let (mut sender, connection) =
        http1::handshake::<_, Body>(TokioIo::new(stream)).await.map_err(ApiError::internal)?;
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    let mut response = sender.send_request(outgoing).await.map_err(|error| {
        ApiError::unavailable(format!("error trying to reach service: {error}"))
    })?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match upgrade {
            Some(client) => {
                let far = hyper::upgrade::on(&mut response);
                tokio::spawn(tunnel(client, far, stop));
                Ok(response.map(|_| empty()))
            }
            None => Err(ApiError::internal("the far end upgraded a plain request")),
        };
    }
    if upgrade.is_some()
        && !response.status().is_client_error()
        && !response.status().is_server_error()
    {
        let code = response.status().as_u16();
        return Err(ApiError::internal(format!("invalid upgrade response: status code {code}")));
    }
    strip(response.headers_mut());
    Ok(response.map(boxed))
}

/// Whether the client asks for another protocol on its connection.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).into_iter();
    let mut tokens = connection.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    headers.contains_key(header::UPGRADE)
        && tokens.any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

fn outgoing(
    request: Request<Body>,
    to: &Authority,
    path: &str,
    upgrade: bool,
) -> Result<Request<Body>, ApiError> {
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    let protocol = headers.get(header::UPGRADE).cloned();
    strip(&mut headers);
    headers.remove(header::AUTHORIZATION);
    let host = HeaderValue::from_str(&to.to_string()).map_err(ApiError::internal)?;
    headers.insert(header::HOST, host);
    if let (true, Some(protocol)) = (upgrade, protocol) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    let mut outgoing =
        Request::builder().method(parts.method).uri(path).body(body).map_err(|error| {
            ApiError::bad_request(format!("the path cannot be proxied: {error}"))
        })?;
    *outgoing.headers_mut() = headers;
    Ok(outgoing)
}

fn strip(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Carries bytes both ways until both sides are done or the server stops.
async fn tunnel(client: OnUpgrade, far: OnUpgrade, stop: CancellationToken) {
    let (client, far) = match tokio::try_join!(client, far) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "upgrade failed"),
    };
    let (mut client, mut far) = (TokioIo::new(client), TokioIo::new(far));
    let copy = tokio::io::copy_bidirectional(&mut client, &mut far);
    if let Some(Err(error)) = stop.run_until_cancelled(copy).await {
        tracing::debug!(%error, "tunnel ended");
    }
}

/// A kubelet's refusal as an API failure: its text is the message.
pub(super) async fn refusal(response: Response<Body>) -> ApiError {
    let status = response.status();
    let body = collect(response.into_body(), 16 << 10).await;
    let text = body.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_string());
    let message = text.ok().filter(|text| !text.is_empty());
    let message = message.unwrap_or_else(|| format!("the kubelet answered {status}"));
    let reason = match status.as_u16() {
        400 => Reason::BadRequest,
        401 | 403 => Reason::Forbidden,
        404 => Reason::NotFound,
        405 => Reason::MethodNotAllowed,
        503 => Reason::ServiceUnavailable,
        504 => Reason::Timeout,
        _ => Reason::InternalError,
    };
    ApiError::new(reason, message)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn to() -> Authority {
        Authority { host: "::1".into(), port: 80 }
    }

    #[test]
    fn one_hops_headers_and_credentials_stay_behind() {
        let request = Request::builder()
            .header("connection", "keep-alive")
            .header("authorization", "Bearer secret")
            .header("x-own", "1")
            .body(empty())
            .unwrap();
        assert!(!is_upgrade(request.headers()));
        let sent = outgoing(request, &to(), "/x?y=1", false).unwrap();
        assert_eq!(sent.headers()["host"], "[::1]:80");
        assert_eq!(sent.headers()["x-own"], "1");
        assert!(!sent.headers().contains_key("authorization"));
        assert!(!sent.headers().contains_key("connection"));
        assert_eq!(sent.uri(), "/x?y=1");
    }

    #[test]
    fn an_upgrade_keeps_its_protocol() {
        let request = Request::builder()
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "SPDY/3.1")
            .body(empty())
            .unwrap();
        assert!(is_upgrade(request.headers()));
        let sent = outgoing(request, &to(), "/", true).unwrap();
        assert_eq!(sent.headers()["upgrade"], "SPDY/3.1");
    }

    #[tokio::test]
    async fn a_kubelets_words_reach_the_client() {
        let mut response = Response::new(crate::body::full("container not found (\"x\")\n"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        let error = refusal(response).await;
        assert_eq!((error.code, error.message.as_str()), (400, "container not found (\"x\")"));
    }

    /// A far end that accepts any upgrade and sends back what it gets.
    async fn echoing_kubelet(mut stream: tokio::io::DuplexStream) {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.unwrap());
        }
        assert!(seen.starts_with(b"GET /exec/a/web/c?command=ls HTTP/1.1\r\n"));
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                       upgrade: SPDY/3.1\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
    }

    /// One connection whose every request is forwarded to a fresh echoing kubelet.
    async fn serve(stream: tokio::io::DuplexStream) {
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async {
            let (near, far) = tokio::io::duplex(1 << 10);
            tokio::spawn(echoing_kubelet(far));
            let stop = CancellationToken::new();
            let path = "/exec/a/web/c?command=ls";
            forward(Box::new(near), &to(), path, request.map(boxed), stop).await
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let _ = connection.await;
    }

    #[tokio::test]
    async fn an_upgraded_connection_carries_bytes_both_ways() {
        let (client, server) = tokio::io::duplex(1 << 10);
        tokio::spawn(serve(server));
        let (mut sender, connection) =
            http1::handshake::<_, Body>(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let request = Request::get("/api/v1/namespaces/a/pods/web/exec?command=ls")
            .header("host", "x")
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .body(empty())
            .unwrap();
        let mut response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["upgrade"], "SPDY/3.1");
        let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        tunnel.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        tunnel.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
    }
}
