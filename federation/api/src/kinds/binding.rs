//! `ResourceBinding` and `ClusterResourceBinding` of work.karmada.io/v1alpha2.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::placement::is_zero;
use super::{ConflictResolution, FailoverBehavior, Placement, PurgeMode, Suspension, define_kind};

define_kind!(
    /// Binds a namespaced template to clusters.
    ResourceBinding, "ResourceBinding", "work.karmada.io"/"v1alpha2", "resourcebindings",
    NamespaceResourceScope, ResourceBindingSpec, ResourceBindingStatus
);
define_kind!(
    /// Binds a cluster-scoped template to clusters.
    ClusterResourceBinding, "ClusterResourceBinding", "work.karmada.io"/"v1alpha2",
    "clusterresourcebindings", ClusterResourceScope, ResourceBindingSpec, ResourceBindingStatus
);

/// What is bound, by which rules, and to which clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["resource"]))]
pub struct ResourceBindingSpec {
    /// The template.
    pub resource: ObjectReference,
    /// Whether what the template refers to follows it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub propagate_deps: bool,
    /// What one replica needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_requirements: Option<ReplicaRequirements>,
    /// The template's replicas; 0 for what has none.
    #[serde(skip_serializing_if = "is_zero")]
    pub replicas: i32,
    /// The decision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<TargetCluster>,
    /// The rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// Clusters that the object is leaving.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub graceful_eviction_tasks: Vec<GracefulEvictionTask>,
    /// The bindings whose templates refer to this one, and where they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_by: Vec<BindingSnapshot>,
    /// The scheduler that decides.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheduler_name: String,
    /// What happens when a workload or a cluster fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverBehavior>,
    /// What happens when the object is already in a member.
    pub conflict_resolution: ConflictResolution,
    /// Set to decide anew even if nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reschedule_triggered_at: Option<Time>,
    /// What is held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
    /// Whether members keep the object when the template is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_resources_on_deletion: Option<bool>,
}

/// An object of the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// `group/version`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The namespace; empty for what is cluster-scoped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The version that the binding was made from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

/// What one replica needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaRequirements {
    /// The sums of its containers' requests.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_request: BTreeMap<String, Quantity>,
    /// Its namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its priority class.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub priority_class_name: String,
}

/// A chosen cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetCluster {
    /// Its name.
    pub name: String,
    /// Its replicas; 0 for what has none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replicas: i32,
}

/// A cluster that an object is leaving.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["fromCluster", "reason", "producer"]))]
pub struct GracefulEvictionTask {
    /// The cluster.
    pub from_cluster: String,
    /// How the object leaves.
    pub purge_mode: PurgeMode,
    /// The replicas that were there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Why, in one word: `TaintUntolerated` or `ApplicationFailure`.
    pub reason: String,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Who says so.
    pub producer: String,
    /// How long the object may stay beside its replacement, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i32>,
    /// Whether the object stays until someone says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppress_deletion: Option<bool>,
    /// What moves along, as labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub preserved_label_state: BTreeMap<String, String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Time>,
    /// Where the object was before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters_before_failover: Vec<String>,
}

/// A binding and its clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingSnapshot {
    /// Its namespace; empty for what is cluster-scoped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<TargetCluster>,
}

/// What came of a binding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceBindingStatus {
    /// The generation that the scheduler last decided on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_observed_generation: Option<i64>,
    /// The affinity group that the decision was made in.
    #[serde(rename = "schedulerObservingAffinityName")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheduler_observing_affinity_name: String,
    /// When the scheduler last changed the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scheduled_time: Option<Time>,
    /// `Scheduled` and `FullyApplied`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What the members report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aggregated_status: Vec<AggregatedStatusItem>,
}

/// What one member reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["clusterName"]))]
pub struct AggregatedStatusItem {
    /// The member.
    pub cluster_name: String,
    /// The object's status there.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub status: Value,
    /// Whether the object was applied.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub applied: bool,
    /// Why not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub applied_message: String,
    /// How the object is there.
    pub health: ResourceHealth,
    /// When the hub read this from the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
}

/// How an object is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ResourceHealth {
    /// As wanted.
    Healthy,
    /// Not as wanted, or not yet.
    Unhealthy,
    /// Its kind does not say, or no report came.
    #[default]
    Unknown,
}
