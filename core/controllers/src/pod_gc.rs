//! Pods that nobody else removes: ended ones beyond a bound, those of nodes that are gone, and those
//! that were being deleted before they were ever bound.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::{Node, Pod};
use hansa_client::kube::Api;
use hansa_client::kube::api::{DeleteParams, Preconditions};

use crate::Context;
use crate::owned::is_deleting;
use crate::pods::{is_finished, node_name};

const PERIOD: Duration = Duration::from_secs(20);
/// Ended pods that may stay.
const ENDED_MOST: usize = 12_500;
/// A node must be missing in so many rounds, so that one that is just registering loses nothing.
const ROUNDS_MISSING: usize = 2;

pub(crate) async fn run(context: Context) {
    let pods = context.informers.of::<Pod>();
    let nodes = context.informers.of::<Node>();
    pods.synced().await;
    nodes.synced().await;
    let mut missing_before: Vec<BTreeSet<String>> = Vec::new();
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let existing: BTreeSet<_> =
            nodes.list().iter().filter_map(|node| node.metadata.name.clone()).collect();
        let all = pods.list();
        let missing = missing_nodes(&all, &existing);
        missing_before.push(missing);
        if missing_before.len() > ROUNDS_MISSING {
            missing_before.remove(0);
        }
        let gone = lasting(&missing_before);
        for pod in plan(&all, &gone, ENDED_MOST) {
            remove(&context, &pod).await;
        }
    }
}

fn missing_nodes(pods: &[Arc<Pod>], existing: &BTreeSet<String>) -> BTreeSet<String> {
    let used = pods.iter().filter_map(|pod| node_name(pod));
    used.filter(|node| !existing.contains(*node)).map(str::to_owned).collect()
}

/// What was missing in every one of the last rounds.
fn lasting(rounds: &[BTreeSet<String>]) -> BTreeSet<String> {
    let Some((first, rest)) = rounds.split_first() else {
        return BTreeSet::new();
    };
    if rounds.len() < ROUNDS_MISSING {
        return BTreeSet::new();
    }
    first.iter().filter(|node| rest.iter().all(|round| round.contains(*node))).cloned().collect()
}

/// The pods to remove; of ended ones the oldest first.
fn plan(pods: &[Arc<Pod>], gone: &BTreeSet<String>, ended_most: usize) -> Vec<Arc<Pod>> {
    let mut doomed: Vec<_> = pods
        .iter()
        .filter(|pod| match node_name(pod) {
            Some(node) => gone.contains(node),
            None => is_deleting(&pod.metadata),
        })
        .cloned()
        .collect();
    let mut ended: Vec<_> = pods.iter().filter(|pod| is_finished(pod)).cloned().collect();
    ended.sort_by_key(|pod| pod.metadata.creation_timestamp.clone().map(|time| time.0));
    let surplus = ended.len().saturating_sub(ended_most);
    doomed.extend(ended.into_iter().take(surplus));
    doomed
}

async fn remove(context: &Context, pod: &Pod) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let exactly = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(exactly),
        ..DeleteParams::default()
    };
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    if let Err(error) = api.delete(name, &params).await {
        tracing::debug!(%namespace, %name, %error, "failed to remove a pod, will retry");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::tests::pod;

    fn on(node: &str, name: &str) -> Arc<Pod> {
        let mut pod = pod(name, "127.64.0.2", true);
        pod.spec.as_mut().unwrap().node_name = Some(node.into());
        Arc::new(pod)
    }

    #[test]
    fn pods_of_a_node_go_only_after_it_was_missing_twice() {
        let pods = [on("gone", "a"), on("here", "b")];
        let existing = BTreeSet::from(["here".to_owned()]);
        let missing = missing_nodes(&pods, &existing);
        assert!(lasting(std::slice::from_ref(&missing)).is_empty());
        let gone = lasting(&[missing.clone(), missing]);
        let doomed = plan(&pods, &gone, 10);
        assert_eq!(doomed.len(), 1);
        assert_eq!(doomed[0].metadata.name.as_deref(), Some("a"));
    }

    #[test]
    fn ended_pods_beyond_the_bound_go() {
        let mut ended = pod("done", "", false);
        ended.status.as_mut().unwrap().phase = Some("Succeeded".into());
        let pods = [Arc::new(ended)];
        assert_eq!(plan(&pods, &BTreeSet::new(), 1).len(), 0);
        assert_eq!(plan(&pods, &BTreeSet::new(), 0).len(), 1);
    }
}
