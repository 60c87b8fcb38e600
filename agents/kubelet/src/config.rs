//! What a kubelet must be told.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::Taint;

/// A kubelet's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name; also its hostname label.
    pub node_name: String,
    /// The runtime's socket: a path, or `unix://` and a path.
    pub cri_endpoint: String,
    /// Where pods, volumes and logs live.
    pub root_dir: PathBuf,
    /// The node's address, for the status and for pods on the host's network.
    pub address: IpAddr,
    /// Port of the HTTPS server; 0 takes a free one. The status says which.
    pub port: u16,
    /// Labels of the node at its registration.
    pub labels: BTreeMap<String, String>,
    /// Taints of the node at its registration.
    pub taints: Vec<Taint>,
    /// Whether a cloud-controller-manager is to complete the node: then it starts with the taint
    /// `node.cloudprovider.kubernetes.io/uninitialized`.
    pub external_cloud: bool,
    /// The node's provider ID, if it is known here.
    pub provider_id: Option<String>,
    /// The cluster's DNS servers, for pods with `ClusterFirst`.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// Capacity to claim instead of what the machine has; for hollow nodes.
    pub capacity: BTreeMap<String, String>,
    /// The HTTPS server's certificates.
    pub tls: Tls,
    /// How the runtime's containers are looked at, and how often status is sent.
    pub periods: Periods,
}

/// The HTTPS server's identity and whom it lets in.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// The CA of clients (the apiserver), PEM. Without it nobody is let in but to `/healthz`.
    pub client_ca_pem: Option<String>,
    /// Serving certificate chain and key, PEM. Without it a self-signed one is made.
    pub serving_pem: Option<(String, String)>,
}

/// How often things are done.
#[derive(Debug, Clone, Copy)]
pub struct Periods {
    /// Between two looks at the runtime's containers.
    pub relist: Duration,
    /// Between two node status reports without a change.
    pub node_status: Duration,
    /// Between two renewals of the node's lease.
    pub lease_renew: Duration,
    /// How long the lease lasts.
    pub lease: Duration,
    /// Between two looks at a pod when nothing happens: volumes follow their sources then.
    pub resync: Duration,
    /// The first back-off of a container that keeps ending, and of a failed pull.
    pub backoff: Duration,
    /// The longest back-off.
    pub backoff_most: Duration,
}

impl Default for Periods {
    fn default() -> Self {
        Self {
            relist: Duration::from_secs(1),
            node_status: Duration::from_secs(10),
            lease_renew: Duration::from_secs(10),
            lease: Duration::from_secs(40),
            resync: Duration::from_secs(60),
            backoff: Duration::from_secs(10),
            backoff_most: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// A kubelet with defaults: upstream's periods, a free port, 110 pods.
    #[must_use]
    pub fn new(node_name: &str, cri_endpoint: &str, root_dir: PathBuf) -> Self {
        Self {
            node_name: node_name.to_string(),
            cri_endpoint: cri_endpoint.to_string(),
            root_dir,
            address: IpAddr::from([127, 0, 0, 1]),
            port: 0,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            external_cloud: false,
            provider_id: None,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_string(),
            max_pods: 110,
            capacity: BTreeMap::new(),
            tls: Tls::default(),
            periods: Periods::default(),
        }
    }

    /// Where the HTTPS server listens.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}
