//! TLS connections in, HTTP/1.1 and HTTP/2 requests out; drains on shutdown.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ApiServer;
use super::tls::ServingTls;
use crate::authn::x509::Peer;
use crate::body::{Body, boxed, empty};

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// What those get who speak HTTP without TLS, as upstream answers them.
const NOT_HTTPS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// Streams of one HTTP/2 connection: a client's watches and requests share it.
const MAX_STREAMS: u32 = 1000;
/// Flow control windows in bytes; the connection's covers many unread streams, because h2 counts
/// small frames against it.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 8 << 20;

impl ApiServer {
    /// Accepts connections until `stop`, then lets the open ones finish.
    ///
    /// # Errors
    /// If the listener breaks.
    pub async fn serve(
        self: &Arc<Self>,
        listener: TcpListener,
        tls: Arc<ServingTls>,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, from)) => {
                    let (server, tls, stop) = (self.clone(), tls.clone(), stop.clone());
                    connections.spawn(connection(server, stream, from, tls, stop));
                }
                Err(error) => pause_after(&error).await,
            }
        }
        drop(listener);
        self.health.shutting_down.done();
        self.stop.cancel();
        connections.close();
        let _ = tokio::time::timeout(DRAIN_LIMIT, connections.wait()).await;
        Ok(())
    }
}

/// Running out of file descriptors must not become a busy loop.
async fn pause_after(error: &std::io::Error) {
    tracing::warn!(%error, "failed to accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn connection(
    server: Arc<ApiServer>,
    stream: TcpStream,
    from: SocketAddr,
    tls: Arc<ServingTls>,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_LIMIT, handshake(stream, &tls)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            server.metrics.handshake_errors.fetch_add(1, Ordering::Relaxed);
            return tracing::debug!(%from, %error, "TLS handshake failed");
        }
        Err(_) => {
            server.metrics.handshake_errors.fetch_add(1, Ordering::Relaxed);
            return tracing::debug!(%from, "TLS handshake took too long");
        }
    };
    let peer = tls.peer(stream.get_ref().1);
    let service = service_fn(move |request| answer(server.clone(), peer.clone(), request));
    let builder = builder();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%from, %error, "connection ended");
    }
}

async fn handshake(
    mut stream: TcpStream,
    tls: &ServingTls,
) -> std::io::Result<TlsStream<TcpStream>> {
    if !is_plain_http(&stream).await? {
        return tls.acceptor().accept(stream).await;
    }
    // Read first: closing a socket with unread bytes would take the answer back.
    stream.read(&mut [0; 4096]).await.map(drop)?;
    stream.write_all(NOT_HTTPS).await?;
    stream.shutdown().await?;
    Err(std::io::Error::other("the client speaks HTTP without TLS"))
}

async fn is_plain_http(stream: &TcpStream) -> std::io::Result<bool> {
    let mut head = [0; 5];
    let seen = stream.peek(&mut head).await?;
    Ok([b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"].iter().any(|one| one[..] == head[..seen]))
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(32));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15));
    builder
}

async fn answer(
    server: Arc<ApiServer>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(boxed);
    request.extensions_mut().insert(peer);
    let head = *request.method() == Method::HEAD;
    let response = server.handle(request, None).await;
    Ok(if head { without_body(response) } else { response })
}

/// The answer to HEAD: GET's, except for the body. HTTP/2 clients break off if there is one.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|_| empty())
}
