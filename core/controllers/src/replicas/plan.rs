//! Which pods an owner adopts, releases, lacks and has too many of. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::Pod;
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::owned::{controller_of, name_of, selects, uid_of};
use crate::pods::{is_active, is_ready, node_name};

/// Most creations or deletions of one reconcile.
const BURST: usize = 500;

/// A pod's name and uid.
pub(super) type Named = (String, String);

/// What is to be done so that an owner has the pods that it wants.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) adopt: Vec<Named>,
    pub(super) release: Vec<Named>,
    pub(super) create: usize,
    pub(super) delete: Vec<Named>,
}

/// What is to be done, from the owner's uid, selector and wish, and the namespace's pods.
pub(super) fn plan(
    uid: Option<&str>,
    selector: &LabelSelector,
    wanted: usize,
    pods: &[Arc<Pod>],
) -> Plan {
    let uid = uid.unwrap_or_default();
    let mut plan = Plan::default();
    let mut mine: Vec<&Arc<Pod>> = Vec::new();
    for pod in pods.iter().filter(|pod| is_active(pod)) {
        let selected = selects(selector, pod.metadata.labels.as_ref());
        match controller_of(&pod.metadata) {
            Some(owner) if owner.uid == uid && selected => mine.push(pod),
            Some(owner) if owner.uid == uid => plan.release.push(named(pod)),
            None if selected => {
                plan.adopt.push(named(pod));
                mine.push(pod);
            }
            _ => {}
        }
    }
    plan.create = wanted.saturating_sub(mine.len()).min(BURST);
    let surplus = mine.len().saturating_sub(wanted).min(BURST);
    if surplus > 0 {
        rank_victims(&mut mine);
        plan.delete = mine.into_iter().take(surplus).map(|pod| named(pod)).collect();
    }
    plan
}

fn named(pod: &Pod) -> Named {
    (name_of(&pod.metadata).to_owned(), uid_of(&pod.metadata).to_owned())
}

/// Puts first what is missed least: not bound, not running, not ready, cheaper to delete, on a node
/// that has more of them, younger.
fn rank_victims(pods: &mut [&Arc<Pod>]) {
    let mut per_node: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods.iter() {
        *per_node.entry(node_name(pod).unwrap_or_default().into()).or_default() += 1;
    }
    pods.sort_by_cached_key(|pod| {
        let phase_rank = match crate::pods::phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let crowd = per_node.get(node_name(pod).unwrap_or_default()).copied().unwrap_or(0);
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (
            node_name(pod).is_some(),
            phase_rank,
            is_ready(pod),
            deletion_cost(pod),
            std::cmp::Reverse(crowd),
            std::cmp::Reverse(created),
        )
    });
}

/// KEP-2255: the annotation's value, 0 where there is none or it is no number.
fn deletion_cost(pod: &Pod) -> i64 {
    let annotations = pod.metadata.annotations.as_ref();
    let cost = annotations.and_then(|all| all.get("controller.kubernetes.io/pod-deletion-cost"));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
