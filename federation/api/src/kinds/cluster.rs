//! `Cluster` of cluster.karmada.io/v1alpha1: a member of the federation.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::define_kind;

define_kind!(
    /// A member cluster: how it is reached, where it stands, and how it is.
    Cluster, "Cluster", "cluster.karmada.io"/"v1alpha1", "clusters", ClusterResourceScope,
    ClusterSpec, ClusterStatus
);

/// How a member is reached and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpec {
    /// The uid of the member's kube-system namespace, which tells clusters apart.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128_000))]
    pub id: String,
    /// Whether the hub reaches into the member or the member's agent pulls.
    pub sync_mode: SyncMode,
    /// The URL of the member's API server.
    #[serde(rename = "apiEndpoint", skip_serializing_if = "String::is_empty")]
    pub api_endpoint: String,
    /// The Secret with `token` and `caBundle` that the hub uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalSecretReference>,
    /// The Secret with the credential that may impersonate users in the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonator_secret_ref: Option<LocalSecretReference>,
    /// Whether the member's certificate goes unchecked.
    #[serde(rename = "insecureSkipTLSVerification", skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_tls_verification: bool,
    /// A proxy on the way to the member: an http, https or socks5 URL.
    #[serde(rename = "proxyURL", skip_serializing_if = "String::is_empty")]
    pub proxy_url: String,
    /// Headers for that proxy.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub proxy_header: BTreeMap<String, String>,
    /// The cloud that the member runs on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// The region that the member runs in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// The member's only zone; `zones` wins.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// The zones that the member's nodes stand in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// Taints that keep bindings away unless they tolerate them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Grades of nodes, for estimates of what still fits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_models: Vec<ResourceModel>,
}

impl ClusterSpec {
    /// The member's zones: `zones`, or else the one `zone`.
    pub fn all_zones(&self) -> Vec<&str> {
        if self.zones.is_empty() && !self.zone.is_empty() {
            return vec![&self.zone];
        }
        self.zones.iter().map(String::as_str).collect()
    }
}

/// Who carries objects into a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SyncMode {
    /// The hub does.
    #[default]
    Push,
    /// The member's agent does.
    Pull,
}

/// A Secret by namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalSecretReference {
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub name: String,
}

/// A grade of nodes by the ranges of their free resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceModel {
    /// The grade, from 0.
    pub grade: u32,
    /// The ranges, one per resource.
    pub ranges: Vec<ResourceModelRange>,
}

/// A half-open range of one resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceModelRange {
    /// The resource's name.
    pub name: String,
    /// The least, included.
    pub min: Quantity,
    /// The most, not included.
    pub max: Quantity,
}

/// How a member is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterStatus {
    /// The member's version, such as `v1.36.0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kubernetes_version: String,
    /// What the member serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_enablements: Vec<ApiEnablement>,
    /// `Ready` and `CompleteAPIEnablements`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How many nodes there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_summary: Option<NodeSummary>,
    /// What its nodes have and what is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_summary: Option<ResourceSummary>,
}

/// A group version and its resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiEnablement {
    /// `group/version`, or `version` for the core group.
    pub group_version: String,
    /// Its resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ApiEnablementResource>,
}

/// A resource that a member serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiEnablementResource {
    /// The plural.
    pub name: String,
    /// The kind.
    pub kind: String,
}

/// A member's nodes, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSummary {
    /// All nodes.
    pub total_num: i32,
    /// Nodes that are ready.
    pub ready_num: i32,
}

/// A member's resources, summed over its schedulable nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceSummary {
    /// What nodes can give to pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocatable: BTreeMap<String, Quantity>,
    /// What pods ask for that have no node yet.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocating: BTreeMap<String, Quantity>,
    /// What pods on nodes ask for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocated: BTreeMap<String, Quantity>,
}

impl Cluster {
    /// The cluster's name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The condition of a type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.type_ == type_)
    }

    /// Whether the hub last found the member ready.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|c| c.status == "True")
    }

    /// Whether the member is on its way out of the federation.
    pub fn is_leaving(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}
