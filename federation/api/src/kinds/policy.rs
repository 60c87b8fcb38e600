//! `PropagationPolicy` and `ClusterPropagationPolicy` of policy.karmada.io/v1alpha1.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Placement, define_kind};

define_kind!(
    /// Propagates the objects of its namespace that it selects.
    PropagationPolicy, "PropagationPolicy", "policy.karmada.io"/"v1alpha1", "propagationpolicies",
    NamespaceResourceScope, PropagationSpec
);
define_kind!(
    /// Propagates the objects of any namespace, and of none, that it selects.
    ClusterPropagationPolicy, "ClusterPropagationPolicy", "policy.karmada.io"/"v1alpha1",
    "clusterpropagationpolicies", ClusterResourceScope, PropagationSpec
);

/// What is propagated, and whereto.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["resourceSelectors"]))]
pub struct PropagationSpec {
    /// The objects; one match is enough.
    #[schemars(length(min = 1))]
    pub resource_selectors: Vec<ResourceSelector>,
    /// Whether what the object refers to follows it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub propagate_deps: bool,
    /// Whereto.
    pub placement: Placement,
    /// Which of several matching policies wins: the highest.
    pub priority: i32,
    /// Whether this policy takes over what another one has claimed.
    pub preemption: PreemptionBehavior,
    /// OverridePolicies that must exist before anything is propagated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dependent_overrides: Vec<String>,
    /// The scheduler that decides.
    #[schemars(default = "default_scheduler")]
    pub scheduler_name: String,
    /// What happens when a workload or a cluster fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverBehavior>,
    /// What happens when the object is already there and not ours.
    pub conflict_resolution: ConflictResolution,
    /// Whether a change of this policy acts at once or with the object's next change.
    #[serde(skip_serializing_if = "ActivationPreference::is_default")]
    pub activation_preference: ActivationPreference,
    /// What is held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
    /// Whether members keep the object when the template is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_resources_on_deletion: Option<bool>,
    /// The binding's priority in the scheduler's queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_priority: Option<SchedulePriority>,
}

fn default_scheduler() -> String {
    "default-scheduler".into()
}

/// Selects objects of the hub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSelector {
    /// The objects' `group/version`.
    pub api_version: String,
    /// The objects' kind.
    pub kind: String,
    /// Their namespace; empty is the policy's own, or every one for a cluster-wide policy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object's name; excludes `labelSelector`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The objects' labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
}

/// Whether a policy takes over what another one has claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PreemptionBehavior {
    /// If its priority is higher.
    Always,
    /// Not at all.
    #[default]
    Never,
}

/// What happens when an object is already in the member and not the federation's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConflictResolution {
    /// It stays as it is and the conflict is reported.
    #[default]
    Abort,
    /// It is adopted.
    Overwrite,
}

/// When a changed policy acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActivationPreference {
    /// At once.
    #[default]
    #[serde(rename = "")]
    Immediate,
    /// With the object's next change.
    Lazy,
}

impl ActivationPreference {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What is held back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Suspension {
    /// Nothing is sent to any cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatching: Option<bool>,
    /// Nothing is sent to these clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatching_on_clusters: Option<SuspendClusters>,
    /// Nothing is scheduled; set on bindings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<bool>,
}

impl Suspension {
    /// Whether sending to a cluster is held back.
    pub fn holds_dispatching_to(&self, cluster: &str) -> bool {
        let named = self.dispatching_on_clusters.as_ref();
        self.dispatching == Some(true)
            || named.is_some_and(|c| c.cluster_names.iter().any(|n| n == cluster))
    }
}

/// Clusters to which nothing is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SuspendClusters {
    /// Their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_names: Vec<String>,
}

/// Where a binding's priority comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SchedulePriority {
    /// `KubePriorityClass`.
    pub priority_class_source: String,
    /// The class.
    pub priority_class_name: String,
}

/// What happens when a workload or a cluster fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FailoverBehavior {
    /// When the workload fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationFailover>,
    /// When the cluster fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterFailover>,
}

/// What happens when the workload fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationFailover {
    /// When it counts as failed.
    pub decision_conditions: DecisionConditions,
    /// How it leaves the cluster.
    pub purge_mode: PurgeMode,
    /// How long it may stay beside its replacement, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i32>,
    /// What moves along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_preservation: Option<StatePreservation>,
}

/// When a workload counts as failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DecisionConditions {
    /// How long it may be unhealthy, seconds.
    pub toleration_seconds: Option<i32>,
}

impl Default for DecisionConditions {
    fn default() -> Self {
        Self { toleration_seconds: Some(300) }
    }
}

/// What happens when the cluster fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterFailover {
    /// How workloads leave the cluster.
    pub purge_mode: PurgeMode,
    /// What moves along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_preservation: Option<StatePreservation>,
}

/// How a workload leaves a cluster that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PurgeMode {
    /// At once.
    #[serde(alias = "Immediately")]
    Directly,
    /// When its replacement is healthy or the grace period is over.
    #[default]
    #[serde(alias = "Graciously")]
    Gracefully,
    /// Only by hand.
    Never,
}

/// State that moves along with a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StatePreservation {
    /// What is read from the status and under which label it arrives.
    pub rules: Vec<StatePreservationRule>,
}

/// One value that moves along.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StatePreservationRule {
    /// The label on the new object.
    pub alias_label_name: String,
    /// Where in the old object's status the value stands.
    pub json_path: String,
}
