//! Port-forward by the kubelet itself, for runtimes whose pods are reached by plain TCP: each
//! pair of streams, error and data, is one connection to the pod's address.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::sessions::is_websocket;
use super::spdy::{Role, Session, Stream};
use super::{Body, text, websocket};

/// Serves a client's port-forward to the sandbox's address.
pub fn serve(request: Request<Incoming>, sandbox: &cri::PodSandboxStatus) -> Response<Body> {
    let address = sandbox.network.as_ref().map(|network| network.ip.clone());
    let address = address.filter(|ip| !ip.is_empty()).unwrap_or_else(|| "127.0.0.1".to_string());
    if is_websocket(request.headers()) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        if let Ok(session) = Session::new(far, Role::Server) {
            tokio::spawn(run(session, address));
        }
        return websocket::tunnel(request, near);
    }
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let own = response.headers_mut();
    own.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    own.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    own.insert("x-stream-protocol-version", HeaderValue::from_static("portforward.k8s.io"));
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        if let Ok(session) = Session::new(TokioIo::new(upgraded), Role::Server) {
            run(session, address).await;
        }
    });
    response
}

async fn run(session: Session, address: String) {
    let session = Arc::new(session);
    let mut errors: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = session.accept().await {
        let request = stream.header("requestid").to_string();
        if stream.header("streamtype") == "error" {
            errors.insert(request, stream);
            continue;
        }
        let error = errors.remove(&request);
        tokio::spawn(connect(address.clone(), stream, error, session.clone()));
    }
}

/// One connection; what goes wrong is told on its error stream.
async fn connect(address: String, data: Stream, error: Option<Stream>, _session: Arc<Session>) {
    let port: u16 = data.header("port").parse().unwrap_or(0);
    let outcome = match TcpStream::connect((address.as_str(), port)).await {
        Ok(stream) => copy(stream, data).await,
        Err(why) => {
            data.outgoing.finish().await;
            Err(format!("error forwarding port {port} to pod: {why}"))
        }
    };
    if let Some(error) = error {
        if let Err(text) = outcome {
            error.outgoing.send(text.as_bytes()).await;
        }
        error.outgoing.finish().await;
    }
}

async fn copy(stream: TcpStream, mut data: Stream) -> Result<(), String> {
    let (mut read, mut write) = stream.into_split();
    let inward = async {
        while let Some(bytes) = data.incoming.recv().await {
            write.write_all(&bytes).await.map_err(|error| error.to_string())?;
        }
        write.shutdown().await.map_err(|error| error.to_string())
    };
    let outgoing = data.outgoing.clone();
    let outward = async {
        let mut chunk = vec![0; 32 * 1024];
        loop {
            let count = read.read(&mut chunk).await.map_err(|error| error.to_string())?;
            if count == 0 || !outgoing.send(&chunk[..count]).await {
                outgoing.finish().await;
                return Ok(());
            }
        }
    };
    let (inward, outward): (Result<(), String>, Result<(), String>) = tokio::join!(inward, outward);
    inward.and(outward)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pair_of_streams_is_one_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word.map(|byte| byte.to_ascii_uppercase())).await.unwrap();
        });
        let (near, far) = tokio::io::duplex(4096);
        let client = Session::new(near, Role::Client).unwrap();
        let server = Session::new(far, Role::Server).unwrap();
        tokio::spawn(run(server, "127.0.0.1".to_string()));
        let headers = |kind: &str, port: u16| {
            let pairs = [("streamtype", kind), ("port", &port.to_string()), ("requestid", "0")];
            pairs.map(|(key, value)| (key.to_string(), value.to_string())).to_vec()
        };
        let mut error = client.open(headers("error", port)).await.unwrap();
        let mut data = client.open(headers("data", port)).await.unwrap();
        data.outgoing.send(b"ping").await;
        assert_eq!(data.incoming.recv().await.unwrap(), "PING");
        data.outgoing.finish().await;
        assert_eq!(data.incoming.recv().await, None);
        assert_eq!(error.incoming.recv().await, None, "nothing went wrong");
        let mut error = client.open(headers("error", port)).await.unwrap();
        let _data = client.open(headers("data", port)).await.unwrap();
        let text = error.incoming.recv().await.unwrap();
        assert!(text.starts_with(b"error forwarding port"), "nobody listens any more");
    }
}
