//! Nodes that fall silent: their conditions become Unknown, taints keep new pods away, and pods that
//! do not tolerate that are evicted when their time is up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::coordination::v1::Lease;
use hansa_api::k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint, Toleration};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use hansa_api::k8s_openapi::jiff::Timestamp;
use hansa_client::kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use hansa_client::kube::{Api, Error};
use hansa_client::{Informer, ObjectKey, Requeue, Workqueue, run_workers};
use serde_json::json;
use tokio::time::Instant;

use crate::Context;
use crate::owned::{is_deleting, name_of};
use crate::pods::{is_finished, node_name};
use crate::wiring::{enqueue, enqueue_self};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const OURS: [&str; 2] = [NOT_READY, UNREACHABLE];
const HEARTBEAT_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const PERIOD: Duration = Duration::from_secs(5);

/// How a node fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Ready,
    NotReady,
    /// It says nothing any more.
    Silent,
}

/// The last sign of life of a node, and when it was seen, by this process's own clock.
struct Sign {
    last: (Option<Timestamp>, Option<Timestamp>),
    seen: Instant,
}

pub(crate) async fn run(context: Context) {
    let nodes = context.informers.of::<Node>();
    let pods = context.informers.of::<Pod>();
    let config = hansa_client::kube::runtime::watcher::Config::default();
    let leases = context.informers.of_with::<Lease>(config);
    nodes.synced().await;
    pods.synced().await;
    leases.synced().await;
    let eviction = tokio::spawn(evict_intolerant(context.clone(), nodes.clone(), pods));
    monitor(context, nodes, leases).await;
    eviction.abort();
}

/// Looks at a node when it changes, and at all of them again and again: silence sends no event.
async fn monitor(context: Context, nodes: Informer<Node>, leases: Informer<Lease>) {
    let mut signs: HashMap<String, Sign> = HashMap::new();
    let grace = context.config.node_monitor_grace;
    let mut round = tokio::time::interval(PERIOD.min(grace / 4).max(Duration::from_millis(100)));
    let mut changes = nodes.subscribe();
    loop {
        let due = tokio::select! {
            () = context.stop.cancelled() => return,
            _ = round.tick() => nodes.list(),
            Some(change) = changes.recv() => {
                let node = nodes.get_key(&change.key());
                if node.is_none() {
                    signs.remove(&change.key().name);
                }
                Vec::from_iter(node)
            }
        };
        for node in &due {
            let lease = leases.get("kube-node-lease", name_of(&node.metadata));
            let silent_for = note(&mut signs, node, lease.as_deref());
            let health = health(node, silent_for, grace);
            if let Err(error) = act(&context, node, health).await {
                tracing::debug!(node = name_of(&node.metadata), %error, "failed, will retry");
            }
        }
    }
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Notes a node's newest sign of life and answers how long there has been none.
fn note(signs: &mut HashMap<String, Sign>, node: &Node, lease: Option<&Lease>) -> Duration {
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
    let heartbeat = condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.as_ref());
    let last = (renewed.map(|time| time.0), heartbeat.map(|time| time.0));
    let sign = signs
        .entry(name_of(&node.metadata).to_owned())
        .or_insert_with(|| Sign { last, seen: Instant::now() });
    if sign.last != last {
        *sign = Sign { last, seen: Instant::now() };
    }
    sign.seen.elapsed()
}

fn health(node: &Node, silent_for: Duration, grace: Duration) -> Health {
    if silent_for > grace {
        return Health::Silent;
    }
    match condition(node, "Ready").map(|ready| ready.status.as_str()) {
        Some("True") => Health::Ready,
        Some("Unknown") => Health::Silent,
        _ => Health::NotReady,
    }
}

