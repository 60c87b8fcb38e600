//! The `cloud` world: what a cloud makes of nodes, Services and routes.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::PluginError;

/// What kind of answer a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// The provider does not do this.
    Unsupported,
    /// The question is wrong.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Somebody else has it.
    Conflict,
    /// Later perhaps.
    Retryable,
    /// No room.
    Unschedulable,
    /// The provider is broken.
    Internal,
}

/// A provider's "no", or a broken provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// The provider answered with a failure.
    #[error("{message}")]
    Failure {
        /// What kind.
        code: Code,
        /// For people.
        message: String,
        /// When to ask again, milliseconds; 0 if it does not say.
        retry_after_ms: u32,
    },
    /// The provider did not answer properly.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

impl CloudError {
    /// Whether the provider says that it does not do this at all.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Failure { code: Code::Unsupported, .. })
    }
}

/// The kind of a node address, as in `status.addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressKind {
    /// `Hostname`.
    Hostname,
    /// `InternalIP`.
    InternalIp,
    /// `ExternalIP`.
    ExternalIp,
    /// `InternalDNS`.
    InternalDns,
    /// `ExternalDNS`.
    ExternalDns,
}

impl AddressKind {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hostname => "Hostname",
            Self::InternalIp => "InternalIP",
            Self::ExternalIp => "ExternalIP",
            Self::InternalDns => "InternalDNS",
            Self::ExternalDns => "ExternalDNS",
        }
    }

    /// The kind that the API's word names.
    pub fn parse(word: &str) -> Option<Self> {
        use AddressKind::*;
        let all = [Hostname, InternalIp, ExternalIp, InternalDns, ExternalDns];
        all.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A node address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// What kind.
    pub kind: AddressKind,
    /// The address.
    pub value: String,
}

/// A node as the API server knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRef {
    /// `metadata.name`.
    pub name: String,
    /// `spec.providerID`, empty if not set yet.
    pub provider_id: String,
    /// The labels.
    pub labels: Vec<(String, String)>,
    /// The addresses that its kubelet reported.
    pub addresses: Vec<Address>,
}

/// What became of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// It runs.
    Running,
    /// It exists and is shut down.
    ShutDown,
    /// It is gone; the node may be deleted.
    NotFound,
}

/// What the cloud knows of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// For `spec.providerID`.
    pub provider_id: String,
    /// For `node.kubernetes.io/instance-type`.
    pub instance_type: String,
    /// For `topology.kubernetes.io/zone`.
    pub zone: String,
    /// For `topology.kubernetes.io/region`.
    pub region: String,
    /// For `status.addresses`.
    pub addresses: Vec<Address>,
    /// More labels for the node.
    pub extra_labels: Vec<(String, String)>,
}

/// A port's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LbPort {
    /// The port's name.
    pub name: String,
    /// Its protocol.
    pub proto: Proto,
    /// Where clients connect.
    pub port: u16,
    /// The node port behind it, 0 if none.
    pub node_port: u16,
}

/// An address of a load balancer, as in `status.loadBalancer.ingress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LbIngress {
    /// The IP, or empty.
    pub ip: String,
    /// The name, or empty.
    pub hostname: String,
    /// `VIP` or `Proxy`, or empty.
    pub ip_mode: String,
}

/// A Service of type LoadBalancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LbSpec {
    /// The cluster's name.
    pub cluster: String,
    /// The Service's UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its ports.
    pub ports: Vec<LbPort>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: Vec<String>,
    /// `spec.sessionAffinity` is `ClientIP`.
    pub session_affinity: bool,
    /// `spec.externalTrafficPolicy` is `Local`.
    pub external_traffic_local: bool,
    /// `spec.healthCheckNodePort`, 0 if none.
    pub health_port: u16,
    /// Its annotations.
    pub annotations: Vec<(String, String)>,
    /// What its status says now, so that a provider that restarts keeps addresses.
    pub current: Vec<LbIngress>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The cloud's name for it.
    pub name: String,
    /// The node.
    pub target_node: String,
    /// The pods behind it.
    pub destination_cidr: String,
    /// The target is gone.
    pub blackhole: bool,
}

/// A cloud. Implementations serialise calls themselves; a call may take as long as a cloud takes.
#[async_trait]
pub trait CloudProvider: Send + Sync {
    /// What became of these nodes' instances, in their order.
    async fn instance_states(&self, nodes: &[NodeRef]) -> Result<Vec<InstanceState>, CloudError>;
    /// What is known of these nodes' instances, in their order.
    async fn instance_metadata(
        &self,
        nodes: &[NodeRef],
    ) -> Result<Vec<Result<Instance, CloudError>>, CloudError>;
    /// Region and zone of this control plane.
    async fn local_zone(&self) -> Result<(String, String), CloudError>;
    /// The load balancer's name.
    async fn load_balancer_name(&self, spec: &LbSpec) -> Result<String, CloudError>;
    /// The load balancer's addresses; none if there is no such load balancer.
    async fn load_balancer(&self, spec: &LbSpec) -> Result<Option<Vec<LbIngress>>, CloudError>;
    /// Creates or changes the load balancer.
    async fn ensure_load_balancer(
        &self,
        spec: &LbSpec,
        nodes: &[NodeRef],
    ) -> Result<Vec<LbIngress>, CloudError>;
    /// Changes the nodes behind the load balancer.
    async fn update_load_balancer(
        &self,
        spec: &LbSpec,
        nodes: &[NodeRef],
    ) -> Result<(), CloudError>;
    /// Deletes the load balancer; fine if there is none.
    async fn delete_load_balancer(&self, spec: &LbSpec) -> Result<(), CloudError>;
    /// The cluster's routes.
    async fn routes(&self, cluster: &str) -> Result<Vec<Route>, CloudError>;
    /// Creates a route; `hint` makes its name unique.
    async fn create_route(&self, cluster: &str, hint: &str, r: &Route) -> Result<(), CloudError>;
    /// Deletes a route.
    async fn delete_route(&self, cluster: &str, r: &Route) -> Result<(), CloudError>;
}
