//! Failover: bindings leave members whose NoExecute taints they do not tolerate, if they have
//! somewhere to go; the copy left behind is given up when its replacement is healthy. A hub that
//! sees no member at all is more likely lost itself, and moves nothing.

use std::sync::Arc;

use hansa_client::{Change, ObjectKey, Requeue, Workqueue, run_workers};
use hansa_federation_api::failover::{Verdict, evict, fits_elsewhere, remaining_tasks, verdict};
use hansa_federation_api::kinds::Cluster;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::diff::Part;
use crate::error::Result;
use crate::hub::{Binding, Hub};
use crate::wiring::follow;

/// How soon an object that must leave and has nowhere to go is looked at again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// Runs until `stop`.
pub async fn run(hub: Arc<Hub>, workers: usize, stop: CancellationToken) {
    let queue = Workqueue::new();
    follow(&hub.bindings, &queue, &stop, |change| vec![change.key()]);
    follow(&hub.cluster_bindings, &queue, &stop, |change| vec![change.key()]);
    let all = hub.clone();
    follow(&hub.clusters, &queue, &stop, move |change| match change {
        Change::Applied { old: Some(old), new } if old.spec.taints == new.spec.taints => Vec::new(),
        _ => all.binding_keys(),
    });
    run_workers(queue, workers, stop, |key| reconcile(hub.clone(), key)).await;
}

async fn reconcile(hub: Arc<Hub>, key: ObjectKey) -> Result<Requeue> {
    let Some(binding) = hub.binding(&key).filter(|b| !b.is_deleting()) else {
        return Ok(Requeue::Done);
    };
    let clusters = hub.clusters.list();
    let clusters: Vec<&Cluster> = clusters.iter().map(|c| &**c).collect();
    let (next, wake) = plan(&binding, &clusters, Timestamp::now());
    hub.write_binding(&binding, &next, Part::Main).await?;
    let wake = wake.and_then(|w| std::time::Duration::try_from(w).ok());
    Ok(wake.map_or(Requeue::Done, Requeue::After))
}

/// The binding after evictions and finished tasks, and when to look again.
fn plan(
    binding: &Binding,
    clusters: &[&Cluster],
    now: Timestamp,
) -> (Binding, Option<SignedDuration>) {
    let mut next = binding.clone();
    let mut wake: Option<SignedDuration> = None;
    let mut sooner = |at: SignedDuration| wake = Some(wake.map_or(at, |w| w.min(at)));
    for cluster in clusters {
        match verdict(&next.spec, cluster, now) {
            Verdict::Stays => {}
            Verdict::StaysFor(left) => sooner(left),
            Verdict::Leaves if !fits_elsewhere(&next.spec, cluster.name(), clusters) => {
                sooner(LOOK_AGAIN);
            }
            Verdict::Leaves => {
                evict(&mut next.spec, cluster.name(), "TaintUntolerated", now);
            }
        }
    }
    let scheduled = is_scheduled(&next) && next.spec.clusters == binding.spec.clusters;
    let (tasks, later) = remaining_tasks(&next.spec, &next.status, scheduled, now);
    next.spec.graceful_eviction_tasks = tasks;
    later.into_iter().for_each(sooner);
    (next, wake)
}

/// Whether the scheduler has decided on this very generation.
fn is_scheduled(binding: &Binding) -> bool {
    let scheduled = binding.status.conditions.iter().find(|c| c.type_ == "Scheduled");
    scheduled.is_some_and(|c| c.status == "True")
        && binding.status.scheduler_observed_generation >= binding.metadata.generation
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn cluster(name: &str, lost: bool) -> Cluster {
        let taints = if lost {
            json!([{"key": "cluster.karmada.io/unreachable", "effect": "NoExecute"}])
        } else {
            json!([])
        };
        let mut cluster = Cluster::new(name, Default::default());
        cluster.spec.taints = serde_json::from_value(taints).unwrap();
        cluster.status.api_enablements = serde_json::from_value(json!([{"groupVersion": "apps/v1",
            "resources": [{"name": "deployments", "kind": "Deployment"}]}]))
        .unwrap();
        let ready = if lost { "False" } else { "True" };
        cluster.status.conditions = serde_json::from_value(json!([{"type": "Ready",
            "status": ready, "reason": "x", "message": "",
            "lastTransitionTime": "1970-01-01T00:00:00Z"}]))
        .unwrap();
        cluster
    }

    fn binding() -> Binding {
        let spec = json!({"replicas": 6,
            "resource": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "clusters": [{"name": "eu", "replicas": 4}, {"name": "us", "replicas": 2}]});
        let status = json!({"schedulerObservedGeneration": 2,
            "conditions": [{"type": "Scheduled", "status": "True", "reason": "Success",
                "message": "", "lastTransitionTime": "1970-01-01T00:00:00Z"}],
            "aggregatedStatus": [{"clusterName": "us", "applied": true, "health": "Healthy"}]});
        let mut binding = Binding {
            key: ObjectKey::new("shop", "web-deployment"),
            metadata: Default::default(),
            spec: serde_json::from_value(spec).unwrap(),
            status: serde_json::from_value(status).unwrap(),
        };
        binding.metadata.generation = Some(2);
        binding
    }

    #[test]
    fn a_lost_member_is_left_and_given_up_only_when_the_rest_is_healthy() {
        let (eu, us) = (cluster("eu", true), cluster("us", false));
        let (mut evicted, wake) = plan(&binding(), &[&eu, &us], at(100));
        assert_eq!(evicted.spec.clusters.len(), 1);
        assert_eq!(evicted.spec.graceful_eviction_tasks.len(), 1);
        assert_eq!(wake, Some(SignedDuration::from_mins(10)));
        evicted.metadata.generation = Some(3);
        let (waiting, _) = plan(&evicted, &[&eu, &us], at(110));
        assert_eq!(waiting.spec.graceful_eviction_tasks.len(), 1, "not scheduled yet");
        evicted.spec.clusters[0].replicas = 6;
        evicted.status.scheduler_observed_generation = Some(3);
        let (done, wake) = plan(&evicted, &[&eu, &us], at(120));
        assert_eq!((done.spec.graceful_eviction_tasks.len(), wake), (0, None));
    }

    #[test]
    fn a_hub_that_sees_nobody_evicts_nobody() {
        let (eu, us) = (cluster("eu", true), cluster("us", true));
        let (next, _) = plan(&binding(), &[&eu, &us], at(100));
        assert_eq!(next, binding());
    }

    #[test]
    fn who_may_go_nowhere_else_stays() {
        let (eu, us) = (cluster("eu", true), cluster("us", false));
        let mut only_eu = binding();
        only_eu.spec.clusters.truncate(1);
        only_eu.spec.placement =
            serde_json::from_value(json!({"clusterAffinity": {"clusterNames": ["eu"]}})).unwrap();
        let (next, wake) = plan(&only_eu, &[&eu, &us], at(100));
        assert_eq!((next, wake), (only_eu, Some(LOOK_AGAIN)));
    }
}
