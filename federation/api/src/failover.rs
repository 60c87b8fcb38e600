//! Who must leave a member, and when the replaced copy is given up.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::health::whole_seconds;
use crate::kinds::{
    Cluster, GracefulEvictionTask, PurgeMode, ResourceBindingSpec, ResourceBindingStatus,
    ResourceHealth, TargetCluster,
};
use crate::placement::{Request, affinity_groups, judge, tolerates};

/// How long a replaced copy may stay if its task does not say: ten minutes.
pub const DEFAULT_GRACE: SignedDuration = SignedDuration::from_mins(10);

/// What is to be done about a binding in a member with NoExecute taints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Stays,
    /// To look again: tolerations end then.
    StaysFor(SignedDuration),
    /// It must leave.
    Leaves,
}

/// Whether a binding must leave a member because of its taints.
pub fn verdict(binding: &ResourceBindingSpec, cluster: &Cluster, now: Timestamp) -> Verdict {
    if !binding.clusters.iter().any(|t| t.name == cluster.name()) {
        return Verdict::Stays;
    }
    let tolerations =
        binding.placement.as_ref().map_or(&[][..], |p| p.cluster_tolerations.as_slice());
    let mut patience: Option<SignedDuration> = None;
    for taint in cluster.spec.taints.iter().filter(|t| t.effect == "NoExecute") {
        let tolerating: Vec<_> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        if tolerating.is_empty() {
            return Verdict::Leaves;
        }
        let Some(seconds) = tolerating.iter().filter_map(|t| t.toleration_seconds).min() else {
            continue;
        };
        let since = taint.time_added.as_ref().map_or(now, |t| t.0);
        let left = SignedDuration::from_secs(seconds.max(0)) - now.duration_since(since);
        if left <= SignedDuration::ZERO {
            return Verdict::Leaves;
        }
        patience = Some(patience.map_or(left, |p| p.min(left)));
    }
    patience.map_or(Verdict::Stays, Verdict::StaysFor)
}

/// Whether a ready member other than `from` could hold the object: who leaves for nowhere had
/// better stay.
pub fn fits_elsewhere(binding: &ResourceBindingSpec, from: &str, clusters: &[&Cluster]) -> bool {
    let placement = binding.placement.clone().unwrap_or_default();
    let ready = |c: &&&Cluster| c.name() != from && c.is_ready();
    let others: Vec<&Cluster> = clusters.iter().filter(ready).copied().collect();
    affinity_groups(&placement, "").into_iter().any(|(_, affinity)| {
        let request = Request { binding, placement: &placement, affinity };
        judge(request, &others).iter().any(|verdict| verdict.fits())
    })
}

/// Takes a binding out of a member: its target goes, a task remembers it. False if nothing changed.
/// With [`PurgeMode::Never`] the copy there is kept until someone takes `suppressDeletion` back.
pub fn evict(binding: &mut ResourceBindingSpec, from: &str, reason: &str, now: Timestamp) -> bool {
    let purge_mode = purge_mode(binding);
    let Some(at) = binding.clusters.iter().position(|t| t.name == from) else { return false };
    let before = binding.clusters.iter().map(|t| t.name.clone()).collect();
    let target = binding.clusters.remove(at);
    binding.graceful_eviction_tasks.retain(|t| t.from_cluster != from);
    binding.graceful_eviction_tasks.push(GracefulEvictionTask {
        from_cluster: from.into(),
        purge_mode,
        replicas: (target.replicas > 0).then_some(target.replicas),
        reason: reason.into(),
        message: format!("the cluster has a taint that the object does not tolerate: {from}"),
        producer: "TaintManager".into(),
        suppress_deletion: (purge_mode == PurgeMode::Never).then_some(true),
        creation_timestamp: Some(Time(whole_seconds(now))),
        clusters_before_failover: before,
        ..Default::default()
    });
    true
}

fn purge_mode(binding: &ResourceBindingSpec) -> PurgeMode {
    let cluster = binding.failover.as_ref().and_then(|f| f.cluster.as_ref());
    cluster.map_or(PurgeMode::default(), |c| c.purge_mode)
}

/// The tasks that go on, and when to look again. A task ends when the object is healthy in every
/// place that the scheduler chose instead, or when its grace is over.
pub fn remaining_tasks(
    spec: &ResourceBindingSpec,
    status: &ResourceBindingStatus,
    scheduled: bool,
    now: Timestamp,
) -> (Vec<GracefulEvictionTask>, Option<SignedDuration>) {
    let replaced = scheduled && replacement_is_healthy(spec, status);
    let mut wake: Option<SignedDuration> = None;
    let mut remaining = Vec::new();
    for task in &spec.graceful_eviction_tasks {
        if task.suppress_deletion == Some(true) {
            remaining.push(task.clone());
            continue;
        }
        let begun = task.creation_timestamp.as_ref().map_or(now, |t| t.0);
        let grace = task
            .grace_period_seconds
            .map_or(DEFAULT_GRACE, |s| SignedDuration::from_secs(i64::from(s)));
        let left = grace - now.duration_since(begun);
        let over = left <= SignedDuration::ZERO || task.purge_mode == PurgeMode::Directly;
        if replaced || over {
            continue;
        }
        wake = Some(wake.map_or(left, |w| w.min(left)));
        remaining.push(task.clone());
    }
    (remaining, wake)
}