async fn act(context: &Context, node: &Node, health: Health) -> Result<(), Error> {
    let api: Api<Node> = Api::all(context.client.clone());
    let name = name_of(&node.metadata);
    if health == Health::Silent
        && let Some(conditions) = silenced(node, Timestamp::now())
    {
        let mut silent = node.clone();
        silent.status.get_or_insert_default().conditions = Some(conditions);
        api.replace_status(name, &PostParams::default(), &silent).await?;
        tracing::warn!(node = name, "the node has stopped sending heartbeats");
        return Ok(());
    }
    if let Some(taints) = plan_taints(node, health, Timestamp::now()) {
        let patch = json!({
            "metadata": { "resourceVersion": node.metadata.resource_version },
            "spec": { "taints": taints },
        });
        api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

/// The conditions of a node that fell silent, or `None` if they say so already.
fn silenced(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let mut all = node.status.as_ref()?.conditions.clone().unwrap_or_default();
    let mut changed = false;
    for kind in HEARTBEAT_CONDITIONS {
        let known = all.iter_mut().find(|condition| condition.type_ == kind);
        match known {
            Some(condition) if condition.status == "Unknown" => continue,
            Some(condition) => {
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("Kubelet stopped posting node status.".into());
                condition.last_transition_time = Some(Time(now));
            }
            None => all.push(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
        }
        changed = true;
    }
    changed.then_some(all)
}

/// The node's taints as they should be, or `None` if they are. A node that is not ready is tainted
/// NoSchedule and NoExecute, by what is wrong with it.
fn plan_taints(node: &Node, health: Health, now: Timestamp) -> Option<Vec<Taint>> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let key = match health {
        Health::Ready => None,
        Health::NotReady => Some(NOT_READY),
        Health::Silent => Some(UNREACHABLE),
    };
    let mut wanted: Vec<Taint> =
        current.iter().filter(|taint| !OURS.contains(&taint.key.as_str())).cloned().collect();
    for effect in key.map(|_| ["NoSchedule", "NoExecute"]).into_iter().flatten() {
        let key = key.unwrap_or_default();
        let present = current.iter().find(|taint| taint.key == key && taint.effect == effect);
        wanted.push(present.cloned().unwrap_or_else(|| Taint {
            key: key.into(),
            effect: effect.into(),
            time_added: (effect == "NoExecute").then_some(Time(now)),
            value: None,
        }));
    }
    let identity = |taints: &[Taint]| {
        let mut all: Vec<_> =
            taints.iter().map(|taint| (taint.key.clone(), taint.effect.clone())).collect();
        all.sort();
        all
    };
    (identity(&wanted) != identity(&current)).then_some(wanted)
}

/// Deletes pods from nodes whose NoExecute taints they do not tolerate, or no longer.
async fn evict_intolerant(context: Context, nodes: Informer<Node>, pods: Informer<Pod>) {
    let queue = Workqueue::new();
    enqueue_self(&pods, &queue);
    let all = pods.clone();
    enqueue(&nodes, &queue, move |change| {
        let name = name_of(&change.object().metadata).to_owned();
        let on_node = all.list().into_iter().filter(|pod| node_name(pod) == Some(&name));
        on_node.map(|pod| ObjectKey::of(&*pod)).collect()
    });
    run_workers(queue, 4, context.stop.clone(), |key: ObjectKey| {
        let pod = pods.get_key(&key);
        let node = pod.as_ref().and_then(|pod| nodes.get("", node_name(pod)?));
        let api = Api::namespaced(context.client.clone(), &key.namespace);
        async move {
            let (Some(pod), Some(node)) = (pod, node) else {
                return Ok(Requeue::Done);
            };
            evict_when_due(&api, pod, &node).await
        }
    })
    .await;
}

async fn evict_when_due(api: &Api<Pod>, pod: Arc<Pod>, node: &Node) -> Result<Requeue, Error> {
    if is_deleting(&pod.metadata) || is_finished(&pod) {
        return Ok(Requeue::Done);
    }
    let Some(left) = time_left(&pod, node, Timestamp::now()) else {
        return Ok(Requeue::Done);
    };
    if !left.is_zero() {
        return Ok(Requeue::After(left));
    }
    tracing::info!(pod = %ObjectKey::of(&*pod), node = name_of(&node.metadata), "evicting");
    let exactly = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
    match api.delete(name_of(&pod.metadata), &params).await {
        Err(Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        outcome => drop(outcome?),
    }
    Ok(Requeue::Done)
}

/// How long the pod may stay on the node; `None` is for ever.
fn time_left(pod: &Pod, node: &Node, now: Timestamp) -> Option<Duration> {
    let taints = node.spec.as_ref()?.taints.as_deref()?;
    let tolerations = pod.spec.as_ref()?.tolerations.as_deref().unwrap_or_default();
    let executing = taints.iter().filter(|taint| taint.effect == "NoExecute");
    executing.filter_map(|taint| tolerated_for(taint, tolerations, now)).min()
}

/// How long a taint is tolerated from now on; `None` is for ever.
fn tolerated_for(taint: &Taint, tolerations: &[Toleration], now: Timestamp) -> Option<Duration> {
    let matching: Vec<_> =
        tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
    if matching.is_empty() {
        return Some(Duration::ZERO);
    }
    let shortest = matching.iter().filter_map(|toleration| toleration.toleration_seconds).min()?;
    let added = taint.time_added.as_ref().map_or(now, |time| time.0);
    let spent = now.duration_since(added).as_secs();
    Some(Duration::from_secs(u64::try_from(shortest - spent).unwrap_or(0)))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let exists = toleration.operator.as_deref() == Some("Exists");
    if key.is_empty() {
        return exists;
    }
    let value = toleration.value.as_deref().unwrap_or_default();
    key == taint.key && (exists || value == taint.value.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str) -> Node {
        let mut node = Node::default();
        node.metadata.name = Some("n1".into());
        let condition = NodeCondition {
            type_: "Ready".into(),
            status: ready.into(),
            ..NodeCondition::default()
        };
        node.status.get_or_insert_default().conditions = Some(vec![condition]);
        node
    }

    fn tainted(key: &str, at: i64) -> Node {
        let mut node = node("Unknown");
        node.spec.get_or_insert_default().taints = Some(vec![Taint {
            key: key.into(),
            effect: "NoExecute".into(),
            time_added: Some(Time(Timestamp::from_second(at).unwrap())),
            value: None,
        }]);
        node
    }

    fn pod(seconds: Option<i64>) -> Pod {
        let mut pod = Pod::default();
        pod.spec.get_or_insert_default().tolerations = Some(vec![Toleration {
            key: Some(UNREACHABLE.into()),
            operator: Some("Exists".into()),
            effect: Some("NoExecute".into()),
            toleration_seconds: seconds,
            value: None,
        }]);
        pod
    }

    #[test]
    fn a_silent_node_becomes_unknown_whatever_it_said_last() {
        let grace = Duration::from_secs(40);
        assert_eq!(health(&node("True"), Duration::from_secs(39), grace), Health::Ready);
        assert_eq!(health(&node("True"), Duration::from_secs(41), grace), Health::Silent);
        let conditions = silenced(&node("True"), Timestamp::UNIX_EPOCH).unwrap();
        assert!(conditions.iter().all(|condition| condition.status == "Unknown"));
        assert_eq!(conditions.len(), HEARTBEAT_CONDITIONS.len());
    }

    #[test]
    fn taints_follow_health_and_leave_others_alone() {
        let mut cordoned = node("False");
        let foreign = Taint { key: "team".into(), effect: "NoSchedule".into(), ..Taint::default() };
        cordoned.spec.get_or_insert_default().taints = Some(vec![foreign.clone()]);
        let now = Timestamp::UNIX_EPOCH;
        let taints = plan_taints(&cordoned, Health::NotReady, now).unwrap();
        assert_eq!(taints.len(), 3);
        assert_eq!(taints[0], foreign);
        cordoned.spec.as_mut().unwrap().taints = Some(taints);
        assert_eq!(
            plan_taints(&cordoned, Health::NotReady, now),
            None,
            "a steady state writes nothing"
        );
        assert_eq!(plan_taints(&cordoned, Health::Ready, now), Some(vec![foreign]));
    }

    #[test]
    fn pods_stay_as_long_as_they_tolerate() {
        let node = tainted(UNREACHABLE, 100);
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(time_left(&Pod::default(), &node, at(100)), None, "no spec, nothing to judge");
        assert_eq!(time_left(&pod(None), &node, at(500)), None);
        assert_eq!(time_left(&pod(Some(300)), &node, at(150)), Some(Duration::from_secs(250)));
        assert_eq!(time_left(&pod(Some(300)), &node, at(900)), Some(Duration::ZERO));
        let other = tainted(NOT_READY, 100);
        assert_eq!(time_left(&pod(None), &other, at(100)), Some(Duration::ZERO));
    }
}
