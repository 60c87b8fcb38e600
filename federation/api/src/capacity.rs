//! How many more replicas a cluster has room for, from the sums that it reports.

use std::collections::BTreeMap;

use hansa_api::quantity::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::kinds::{Cluster, ReplicaRequirements};

/// More than anyone asks for: what a cluster has room for that reports no sums.
pub const UNKNOWN: i64 = i32::MAX as i64;

/// How many more replicas fit, at most [`UNKNOWN`].
pub fn available(cluster: &Cluster, needs: Option<&ReplicaRequirements>) -> i64 {
    let Some(summary) = &cluster.status.resource_summary else { return UNKNOWN };
    let one_pod = ("pods".to_owned(), Quantity("1".into()));
    let requests = needs.iter().flat_map(|n| &n.resource_request);
    let requests = requests.into_iter().chain([(&one_pod.0, &one_pod.1)]);
    let fitting = requests.filter_map(|(resource, wanted)| {
        let per_replica = milli_of(wanted)?;
        let free = milli(&summary.allocatable, resource)
            .saturating_sub(milli(&summary.allocated, resource))
            .saturating_sub(milli(&summary.allocating, resource));
        (per_replica > 0).then(|| free.max(0) / per_replica)
    });
    fitting.min().unwrap_or(UNKNOWN).min(UNKNOWN)
}

fn milli(amounts: &BTreeMap<String, Quantity>, resource: &str) -> i64 {
    amounts.get(resource).and_then(milli_of).unwrap_or(0)
}

fn milli_of(amount: &Quantity) -> Option<i64> {
    amount.0.parse::<Amount>().ok().map(|a| a.milli_value())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::cluster;

    #[test]
    fn the_scarcest_resource_decides() {
        let mut eu = cluster("eu", "", "", &[]);
        let needs: ReplicaRequirements =
            serde_json::from_value(json!({"resourceRequest": {"cpu": "500m", "memory": "1Gi"}}))
                .unwrap();
        assert_eq!(available(&eu, Some(&needs)), UNKNOWN);
        eu.status.resource_summary = serde_json::from_value(json!({
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "allocated": {"cpu": "1", "memory": "5Gi", "pods": "10"},
        }))
        .unwrap();
        assert_eq!(available(&eu, Some(&needs)), 3);
        assert_eq!(available(&eu, None), 100);
    }

    #[test]
    fn a_resource_that_a_cluster_lacks_leaves_no_room() {
        let mut eu = cluster("eu", "", "", &[]);
        eu.status.resource_summary =
            serde_json::from_value(json!({"allocatable": {"pods": "9"}})).unwrap();
        let needs = json!({"resourceRequest": {"example.com/gpu": "1"}});
        let needs: ReplicaRequirements = serde_json::from_value(needs).unwrap();
        assert_eq!(available(&eu, Some(&needs)), 0);
    }
}
