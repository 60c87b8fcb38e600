//! The plain structs of the `hansa:federation` world; field for field what `wit/federation` says.

use serde::{Deserialize, Serialize};

pub use crate::intern::{Label, SetId, Sym};
pub use crate::scheduler::{Effect, Reason, Taint};

/// The dense index of a member cluster.
pub type Ix = u32;

/// Bit of [`ClusterRow::bits`]: the member is ready.
pub const READY: u32 = 1;

/// What a policy needs of a member, scalars only. Quantities are sums over the member's ready
/// nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRow {
    /// The member's index.
    pub ix: Ix,
    /// `metadata.name` of the Cluster.
    pub name: Sym,
    /// `spec.provider`.
    pub provider: Sym,
    /// `spec.region`.
    pub region: Sym,
    /// `spec.zone`, or the first of `spec.zones`.
    pub zone: Sym,
    /// The Cluster's labels, a defined label set.
    pub label_set: SetId,
    /// `spec.taints`, a defined taint set.
    pub taint_set: SetId,
    /// Flags, see [`READY`].
    pub bits: u32,
    /// Allocatable CPU, thousandths.
    pub cpu_milli: i64,
    /// Allocatable memory, bytes.
    pub memory: i64,
    /// Allocatable pods.
    pub pods: i64,
    /// CPU allocated, thousandths.
    pub used_cpu: i64,
    /// Memory allocated, bytes.
    pub used_memory: i64,
    /// Pods allocated.
    pub used_pods: i64,
    /// Round trip from the hub to the member's API, microseconds; 0 if unknown.
    pub latency_us: u32,
    /// Price of a CPU hour, thousandths of the user's unit; 0 if unknown.
    pub cost_milli: u32,
}

/// A group, version and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gvk {
    /// The group, empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
}

/// A workload that is to be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// UID of the ResourceBinding.
    pub uid: String,
    /// The template's kind.
    pub gvk: Gvk,
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// Replicas to divide; 0 for what has no replicas.
    pub replicas: u32,
    /// CPU requested by one replica, thousandths.
    pub cpu: i64,
    /// Memory requested by one replica, bytes.
    pub memory: i64,
    /// The policy's `placement` as JSON.
    pub policy: Vec<u8>,
    /// Where it runs now, with replicas.
    pub current: Vec<(Ix, u32)>,
}

/// A policy's verdict over all members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The last committed version of the store.
    pub version: u64,
    /// Bit `i`: member `i` may run it.
    pub feasible: Vec<u8>,
    /// Per member 0 to 100.
    pub scores: Vec<u8>,
    /// Per member 0 or 1 + the index of its reason in `legend`; may be empty.
    pub reasons: Vec<u8>,
    /// What the codes mean.
    pub legend: Vec<Reason>,
}

/// Replicas of one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The member.
    pub cluster: Ix,
    /// Its replicas.
    pub replicas: u32,
}

/// How a policy wants the replicas divided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Division {
    /// As the PropagationPolicy says; the host divides.
    #[default]
    ByPolicy,
    /// In proportion to these weights, one per candidate in their order; the host divides
    /// (Webster).
    Weights(Vec<u32>),
    /// Exactly so; the sum is the placement's replicas.
    Replicas(Vec<Share>),
}
