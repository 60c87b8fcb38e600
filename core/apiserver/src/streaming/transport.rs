//! How the API server reaches kubelets: TLS with its own client certificate.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::{ApiError, GroupResource, meta};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::objects::Objects;
use crate::server::tls::{self, Error};
use crate::server::{ApiServer, KubeletClient};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// kubelet's port where the Node does not say.
const DEFAULT_PORT: u64 = 10250;
const ADDRESS_ORDER: [&str; 5] =
    ["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"];

/// A byte stream to the far end.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// TLS towards kubelets.
pub struct KubeletTransport {
    connector: tokio_rustls::TlsConnector,
}

impl KubeletTransport {
    /// Reads the client certificate and the CA of kubelets' serving certificates.
    ///
    /// # Errors
    /// If the PEM holds nothing usable.
    pub fn new(client: &KubeletClient) -> Result<Self, Error> {
        let roots = tls::roots(&client.ca_pem, "kubelet CA")?;
        let chain = tls::certificates(&client.certificate_pem, "kubelet client certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&client.key_pem)
            .map_err(|_| Error::Pem("kubelet client key"))?;
        let mut config = rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: Arc::new(config).into() })
    }

    async fn connect(&self, to: &Authority) -> std::io::Result<impl Stream + use<>> {
        let name = ServerName::try_from(to.host.clone()).map_err(std::io::Error::other)?;
        let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
        stream.set_nodelay(true)?;
        self.connector.connect(name, stream).await
    }
}

/// A connection to a node's kubelet.
pub(super) async fn connect_kubelet(
    server: &Arc<ApiServer>,
    to: &Authority,
) -> Result<Box<dyn Stream>, ApiError> {
    let Some(transport) = &server.kubelets else {
        return Err(ApiError::unavailable("this API server has no credentials for kubelets"));
    };
    let stream = bounded(to, transport.connect(to)).await?;
    Ok(Box::new(stream))
}

/// A plain connection to a pod.
pub(super) async fn connect_plain(to: &Authority) -> Result<Box<dyn Stream>, ApiError> {
    let stream = bounded(to, TcpStream::connect((to.host.as_str(), to.port))).await?;
    Ok(Box::new(stream))
}

/// A TLS connection to a pod or node whose certificate nobody vouches for, as upstream proxies.
pub(super) async fn connect_unverified(to: &Authority) -> Result<Box<dyn Stream>, ApiError> {
    let mut config = tls::unverified().map_err(ApiError::internal)?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(to.host.clone()).map_err(ApiError::internal)?;
    let connect = async {
        let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
        connector.connect(name, stream).await
    };
    Ok(Box::new(bounded(to, connect).await?))
}

async fn bounded<T>(
    to: &Authority,
    connect: impl Future<Output = std::io::Result<T>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(CONNECT_LIMIT, connect).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(to, &error.to_string())),
        Err(_) => Err(unreachable(to, "i/o timeout")),
    }
}

/// Upstream's words where the far end does not answer, under reason `ServiceUnavailable`.
pub(super) fn unreachable(to: &Authority, why: &str) -> ApiError {
    ApiError::unavailable(format!("error trying to reach service: dial tcp {to}: {why}"))
}

/// Where a node's kubelet listens.
pub(super) async fn kubelet_of(server: &Arc<ApiServer>, node: &str) -> Result<Authority, ApiError> {
    let found = server.objects().get("nodes", "", node).await;
    let nodes = GroupResource::new("", "nodes");
    let found = found.ok_or_else(|| ApiError::not_found(&nodes, node))?;
    kubelet_address(&found)
        .ok_or_else(|| ApiError::unavailable(format!("node {node:?} has no address yet")))
}

fn kubelet_address(node: &Value) -> Option<Authority> {
    let addresses = meta::list_at(node, &["status", "addresses"]);
    let address = ADDRESS_ORDER.iter().find_map(|kind| {
        addresses.iter().find(|address| address["type"] == *kind)?["address"].as_str()
    })?;
    let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    let port = port.as_u64().filter(|port| *port > 0).unwrap_or(DEFAULT_PORT);
    Some(Authority { host: address.to_string(), port: u16::try_from(port).ok()? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kubelet_is_where_its_node_says() {
        let mut node = json!({"status": {
            "addresses": [
                {"type": "Hostname", "address": "n1"},
                {"type": "InternalIP", "address": "10.0.0.7"},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 4194}},
        }});
        assert_eq!(kubelet_address(&node).unwrap().to_string(), "10.0.0.7:4194");
        node["status"]["daemonEndpoints"] = json!({});
        assert_eq!(kubelet_address(&node).unwrap().port, 10250);
        assert_eq!(kubelet_address(&json!({"status": {}})), None);
    }
}
