//! Nodes that fall silent: their conditions become Unknown, taints keep new pods away, their pods take
//! no traffic, and those that do not tolerate it are evicted when their time is up.

use std::collections::HashMap;
use std::time::Duration;

use hansa_api::k8s_openapi::api::coordination::v1::Lease;
use hansa_api::k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use hansa_api::k8s_openapi::jiff::Timestamp;
use hansa_client::kube::api::{Patch, PatchParams, PostParams};
use hansa_client::kube::{Api, Error, Resource};
use hansa_client::{Event, EventType, Informer, Recorder};
use serde_json::json;
use tokio::time::Instant;

use crate::Context;
use crate::owned::name_of;

mod pods;
mod taints;

const HEARTBEAT_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const PERIOD: Duration = Duration::from_secs(5);
const NAME: &str = "node-controller";

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
    let leases = context.informers.of::<Lease>();
    nodes.synced().await;
    pods.synced().await;
    leases.synced().await;
    tokio::join!(
        pods::run(context.clone(), nodes.clone(), pods),
        Monitor { recorder: context.recorder(NAME), context, nodes, leases }.run(),
    );
}

struct Monitor {
    context: Context,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    recorder: Recorder,
}

impl Monitor {
    /// Looks at a node when it changes, and at all of them again and again: silence sends no event.
    async fn run(self) {
        let mut signs: HashMap<String, Sign> = HashMap::new();
        let grace = self.context.config.node_monitor_grace;
        let period = PERIOD.min(grace / 4).max(Duration::from_millis(100));
        let mut round = tokio::time::interval(period);
        let mut changes = self.nodes.subscribe();
        loop {
            let due = tokio::select! {
                () = self.context.stop.cancelled() => return,
                _ = round.tick() => self.nodes.list(),
                Some(change) = changes.recv() => {
                    let node = self.nodes.get_key(&change.key());
                    if node.is_none() {
                        signs.remove(&change.key().name);
                    }
                    Vec::from_iter(node)
                }
            };
            for node in &due {
                let lease = self.leases.get("kube-node-lease", name_of(&node.metadata));
                let silent_for = note(&mut signs, node, lease.as_deref());
                let health = health(node, silent_for, grace);
                if let Err(error) = self.act(node, health).await {
                    tracing::debug!(node = name_of(&node.metadata), %error, "failed, will retry");
                }
            }
        }
    }

    async fn act(&self, node: &Node, health: Health) -> Result<(), Error> {
        let api: Api<Node> = Api::all(self.context.client.clone());
        let name = name_of(&node.metadata);
        if health == Health::Silent
            && let Some(conditions) = silenced(node, Timestamp::now())
        {
            let mut silent = node.clone();
            silent.status.get_or_insert_default().conditions = Some(conditions);
            api.replace_status(name, &PostParams::default(), &silent).await?;
            tracing::warn!(node = name, "the node has stopped sending heartbeats");
            self.tell_not_ready(node).await;
            return Ok(());
        }
        let evict = self.anyone_ready();
        if let Some(taints) = taints::plan(node, health, evict, Timestamp::now()) {
            let patch = json!({
                "metadata": { "resourceVersion": node.metadata.resource_version },
                "spec": { "taints": taints },
            });
            api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        }
        Ok(())
    }

    /// Where not one node is ready it is rather the control plane that sees none of them, and there
    /// is nowhere for pods to go: nothing is evicted then.
    fn anyone_ready(&self) -> bool {
        self.nodes.list().iter().any(|node| is_ready(node))
    }

    async fn tell_not_ready(&self, node: &Node) {
        let event = Event {
            type_: EventType::Normal,
            reason: "NodeNotReady".into(),
            note: Some(format!("Node {} status is now: NodeNotReady", name_of(&node.metadata))),
            action: "NodeNotReady".into(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &node.object_ref(&())).await {
            tracing::debug!(%error, "event not recorded");
        }
    }
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "True")
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

/// The conditions of a node that fell silent, or `None` if they say so already.
fn silenced(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let status = node.status.as_ref();
    let mut all = status.and_then(|status| status.conditions.clone()).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A node `n1` with this Ready condition.
    pub(super) fn node(ready: &str) -> Node {
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

    #[test]
    fn a_silent_node_becomes_unknown_whatever_it_said_last() {
        let grace = Duration::from_secs(40);
        assert_eq!(health(&node("True"), Duration::from_secs(39), grace), Health::Ready);
        assert_eq!(health(&node("True"), Duration::from_secs(41), grace), Health::Silent);
        let conditions = silenced(&node("True"), Timestamp::UNIX_EPOCH).unwrap();
        assert!(conditions.iter().all(|condition| condition.status == "Unknown"));
        assert_eq!(conditions.len(), HEARTBEAT_CONDITIONS.len());
    }
}
