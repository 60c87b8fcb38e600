//! Which clusters an affinity chooses; and label selectors, as Kubernetes defines them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::kinds::{Cluster, ClusterAffinity};

/// Why an affinity does not choose a cluster; nothing if it does.
pub fn mismatch(affinity: &ClusterAffinity, cluster: &Cluster) -> Option<String> {
    if affinity.exclude_clusters.iter().any(|n| n == cluster.name()) {
        return Some("the affinity excludes it by name".into());
    }
    if !affinity.cluster_names.is_empty()
        && !affinity.cluster_names.iter().any(|n| n == cluster.name())
    {
        return Some("the affinity names other clusters".into());
    }
    if let Some(selector) = &affinity.label_selector
        && !selects(selector, cluster.metadata.labels.as_ref())
    {
        return Some("its labels do not match the affinity".into());
    }
    let fields = affinity.field_selector.iter().flat_map(|s| &s.match_expressions);
    let missed = fields.into_iter().find(|r| !field_matches(r, cluster))?;
    Some(format!("its {} does not match the affinity", missed.key))
}

/// Whether an affinity chooses a cluster.
pub fn chooses(affinity: &ClusterAffinity, cluster: &Cluster) -> bool {
    mismatch(affinity, cluster).is_none()
}

fn field_matches(requirement: &NodeSelectorRequirement, cluster: &Cluster) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let has = |value: &str| values.iter().any(|v| v == value);
    let any = match requirement.key.as_str() {
        "provider" => has(&cluster.spec.provider),
        "region" => has(&cluster.spec.region),
        "zone" => cluster.spec.all_zones().into_iter().any(has),
        _ => return false,
    };
    match requirement.operator.as_str() {
        "In" => any,
        "NotIn" => !any,
        _ => false,
    }
}

/// Whether a label selector chooses labels. An empty selector chooses everything.
pub fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|l| l.get(key));
    let pairs = selector.match_labels.iter().flatten();
    let all_equal = pairs.into_iter().all(|(key, wanted)| value(key) == Some(wanted));
    let mut expressions = selector.match_expressions.iter().flatten();
    all_equal
        && expressions.all(|e| {
            let values = e.values.as_deref().unwrap_or_default();
            let is_in = value(&e.key).is_some_and(|v| values.contains(v));
            match e.operator.as_str() {
                "In" => is_in,
                "NotIn" => !is_in,
                "Exists" => value(&e.key).is_some(),
                "DoesNotExist" => value(&e.key).is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::cluster;

    fn affinity(json: serde_json::Value) -> ClusterAffinity {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn everything_that_is_set_must_hold() {
        let eu = cluster("eu", "aws", "eu-west", &["a", "b"]);
        let cases = [
            (json!({}), true),
            (json!({"clusterNames": ["eu"]}), true),
            (json!({"clusterNames": ["us"]}), false),
            (json!({"clusterNames": ["eu"], "exclude": ["eu"]}), false),
            (json!({"labelSelector": {"matchLabels": {"tier": "gold"}}}), false),
            (json!({"labelSelector": {"matchLabels": {"name": "eu"}}}), true),
            (
                json!({"labelSelector": {"matchExpressions": [
                    {"key": "name", "operator": "NotIn", "values": ["us"]}]}}),
                true,
            ),
            (
                json!({"fieldSelector": {"matchExpressions": [
                    {"key": "region", "operator": "In", "values": ["eu-west"]},
                    {"key": "zone", "operator": "In", "values": ["b"]}]}}),
                true,
            ),
            (
                json!({"fieldSelector": {"matchExpressions": [
                    {"key": "provider", "operator": "NotIn", "values": ["aws"]}]}}),
                false,
            ),
            (
                json!({"fieldSelector": {"matchExpressions": [
                    {"key": "planet", "operator": "In", "values": ["earth"]}]}}),
                false,
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(chooses(&affinity(json.clone()), &eu), expected, "{json}");
        }
    }
}
