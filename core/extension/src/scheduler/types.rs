//! The plain structs of the `hansa:scheduler` world; field for field what `wit/scheduler` says.
//!
//! Text is interned: a [`Sym`] is the id of a string, 0 is the empty string. Quantities are
//! absolute, never differences, so a row may be sent twice and a store can be rebuilt from the
//! latest rows.

use serde::{Deserialize, Serialize};

pub use crate::intern::{Label, SetId, Sym};

/// The dense index of a node; freed by removal and then reused.
pub type Ix = u32;

/// Bit of [`NodeRow::bits`]: `spec.unschedulable` of the node is true.
pub const UNSCHEDULABLE: u32 = 1;

/// What all default plugins need of a node, scalars only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// The node's index.
    pub ix: Ix,
    /// `metadata.name`.
    pub name: Sym,
    /// The node's labels, a defined label set.
    pub label_set: SetId,
    /// `spec.taints`, a defined taint set.
    pub taint_set: SetId,
    /// Reserved: 0.
    pub image_set: SetId,
    /// Value of the label `topology.kubernetes.io/zone`, 0 if none.
    pub topo_zone: Sym,
    /// Value of the label `topology.kubernetes.io/region`, 0 if none.
    pub topo_region: Sym,
    /// Flags, see [`UNSCHEDULABLE`].
    pub bits: u32,
    /// Allocatable CPU, thousandths.
    pub cpu_milli: i64,
    /// Allocatable memory, bytes.
    pub memory: i64,
    /// Allocatable ephemeral storage, bytes.
    pub ephemeral: i64,
    /// Allocatable pods.
    pub pods: i64,
    /// CPU requested by the pods on the node (bound or assumed), thousandths.
    pub used_cpu: i64,
    /// Memory requested, bytes.
    pub used_memory: i64,
    /// Ephemeral storage requested, bytes.
    pub used_ephemeral: i64,
    /// Pods on the node.
    pub used_pods: i64,
    /// CPU requested where a container without a request counts as 100 (kube-scheduler's
    /// non-zero default), thousandths. For scoring.
    pub nz_cpu: i64,
    /// Memory requested where a container without a request counts as 200 MiB, bytes.
    pub nz_memory: i64,
}

/// What is used on a node now; replaces the `used_*` and `nz_*` of its row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// The node.
    pub ix: Ix,
    /// CPU requested, thousandths.
    pub cpu: i64,
    /// Memory requested, bytes.
    pub memory: i64,
    /// Ephemeral storage requested, bytes.
    pub ephemeral: i64,
    /// Pods.
    pub pods: i64,
    /// CPU with non-zero defaults, thousandths.
    pub nz_cpu: i64,
    /// Memory with non-zero defaults, bytes.
    pub nz_memory: i64,
}

/// One extended resource (or huge page size) of one node. `allocatable` 0 and `used` 0 removes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtRow {
    /// The node.
    pub ix: Ix,
    /// The resource's name.
    pub name: Sym,
    /// Allocatable.
    pub allocatable: i64,
    /// Requested by the pods on the node.
    pub used: i64,
}

/// The protocol of a host port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP, the default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of the host that a container wants. Two conflict if protocol and port are equal and the
/// addresses are equal or one of them is `0.0.0.0` (0, the empty text, counts as `0.0.0.0`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// `hostIP`, 0 for all addresses.
    pub ip: Sym,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// How many pods on a node hold a host port; 0 removes the row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// The node.
    pub ix: Ix,
    /// The port.
    pub port: HostPort,
    /// Pods on the node that hold it.
    pub used: u32,
}

/// How many pods of a pod group run on a node; 0 removes the row.
///
/// A pod group is a defined pair of namespace and label set: all pods with the same namespace and
/// the same labels. Selectors of spread constraints are matched against groups, of which there are
/// about as many as ReplicaSets, and never against pods. Pods that are being deleted are not
/// counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// The node.
    pub ix: Ix,
    /// The pod group.
    pub group: SetId,
    /// Its pods on the node.
    pub pods: u32,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// No new pods.
    NoSchedule,
    /// Rather no new pods.
    PreferNoSchedule,
    /// No new pods, and those that run are evicted.
    NoExecute,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Taint {
    /// The key.
    pub key: Sym,
    /// The value, 0 if none.
    pub value: Sym,
    /// The effect.
    pub effect: Effect,
}

/// The operator of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The label's value is one of `values`.
    In,
    /// The label is absent or its value is none of `values`.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label's value is an integer greater than the one in `values`.
    Gt,
    /// The label's value is an integer less than the one in `values`.
    Lt,
}

/// One expression of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// The label's key.
    pub key: Sym,
    /// The operator.
    pub op: Op,
    /// The values.
    pub values: Vec<Sym>,
}

/// A node selector term: all expressions over labels and all over fields hold.
/// A term with neither matches no node (upstream's rule).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// `matchExpressions`.
    pub expressions: Vec<Requirement>,
    /// `matchFields`; upstream knows one field, `metadata.name`.
    pub fields: Vec<Requirement>,
}

/// A term that attracts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferredTerm {
    /// 1 to 100.
    pub weight: i32,
    /// What attracts.
    pub term: Term,
}