fn replacement_is_healthy(spec: &ResourceBindingSpec, status: &ResourceBindingStatus) -> bool {
    let healthy = |target: &TargetCluster| {
        let item = status.aggregated_status.iter().find(|i| i.cluster_name == target.name);
        item.is_some_and(|i| {
            let available = i.status["availableReplicas"].as_i64();
            i.applied
                && i.health != ResourceHealth::Unhealthy
                && available.is_none_or(|n| n >= i64::from(target.replicas))
        })
    };
    let placed: i32 = spec.clusters.iter().map(|t| t.replicas).sum();
    !spec.clusters.is_empty() && placed >= spec.replicas && spec.clusters.iter().all(healthy)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::cluster;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn binding(json: serde_json::Value) -> ResourceBindingSpec {
        let mut json = json;
        json["resource"] = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        json["replicas"] = json!(6);
        serde_json::from_value(json).unwrap()
    }

    fn lost() -> Cluster {
        let mut eu = cluster("eu", "", "", &[]);
        eu.spec.taints = serde_json::from_value(json!([
            {"key": "cluster.karmada.io/unreachable", "effect": "NoExecute",
             "timeAdded": "1970-01-01T00:01:40Z"}]))
        .unwrap();
        eu
    }

    #[test]
    fn tolerations_buy_time_or_all_of_it() {
        let tolerating = |seconds: serde_json::Value| {
            binding(json!({"clusters": [{"name": "eu", "replicas": 4}],
                "placement": {"clusterTolerations": [
                    {"operator": "Exists", "tolerationSeconds": seconds}]}}))
        };
        let plain = binding(json!({"clusters": [{"name": "eu", "replicas": 4}]}));
        let elsewhere = binding(json!({"clusters": [{"name": "us", "replicas": 6}]}));
        assert_eq!(verdict(&plain, &lost(), at(100)), Verdict::Leaves);
        assert_eq!(verdict(&elsewhere, &lost(), at(100)), Verdict::Stays);
        assert_eq!(verdict(&tolerating(json!(null)), &lost(), at(9999)), Verdict::Stays);
        let left = SignedDuration::from_secs(20);
        assert_eq!(verdict(&tolerating(json!(30)), &lost(), at(110)), Verdict::StaysFor(left));
        assert_eq!(verdict(&tolerating(json!(30)), &lost(), at(130)), Verdict::Leaves);
    }

    #[test]
    fn an_eviction_is_remembered_once_and_its_copy_kept_for_good_if_told_so() {
        let clusters = json!([{"name": "eu", "replicas": 4}, {"name": "us", "replicas": 2}]);
        let mut spec = binding(json!({"clusters": clusters.clone()}));
        assert!(evict(&mut spec, "eu", "TaintUntolerated", at(1)));
        assert!(!evict(&mut spec, "eu", "TaintUntolerated", at(2)));
        assert_eq!(spec.clusters.len(), 1);
        let task = &spec.graceful_eviction_tasks[0];
        assert_eq!((task.from_cluster.as_str(), task.replicas), ("eu", Some(4)));
        assert_eq!(task.clusters_before_failover, ["eu", "us"]);
        let failover = json!({"cluster": {"purgeMode": "Never"}});
        let mut stays = binding(json!({"clusters": clusters, "failover": failover}));
        assert!(evict(&mut stays, "eu", "TaintUntolerated", at(1)));
        let none = ResourceBindingStatus::default();
        let (tasks, wake) = remaining_tasks(&stays, &none, true, at(9_999));
        assert_eq!((tasks.len(), tasks[0].suppress_deletion, wake), (1, Some(true), None));
    }

    fn evicted(us_health: &str) -> (ResourceBindingSpec, ResourceBindingStatus) {
        let mut spec = binding(json!({"clusters": [
            {"name": "eu", "replicas": 4}, {"name": "us", "replicas": 2}]}));
        evict(&mut spec, "eu", "TaintUntolerated", at(100));
        spec.clusters[0].replicas = 6;
        let status = json!({"aggregatedStatus": [
            {"clusterName": "us", "applied": true, "health": us_health}]});
        (spec, serde_json::from_value(status).unwrap())
    }

    #[test]
    fn the_old_copy_stays_until_the_new_one_is_healthy_or_the_grace_is_over() {
        let (spec, healthy) = evicted("Healthy");
        assert_eq!(remaining_tasks(&spec, &healthy, true, at(110)).0, []);
        assert_eq!(remaining_tasks(&spec, &healthy, false, at(110)).0.len(), 1);
        let mut early = healthy.clone();
        early.aggregated_status[0].status = json!({"availableReplicas": 2});
        assert_eq!(remaining_tasks(&spec, &early, true, at(110)).0.len(), 1);
        let (spec, sick) = evicted("Unhealthy");
        let (tasks, wake) = remaining_tasks(&spec, &sick, true, at(110));
        assert_eq!((tasks.len(), wake), (1, Some(SignedDuration::from_secs(590))));
        assert_eq!(remaining_tasks(&spec, &sick, true, at(700)).0, []);
    }
}
