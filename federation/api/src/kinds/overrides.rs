//! `OverridePolicy` and `ClusterOverridePolicy` of policy.karmada.io/v1alpha1.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ClusterAffinity, ResourceSelector, define_kind};

define_kind!(
    /// Changes objects of its namespace on their way to some clusters.
    OverridePolicy, "OverridePolicy", "policy.karmada.io"/"v1alpha1", "overridepolicies",
    NamespaceResourceScope, OverrideSpec
);
define_kind!(
    /// Changes objects of any namespace, and of none, on their way to some clusters.
    ClusterOverridePolicy, "ClusterOverridePolicy", "policy.karmada.io"/"v1alpha1",
    "clusteroverridepolicies", ClusterResourceScope, OverrideSpec
);

/// Which objects change, and how per cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OverrideSpec {
    /// The objects; empty is every one in reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_selectors: Vec<ResourceSelector>,
    /// The changes, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub override_rules: Vec<RuleWithCluster>,
    /// The old form of one rule: its clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_cluster: Option<ClusterAffinity>,
    /// The old form of one rule: its changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overriders: Option<Overriders>,
}

impl OverrideSpec {
    /// Every rule: the old form counts as one, if no new ones are there.
    pub fn rules(&self) -> Vec<RuleWithCluster> {
        if !self.override_rules.is_empty() {
            return self.override_rules.clone();
        }
        let old = self.overriders.clone().map(|overriders| RuleWithCluster {
            target_cluster: self.target_cluster.clone(),
            overriders,
        });
        old.into_iter().collect()
    }
}

/// Changes for some clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleWithCluster {
    /// The clusters; absent is every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_cluster: Option<ClusterAffinity>,
    /// The changes.
    pub overriders: Overriders,
}

/// Changes by sort, applied in the order of these fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Overriders {
    /// Changes of images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_overrider: Vec<ImageOverrider>,
    /// Changes of commands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command_overrider: Vec<CommandArgsOverrider>,
    /// Changes of arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args_overrider: Vec<CommandArgsOverrider>,
    /// Changes of labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels_overrider: Vec<LabelAnnotationOverrider>,
    /// Changes of annotations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations_overrider: Vec<LabelAnnotationOverrider>,
    /// Changes inside a string that holds JSON or YAML.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub field_overrider: Vec<FieldOverrider>,
    /// Changes by JSON pointer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plaintext: Vec<PlaintextOverrider>,
}

/// What a change does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OverriderOperator {
    /// Puts in.
    Add,
    /// Takes out.
    Remove,
    /// Puts in the place of what is there.
    #[default]
    Replace,
}

/// Changes a part of an image reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageOverrider {
    /// The one image to change; absent is every container's image of the known workload kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate: Option<ImagePredicate>,
    /// The part.
    pub component: ImageComponent,
    /// What the change does.
    pub operator: OverriderOperator,
    /// The value, not needed to remove.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// Where one image stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagePredicate {
    /// A JSON pointer.
    pub path: String,
}

/// A part of an image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImageComponent {
    /// Host and port.
    Registry,
    /// The path.
    Repository,
    /// What follows the path: tag or digest.
    Tag,
}

/// Changes a container's command or arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandArgsOverrider {
    /// The container.
    pub container_name: String,
    /// `add` appends, `remove` takes equal elements out.
    pub operator: OverriderOperator,
    /// The elements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub value: Vec<String>,
}

/// Changes labels or annotations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelAnnotationOverrider {
    /// What the change does.
    pub operator: OverriderOperator,
    /// The pairs; `replace` touches only keys that are there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub value: BTreeMap<String, String>,
}

/// Changes inside a string field that holds a document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldOverrider {
    /// A JSON pointer to the string.
    pub field_path: String,
    /// The changes if it is JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json: Vec<FieldPatchOperation>,
    /// The changes if it is YAML.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yaml: Vec<FieldPatchOperation>,
}

/// A change inside a document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldPatchOperation {
    /// A JSON pointer inside the document.
    pub sub_path: String,
    /// What the change does.
    pub operator: OverriderOperator,
    /// The value, not needed to remove.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
}

/// A change by JSON pointer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaintextOverrider {
    /// A JSON pointer.
    pub path: String,
    /// What the change does.
    #[serde(default)]
    pub operator: OverriderOperator,
    /// The value, not needed to remove.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
}
