//! WebSocket clients: exec and attach with one channel byte per message (KEP-4006), and
//! port-forward as SPDY tunnelled through binary messages.

use futures::stream::SplitStream;
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::sessions::Wanted;
use super::spdy::{Io, Outgoing, Session, Stream};
use super::{Body, text};

/// Subprotocols of exec and attach, the best first. v5 can say that standard input has ended.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// The subprotocol of port-forward: SPDY inside.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The best subprotocol that client and kubelet have in common.
#[must_use]
pub fn choose(headers: &HeaderMap) -> Option<&'static str> {
    let offered: Vec<_> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    PROTOCOLS.into_iter().find(|known| offered.contains(known))
}

/// The answer that makes the connection a WebSocket.
fn switch(headers: &HeaderMap, protocol: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let accept = HeaderValue::from_str(&derive_accept_key(key)).expect("base64 fits a header");
    let own = response.headers_mut();
    own.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    own.insert(UPGRADE, HeaderValue::from_static("websocket"));
    own.insert(SEC_WEBSOCKET_ACCEPT, accept);
    own.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    response
}

async fn upgraded(request: Request<Incoming>) -> Option<Socket> {
    let upgraded = hyper::upgrade::on(request).await.ok()?;
    let io = TokioIo::new(upgraded);
    Some(WebSocketStream::from_raw_socket(io, Role::Server, None).await)
}

/// Bridges a client to a runtime's SPDY session.
pub fn remote_command(
    request: Request<Incoming>,
    protocol: &'static str,
    session: Session,
    wanted: Wanted,
) -> Response<Body> {
    let response = switch(request.headers(), protocol);
    tokio::spawn(async move {
        if let Some(socket) = upgraded(request).await
            && let Err(error) = bridge(socket, session, wanted).await
        {
            tracing::debug!(%error, "session ended early");
        }
    });
    response
}

async fn open(session: &Session, kind: &str) -> std::io::Result<Stream> {
    session.open(vec![("streamtype".to_string(), kind.to_string())]).await
}

async fn open_if(session: &Session, wanted: bool, kind: &str) -> std::io::Result<Option<Stream>> {
    if wanted { open(session, kind).await.map(Some) } else { Ok(None) }
}

async fn bridge(socket: Socket, session: Session, wanted: Wanted) -> std::io::Result<()> {
    let error = open(&session, "error").await?;
    let stdin = open_if(&session, wanted.stdin, "stdin").await?;
    let stdout = open_if(&session, wanted.stdout, "stdout").await?;
    let stderr = open_if(&session, wanted.stderr, "stderr").await?;
    let resize = open_if(&session, wanted.tty, "resize").await?;
    let (mut sink, mut source) = socket.split();
    let (send, mut messages) = mpsc::channel::<Message>(16);
    let outputs = [(STDOUT, stdout), (STDERR, stderr), (ERROR, Some(error))];
    for (channel, stream) in outputs {
        if let Some(stream) = stream {
            tokio::spawn(copy_out(channel, stream, send.clone()));
        }
    }
    drop(send);
    let (stdin, resize) = (stdin.map(|own| own.outgoing), resize.map(|own| own.outgoing));
    let writing = async {
        while let Some(message) = messages.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.send(done()).await;
    };
    let reading = async {
        while let Some(Ok(message)) = source.next().await {
            if !copy_in(&message, stdin.as_ref(), resize.as_ref()).await {
                return;
            }
        }
    };
    // Input may end long before output; output's end is the session's.
    tokio::pin!(writing);
    let client_left = tokio::select! {
        () = &mut writing => false,
        () = reading => true,
    };
    if client_left {
        let _ = tokio::time::timeout(LINGER, writing).await;
    } else {
        let _ = tokio::time::timeout(LINGER, drain(&mut source)).await;
    }
    Ok(())
}

/// How long output may go on after the client has closed, and how long the client may take to
/// close after the last output.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

/// The close frame of a session that came to its end: without a code clients take it for a
/// failure (RFC 6455 section 7.4).
fn done() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))
}

/// Reads what a client still sends until it closes: a connection that is dropped with bytes unread
/// is reset, and output on its way is lost.
async fn drain(source: &mut SplitStream<Socket>) {
    while let Some(Ok(_)) = source.next().await {}
}

/// Output of one stream as messages.
async fn copy_out(channel: u8, mut stream: Stream, send: mpsc::Sender<Message>) {
    while let Some(bytes) = stream.incoming.recv().await {
        let mut message = vec![channel];
        message.extend_from_slice(&bytes);
        if send.send(Message::binary(message)).await.is_err() {
            return;
        }
    }
}

/// One message of the client; false when it is done.
async fn copy_in(message: &Message, stdin: Option<&Outgoing>, resize: Option<&Outgoing>) -> bool {
    let bytes = match message {
        Message::Binary(bytes) => bytes.as_ref(),
        Message::Text(text) => text.as_bytes(),
        Message::Close(_) => return false,
        _ => return true,
    };
    match bytes.split_first() {
        Some((&STDIN, data)) => send(stdin, data).await,
        Some((&RESIZE, data)) => send(resize, data).await,
        Some((&CLOSE, [STDIN])) => {
            if let Some(stdin) = stdin {
                stdin.finish().await;
            }
            true
        }
        _ => true,
    }
}

async fn send(to: Option<&Outgoing>, data: &[u8]) -> bool {
    match to {
        Some(to) => to.send(data).await,
        None => true,
    }
}

/// Carries SPDY bytes inside binary messages to `far`.
pub fn tunnel(request: Request<Incoming>, far: impl Io) -> Response<Body> {
    let response = switch(request.headers(), TUNNEL);
    tokio::spawn(async move {
        let Some(socket) = upgraded(request).await else { return };
        let (mut sink, mut source) = socket.split();
        let (mut read, mut write) = tokio::io::split(far);
        let inward = async {
            while let Some(Ok(message)) = source.next().await {
                if message.is_close() || write.write_all(&message.into_data()).await.is_err() {
                    return;
                }
            }
        };
        let outward = async {
            let mut chunk = vec![0; 32 * 1024];
            while let Ok(count @ 1..) = read.read(&mut chunk).await {
                if sink.send(Message::binary(chunk[..count].to_vec())).await.is_err() {
                    return;
                }
            }
            let _ = sink.send(done()).await;
        };
        tokio::select! {
            () = inward => {}
            () = outward => {}
        }
    });
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_common_subprotocol_is_chosen() {
        let of = |offered: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(offered).unwrap());
            choose(&headers)
        };
        assert_eq!(of("v4.channel.k8s.io, v5.channel.k8s.io"), Some("v5.channel.k8s.io"));
        assert_eq!(of("v4.channel.k8s.io,channel.k8s.io"), Some("v4.channel.k8s.io"));
        assert_eq!(of("base64.channel.k8s.io"), None);
    }
}
