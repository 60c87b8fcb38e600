//! TLS connections in, HTTP/1.1 and HTTP/2 requests out; drains on shutdown.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ApiServer;
use super::tls::ServingTls;
use crate::authn::x509::Peer;
use crate::body::{Body, boxed};

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
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
    let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, tls.acceptor().accept(stream)).await;
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%from, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%from, "TLS handshake took too long"),
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
    Ok(server.handle(request, None).await)
}
