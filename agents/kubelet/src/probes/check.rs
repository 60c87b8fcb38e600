//! One attempt of a probe or hook: exec, HTTP, TCP, gRPC. `Err` carries what to tell the user.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction,
};
use hansa_api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::cri::Cri;

/// Most of an answer's body that is read, bytes.
const MOST_BODY: usize = 10 * 1024;

/// Where a container is to be reached.
#[derive(Debug, Clone)]
pub struct Target {
    /// The runtime's ID of the container.
    pub container_id: String,
    /// The pod's address.
    pub address: String,
    /// The container, for named ports.
    pub spec: Container,
}

/// One attempt of a probe.
///
/// # Errors
/// It failed; the text says how.
pub async fn probe(
    cri: &Cri,
    target: &Target,
    probe: &Probe,
    timeout: Duration,
) -> Result<(), String> {
    let attempt = async {
        if let Some(action) = &probe.exec {
            exec(cri, target, action, timeout).await
        } else if let Some(action) = &probe.http_get {
            http(target, action).await
        } else if let Some(action) = &probe.tcp_socket {
            tcp(target, action).await
        } else if let Some(action) = &probe.grpc {
            grpc(target, action).await
        } else {
            Ok(())
        }
    };
    match tokio::time::timeout(timeout + Duration::from_millis(200), attempt).await {
        Ok(result) => result,
        Err(_) => Err(format!("probe timed out after {timeout:?}")),
    }
}

/// Runs a command in the container: exit code 0 is success.
///
/// # Errors
/// Another exit code, with the output; or the runtime says no.
pub async fn exec(
    cri: &Cri,
    target: &Target,
    action: &ExecAction,
    timeout: Duration,
) -> Result<(), String> {
    let command = action.command.clone().unwrap_or_default();
    let ran = cri.exec_sync(&target.container_id, &command, timeout).await;
    let ran = ran.map_err(|error| error.message())?;
    if ran.exit_code == 0 {
        return Ok(());
    }
    let output = [ran.stdout, ran.stderr].concat();
    let output: String = String::from_utf8_lossy(&output).chars().take(1024).collect();
    Err(if output.is_empty() { format!("exit code {}", ran.exit_code) } else { output })
}

/// A GET answered with 200..399 is success.
///
/// # Errors
/// Another status, or no answer.
pub async fn http(target: &Target, action: &HTTPGetAction) -> Result<(), String> {
    let port = port(target, &action.port)?;
    let host = action.host.clone().filter(|host| !host.is_empty());
    let host = host.unwrap_or_else(|| target.address.clone());
    let stream = connect(&host, port).await?;
    let request = request(&host, port, action)?;
    let status = if action.scheme.as_deref() == Some("HTTPS") {
        let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
        let tls = tokio_rustls::TlsConnector::from(trusting_tls());
        let stream = tls.connect(name, stream).await.map_err(|error| error.to_string())?;
        ask(stream, request).await?
    } else {
        ask(stream, request).await?
    };
    if (200..400).contains(&status) {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {status}"))
}

fn request(
    host: &str,
    port: u16,
    action: &HTTPGetAction,
) -> Result<http::Request<Empty<Bytes>>, String> {
    let path = action.path.clone().unwrap_or_default();
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let mut request = http::Request::get(path);
    let headers = action.http_headers.iter().flatten();
    let has = |name: &str| {
        action.http_headers.iter().flatten().any(|own| own.name.eq_ignore_ascii_case(name))
    };
    if !has("host") {
        request = request.header("host", format!("{host}:{port}"));
    }
    if !has("user-agent") {
        request = request.header("user-agent", "kube-probe/1.36");
    }
    if !has("accept") {
        request = request.header("accept", "*/*");
    }
    for header in headers {
        request = request.header(&header.name, &header.value);
    }
    request.body(Empty::new()).map_err(|error| error.to_string())
}

async fn ask<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: hyper::Error| error.to_string();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(text)?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(text)?;
    let status = answer.status().as_u16();
    let _ = Limited::new(answer.into_body(), MOST_BODY).collect().await;
    driver.abort();
    Ok(status)
}

async fn tcp(target: &Target, action: &TCPSocketAction) -> Result<(), String> {
    let host = action.host.clone().filter(|host| !host.is_empty());
    let host = host.unwrap_or_else(|| target.address.clone());
    connect(&host, port(target, &action.port)?).await.map(drop)
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let connected = TcpStream::connect((host, port)).await;
    connected.map_err(|error| format!("dial tcp {host}:{port}: connect: {error}"))
}

/// A port by number, or by its name in the container.
fn port(target: &Target, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = target.spec.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    let number = number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0);
    number.ok_or_else(|| format!("couldn't find port: {port:?}"))
}

/// The request of grpc.health.v1.Health/Check.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// Its answer; 1 is SERVING.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn grpc(target: &Target, action: &GRPCAction) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let uri = format!("http://{}:{}", target.address, action.port);
    let endpoint = tonic::transport::Endpoint::from_shared(uri).map_err(|error| text(&error))?;
    let channel = endpoint.connect().await.map_err(|error| text(&error))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| text(&error))?;
    let request = HealthRequest { service: action.service.clone().unwrap_or_default() };
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<HealthRequest, HealthResponse>::default();
    let answer = client.unary(tonic::Request::new(request), path, codec).await;
    match answer.map(|answer| answer.into_inner().status) {
        Ok(1) => Ok(()),
        Ok(status) => Err(format!("service unhealthy (responded with status {status})")),
        Err(status) => Err(status.message().to_string()),
    }
}

/// TLS that takes any certificate: a probe asks whether somebody answers, not who.
fn trusting_tls() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn server(answer: &'static str) -> Target {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let number = i32::from(listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let ports = serde_json::json!([{"name": "web", "containerPort": number}]);
        let spec = serde_json::json!({"name": "c", "ports": ports});
        Target {
            container_id: String::new(),
            address: "127.0.0.1".to_string(),
            spec: serde_json::from_value(spec).unwrap(),
        }
    }

    fn get(port: &str) -> HTTPGetAction {
        HTTPGetAction { port: IntOrString::String(port.to_string()), ..Default::default() }
    }

    #[tokio::test]
    async fn http_by_named_port_and_status() {
        let good = server("HTTP/1.1 301 Moved\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(http(&good, &get("web")).await, Ok(()));
        let bad = server("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await;
        let error = http(&bad, &get("web")).await.unwrap_err();
        assert_eq!(error, "HTTP probe failed with statuscode: 503");
        assert!(http(&good, &get("none")).await.is_err());
    }
}
