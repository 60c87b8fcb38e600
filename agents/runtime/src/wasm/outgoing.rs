//! HTTP requests that components make themselves. Plain HTTP only: inside a cluster that is what
//! Services speak, and a TLS client with its own roots would be a second trust store.

use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// How long to wait for a connection or an answer when the component names no time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends components' requests.
pub struct Outgoing;

type Finish = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Finish), Error>;

impl WasiHttpHooks for Outgoing {
    fn is_supported_scheme(&mut self, scheme: &Scheme) -> bool {
        *scheme == Scheme::HTTP
    }

    fn default_scheme(&mut self) -> Option<Scheme> {
        Some(Scheme::HTTP)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Finish,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(send(request, options.unwrap_or_default()))
    }
}

async fn send(mut request: http::Request<WasiBody>, options: RequestOptions) -> Sent {
    let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
    let (host, port) = (authority.host().to_string(), authority.port_u16().unwrap_or(80));
    let connecting = TcpStream::connect((host.trim_matches(['[', ']']), port));
    let stream = tokio::time::timeout(options.connect_timeout.unwrap_or(PATIENCE), connecting)
        .await
        .map_err(|_| Error::ConnectionTimeout)?
        .map_err(Error::Connect)?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let driver = tokio::spawn(connection);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_string();
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let answering = sender.send_request(request);
    let response = tokio::time::timeout(options.first_byte_timeout.unwrap_or(PATIENCE), answering)
        .await
        .map_err(|_| Error::ConnectionReadTimeout)??;
    let body = |body: hyper::body::Incoming| -> WasiBody {
        body.map_frame(|frame| frame.map_data(|data: Bytes| data))
            .map_err(Error::from)
            .boxed_unsync()
    };
    let finish = async move {
        match driver.await {
            Ok(ended) => ended.map_err(Error::from),
            Err(_) => Err(Error::ConnectionTerminated),
        }
    };
    Ok((response.map(body), Box::new(finish)))
}
