//! `Plugin` of plugins.hansa.dev/v1alpha1: a WASM component that decides something, as an object.

use k8s_openapi::api::admissionregistration::v1::MatchResources;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::custom::TypeMeta;

/// A decision component: where its bytes come from, what it may use, and what runs where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plugin {
    /// `plugins.hansa.dev/v1alpha1`, `Plugin`.
    #[serde(flatten)]
    pub types: TypeMeta,
    /// Name, labels and the rest.
    pub metadata: ObjectMeta,
    /// What the user wants.
    pub spec: PluginSpec,
    /// What is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PluginStatus>,
}
crate::custom_kind!(
    Plugin,
    "plugins.hansa.dev",
    "v1alpha1",
    "Plugin",
    "plugins",
    ClusterResourceScope
);

/// What the user wants of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginSpec {
    /// The world it implements: `scheduler`, `cloud`, `federation` or `admission`.
    pub world: String,
    /// Where the bytes come from.
    pub source: PluginSource,
    /// `sha256:<hex>` of the component's bytes; always required, nothing else is loaded.
    pub digest: String,
    /// The settings document handed to the guest, any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// Which requests a policy of the world `admission` is asked about, required there: as in a ValidatingAdmissionPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_constraints: Option<MatchResources>,
    /// Bounds on memory and time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<PluginLimits>,
    /// What happens when the guest fails: `Fallback` (the last good version goes on, default), `Skip` (in the world `admission` the request passes) or `Closed` (nothing is decided).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<String>,
}

/// Where a component's bytes come from; exactly one is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginSource {
    /// `binaryData` of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapSource>,
    /// A file in the plugin directory that the process was started with, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// A key of a ConfigMap's `binaryData`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapSource {
    /// The ConfigMap's namespace.
    pub namespace: String,
    /// The ConfigMap's name.
    pub name: String,
    /// The key that holds the component.
    pub key: String,
}

/// Bounds on a guest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginLimits {
    /// Linear memory, MiB.
    #[serde(rename = "memoryMiB")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// One call, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_ms: Option<u32>,
    /// Instantiation and configuration, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_ms: Option<u32>,
}

/// What runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Digest of the component that decides now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_digest: Option<String>,
    /// Versions that decided, newest first, the present one among them, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PluginVersion>,
    /// `Ready`, with the reason if not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What it takes to have a version decide again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginVersion {
    /// `sha256:<hex>` of its component.
    pub digest: String,
    /// Where the component came from.
    pub source: PluginSource,
    /// Its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// Which requests it was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_constraints: Option<MatchResources>,
}

impl PluginSpec {
    /// The version that this asks for.
    pub fn version(&self) -> PluginVersion {
        let (digest, source) = (self.digest.clone(), self.source.clone());
        let (config, match_constraints) = (self.config.clone(), self.match_constraints.clone());
        PluginVersion { digest, source, config, match_constraints }
    }
}
