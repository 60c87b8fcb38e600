//! What the server is told at its start.

use std::net::IpAddr;
use std::time::Duration;

use crate::admission::Active;

/// Settings of an API server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Issuer of ServiceAccount tokens, an `https` URL.
    pub issuer: String,
    /// PEM of the P-256 or RSA key that signs ServiceAccount tokens.
    pub service_account_key_pem: Vec<u8>,
    /// How kubelets are reached for logs, exec and proxying; `None` answers 503 there.
    pub kubelet: Option<KubeletClient>,
    /// How aggregated servers are told who asks, and whose word on that is believed here; `None`
    /// neither tells nor believes.
    pub front_proxy: Option<FrontProxy>,
    /// The network that ClusterIPs are taken from, such as `10.96.0.0/12`.
    pub service_cidr: String,
    /// The networks that pods live in; endpoints in these may be loopback addresses.
    pub pod_cidrs: Vec<String>,
    /// The address at which the server is reached, for the `kubernetes` Service.
    pub advertise_address: IpAddr,
    /// The port at which the server is reached.
    pub advertise_port: u16,
    /// The longest a request may take that is no watch and no stream.
    pub request_timeout: Duration,
    /// How many reading requests are worked on at once.
    pub max_in_flight: usize,
    /// How many changing requests are worked on at once.
    pub max_mutating_in_flight: usize,
    /// A federation hub: nothing here runs pods.
    pub hub: bool,
    /// The components that decide what objects may look like.
    pub admission: Active,
}

/// The apiserver's own credentials towards kubelets, all PEM.
#[derive(Clone, Debug)]
pub struct KubeletClient {
    /// Client certificate and chain.
    pub certificate_pem: Vec<u8>,
    /// Its private key.
    pub key_pem: Vec<u8>,
    /// The CA that kubelets' serving certificates are verified with.
    pub ca_pem: Vec<u8>,
}

/// The front proxy: who may say in headers for whom it asks. All PEM.
#[derive(Clone, Debug)]
pub struct FrontProxy {
    /// The CA of such clients' certificates.
    pub ca_pem: Vec<u8>,
    /// The CA of all other clients' certificates, for aggregated servers to know.
    pub client_ca_pem: Vec<u8>,
    /// This server's own such certificate.
    pub certificate_pem: Vec<u8>,
    /// Its private key.
    pub key_pem: Vec<u8>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issuer: "https://kubernetes.default.svc.cluster.local".to_string(),
            service_account_key_pem: Vec::new(),
            kubelet: None,
            front_proxy: None,
            service_cidr: "10.96.0.0/12".to_string(),
            pod_cidrs: Vec::new(),
            advertise_address: IpAddr::from([127, 0, 0, 1]),
            advertise_port: 6443,
            request_timeout: Duration::from_secs(60),
            max_in_flight: 400,
            max_mutating_in_flight: 200,
            hub: false,
            admission: Active::default(),
        }
    }
}