/// A toleration of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toleration {
    /// The taint's key; 0 with `any_value` tolerates every key.
    pub key: Sym,
    /// Operator `Exists`: every value.
    pub any_value: bool,
    /// The taint's value, with operator `Equal`.
    pub value: Sym,
    /// The taint's effect; none tolerates every effect.
    pub effect: Option<Effect>,
}

/// A topology spread constraint. `matchLabelKeys` are already merged into the selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The label whose values are the domains.
    pub topology_key: Sym,
    /// `maxSkew`.
    pub max_skew: u32,
    /// `DoNotSchedule`; otherwise `ScheduleAnyway`.
    pub hard: bool,
    /// Which pods (of the pod's namespace) are counted: none matches no pod, an empty list every
    /// pod.
    pub selector: Option<Vec<Requirement>>,
    /// `minDomains`; 0 if unset.
    pub min_domains: u32,
    /// `nodeAffinityPolicy: Honor` (the default): nodes outside the pod's affinity do not count.
    pub honor_affinity: bool,
    /// `nodeTaintsPolicy: Honor`: nodes with untolerated taints do not count (default: they count).
    pub honor_taints: bool,
}

/// What plugins see of a pod that is to be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodView {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: Sym,
    /// UID of the controlling owner, 0 if none.
    pub owner: Sym,
    /// The labels, ascending by key text.
    pub labels: Vec<Label>,
    /// `spec.priority`.
    pub priority: i32,
    /// How often it was tried before.
    pub attempt: u32,
    /// CPU requested (KEP-753's sum with init containers, plus overhead), thousandths.
    pub cpu: i64,
    /// Memory requested, bytes.
    pub memory: i64,
    /// Ephemeral storage requested, bytes.
    pub ephemeral: i64,
    /// CPU with the non-zero default, thousandths.
    pub nz_cpu: i64,
    /// Memory with the non-zero default, bytes.
    pub nz_memory: i64,
    /// Extended resources requested.
    pub ext: Vec<(Sym, i64)>,
    /// `spec.nodeName`, 0 if none.
    pub node_name: Sym,
    /// `spec.nodeSelector`.
    pub node_selector: Vec<Label>,
    /// `requiredDuringSchedulingIgnoredDuringExecution` node terms: one of them holds; empty: no
    /// wish.
    pub required: Vec<Term>,
    /// `preferredDuringSchedulingIgnoredDuringExecution` node terms.
    pub preferred: Vec<PreferredTerm>,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
    /// `spec.topologySpreadConstraints`.
    pub spreads: Vec<Spread>,
    /// The selectors of the Services and the controller that own the pod, merged; for the default
    /// spreading of pods without constraints of their own. Empty: there are none.
    pub owner_selector: Vec<Requirement>,
    /// Host ports wanted.
    pub host_ports: Vec<HostPort>,
    /// Images of the containers.
    pub images: Vec<Sym>,
    /// The pod as JSON; empty unless the plugin asks for it.
    pub raw: Vec<u8>,
}

/// What is asked of a plugin in one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Which candidates may run the pod.
    pub filter: bool,
    /// How good the candidates are.
    pub score: bool,
    /// Why candidates were rejected.
    pub reasons: bool,
}

impl Want {
    /// Verdicts only.
    pub const FILTER: Self = Self { filter: true, score: false, reasons: false };
    /// Verdicts with reasons.
    pub const REASONS: Self = Self { filter: true, score: false, reasons: true };
    /// Scores only.
    pub const SCORE: Self = Self { filter: false, score: true, reasons: false };
}

/// Why a plugin rejects a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Texts as kube-scheduler writes them, e.g. `Insufficient cpu`; one or more.
    pub texts: Vec<String>,
    /// Evicting pods could help (`Unschedulable`); otherwise `UnschedulableAndUnresolvable`.
    pub preemptible: bool,
}

/// One plugin's answer for all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The last committed version of the store.
    pub version: u64,
    /// Bit `i`: node `i` is a candidate and passes.
    pub feasible: Vec<u8>,
    /// Per node 0 or 1 + the index of its reason in `legend`; empty unless asked.
    pub reasons: Vec<u8>,
    /// What the codes in `reasons` mean.
    pub legend: Vec<Reason>,
    /// Per node 0 to 100, normalised over the candidates; empty unless asked.
    pub scores: Vec<u8>,
}

/// A supposed change of one node, in the absolute rows that would be sent if it happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Usage.
    pub usage: Option<UsageRow>,
    /// Extended resources.
    pub ext: Vec<ExtRow>,
    /// Host ports.
    pub ports: Vec<PortRow>,
    /// Pod groups.
    pub groups: Vec<GroupRow>,
}

/// What a plugin answers and which feeds it needs; what it does not need is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interests {
    /// It answers `Want::filter`.
    pub filter: bool,
    /// It answers `Want::score`.
    pub score: bool,
    /// It needs usage rows.
    pub usage: bool,
    /// It needs extended resources.
    pub ext: bool,
    /// It needs host ports.
    pub ports: bool,
    /// It needs pod groups.
    pub groups: bool,
}

impl Interests {
    /// Everything.
    pub const ALL: Self =
        Self { filter: true, score: true, usage: true, ext: true, ports: true, groups: true };
}
