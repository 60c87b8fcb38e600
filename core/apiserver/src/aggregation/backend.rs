//! One aggregated API server: where it is, how it is reached, what it serves.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_api::selector::Selector;
use hansa_api::{ApiError, meta};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;

use super::documents::Documents;
use super::priority::Priority;
use crate::generic::filter::Filter;
use crate::objects::Objects;
use crate::server::{ApiServer, FrontProxy, tls};
use crate::streaming::{Authority, Stream};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Where systems keep the CAs that they trust, for APIServices without a `caBundle`.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The Service that leads to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceRef {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Backend {
    /// The APIService's name.
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) service: ServiceRef,
    pub(crate) priority: Priority,
    /// Whether its `Available` condition is true.
    pub(crate) available: bool,
    /// What it says of itself; survives changes of its condition.
    pub(super) documents: Arc<ArcSwap<Documents>>,
    spec: Value,
    tls: Result<tokio_rustls::TlsConnector, String>,
}

/// This server's client certificate towards aggregated servers.
#[derive(Debug)]
pub(crate) struct FrontProxyTls {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl FrontProxyTls {
    /// Reads the certificate and its key.
    pub(crate) fn new(material: &FrontProxy) -> Result<Self, tls::Error> {
        let chain = tls::certificates(&material.certificate_pem, "front proxy certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&material.key_pem)
            .map_err(|_| tls::Error::Pem("front proxy key"))?;
        Ok(Self { chain, key })
    }
}

impl Backend {
    /// The server of an APIService.
    pub(super) fn new(service: &Value, front_proxy: Option<&FrontProxyTls>) -> Self {
        let spec = service["spec"].clone();
        let text = |path: &[&str]| meta::str_at(&spec, path).to_string();
        let number = |name: &str| spec[name].as_i64().unwrap_or_default();
        let port = spec["service"]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        Self {
            name: meta::name(service).to_string(),
            group: text(&["group"]),
            version: text(&["version"]),
            service: ServiceRef {
                namespace: text(&["service", "namespace"]),
                name: text(&["service", "name"]),
                port: port.unwrap_or(443),
            },
            priority: Priority {
                group: number("groupPriorityMinimum"),
                version: number("versionPriority"),
            },
            available: is_available(service),
            documents: Arc::default(),
            tls: connector(&spec, front_proxy).map_err(|error| error.to_string()),
            spec,
        }
    }

    /// Whether it is the server that an APIService describes.
    pub(super) fn is_of(&self, service: &Value) -> bool {
        self.spec == service["spec"]
    }

    /// The same server in another condition.
    pub(super) fn with_status(&self, service: &Value) -> Self {
        Self { available: is_available(service), ..self.clone() }
    }

    /// The path that it must serve.
    pub(super) fn root(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }

    /// Whether it is behind this Service.
    pub(super) fn is_behind(&self, namespace: &str, name: &str) -> bool {
        self.service.namespace == namespace && self.service.name == name
    }

    /// The Service's endpoint slices.
    pub(super) async fn slices(&self, server: &ApiServer) -> Result<Vec<Arc<Value>>, ApiError> {
        let labels = Selector::parse(&format!("kubernetes.io/service-name={}", self.service.name));
        let labels = labels.map_err(ApiError::internal)?;
        let filter = Filter { labels, ..Filter::all(&self.service.namespace) };
        server.registry.select_cached("discovery.k8s.io", "endpointslices", &filter).await
    }

    /// One of the Service's endpoints, or where an external name leads.
    pub(super) async fn resolve(&self, server: &ApiServer) -> Result<Authority, String> {
        let ServiceRef { namespace, name, port } = &self.service;
        let objects = server.objects();
        let service = objects.get("services", namespace, name).await;
        let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
        if meta::str_at(&service, &["spec", "type"]) == "ExternalName" {
            let host = meta::str_at(&service, &["spec", "externalName"]).to_string();
            return Ok(Authority { host, port: *port });
        }
        let slices = self.slices(server).await.map_err(|error| error.to_string())?;
        let wanted = port_name(&service, *port)
            .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
        pick(&slices, &wanted).ok_or_else(|| format!("no endpoints available for service {name:?}"))
    }

    /// A connection to one of its endpoints.
    pub(super) async fn connect(&self, to: &Authority) -> Result<Box<dyn Stream>, String> {
        let connector = self.tls.clone()?;
        let ServiceRef { namespace, name, .. } = &self.service;
        let server_name = ServerName::try_from(format!("{name}.{namespace}.svc"));
        let server_name = server_name.map_err(|error| error.to_string())?;
        let connect = async {
            let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
            stream.set_nodelay(true)?;
            connector.connect(server_name, stream).await
        };
        match tokio::time::timeout(CONNECT_LIMIT, connect).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(format!("dial tcp {to}: {error}")),
            Err(_) => Err(format!("dial tcp {to}: i/o timeout")),
        }
    }
}

fn is_available(service: &Value) -> bool {
    let conditions = meta::list_at(service, &["status", "conditions"]);
    conditions.iter().any(|one| one["type"] == "Available" && one["status"] == "True")
}

/// The name of a Service's port of this number; a port may have none.
pub(super) fn port_name(service: &Value, port: u16) -> Option<String> {
    let ports = meta::list_at(service, &["spec", "ports"]);
    let found = ports.iter().find(|one| one["port"].as_u64() == Some(port.into()))?;
    Some(meta::str_at(found, &["name"]).to_string())
}

/// Any ready endpoint that has the named port.
fn pick(slices: &[Arc<Value>], port_name: &str) -> Option<Authority> {
    let mut found: Vec<Authority> =
        slices.iter().flat_map(|slice| ready(slice, port_name)).collect();
    if found.is_empty() {
        return None;
    }
    let at = rand::random_range(0..found.len());
    Some(found.swap_remove(at))
}

/// The ready endpoints of a slice that have the named port.
pub(super) fn ready(slice: &Value, port_name: &str) -> Vec<Authority> {
    let ports = meta::list_at(slice, &["ports"]);
    let port = ports.iter().find(|one| meta::str_at(one, &["name"]) == port_name);
    let Some(port) = port.and_then(|one| u16::try_from(one["port"].as_u64()?).ok()) else {
        return Vec::new();
    };
    let endpoints = meta::list_at(slice, &["endpoints"]).iter();
    let ready = endpoints.filter(|one| one["conditions"]["ready"] != false);
    let addresses = ready.flat_map(|one| meta::list_at(one, &["addresses"]));
    let hosts = addresses.filter_map(Value::as_str).map(String::from);
    hosts.map(|host| Authority { host, port }).collect()
}

fn connector(
    spec: &Value,
    front_proxy: Option<&FrontProxyTls>,
) -> Result<tokio_rustls::TlsConnector, tls::Error> {
    let builder = if meta::bool_at(spec, &["insecureSkipTLSVerify"]) {
        tls::unverified()?
    } else {
        let roots = trusted(meta::str_at(spec, &["caBundle"]))?;
        rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
    };
    let mut config = match front_proxy {
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// The CAs of a `caBundle`, or those that the system trusts.
fn trusted(bundle: &str) -> Result<RootCertStore, tls::Error> {
    if !bundle.is_empty() {
        let pem = STANDARD.decode(bundle).map_err(|_| tls::Error::Pem("caBundle"))?;
        return tls::roots(&pem, "caBundle");
    }
    let mut roots = RootCertStore::empty();
    if let Some(pem) = SYSTEM_ROOTS.iter().find_map(|path| std::fs::read(path).ok()) {
        roots.add_parsable_certificates(tls::certificates(&pem, "system CAs")?);
    }
    Ok(roots)
}
