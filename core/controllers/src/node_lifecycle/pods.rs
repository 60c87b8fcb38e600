//! What becomes of the pods of a node that is not ready: they take no traffic, and those that do not
//! tolerate its NoExecute taints, or no longer, are evicted.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use hansa_api::k8s_openapi::jiff::Timestamp;
use hansa_client::kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use hansa_client::kube::{Api, Error, Resource};
use hansa_client::{
    Change, Event, EventType, Informer, ObjectKey, Recorder, Requeue, Workqueue, run_workers,
};
use serde_json::{Value, json};

use super::{NAME, condition};
use crate::Context;
use crate::owned::{is_deleting, name_of};
use crate::pods::{is_finished, is_ready, node_name};
use crate::wiring::{enqueue, enqueue_self};

struct Keeper {
    context: Context,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    recorder: Recorder,
}

pub(super) async fn run(context: Context, nodes: Informer<Node>, pods: Informer<Pod>) {
    let queue = Workqueue::new();
    enqueue_self(&pods, &queue);
    let all = pods.clone();
    enqueue(&nodes, &queue, move |change| match concerns_pods(change) {
        true => on_node(&all, name_of(&change.object().metadata)),
        false => Vec::new(),
    });
    let keeper = Keeper { recorder: context.recorder(NAME), context, nodes, pods };
    let keeper = &keeper;
    let reconcile = |key: ObjectKey| async move { keeper.reconcile(&key).await };
    run_workers(queue, 4, keeper.context.stop.clone(), reconcile).await;
}

/// Whether a node's change means anything to its pods: most are heartbeats.
fn concerns_pods(change: &Change<Node>) -> bool {
    let Change::Applied { old: Some(old), new } = change else { return true };
    let matters = |node: &Node| (is_lost(node), executing(node).cloned().collect::<Vec<_>>());
    matters(old) != matters(new)
}

fn on_node(pods: &Informer<Pod>, node: &str) -> Vec<ObjectKey> {
    let all = pods.list();
    let here = all.iter().filter(|pod| node_name(pod) == Some(node));
    here.map(|pod| ObjectKey::of(&**pod)).collect()
}

/// Whether the node says that it is not ready, or nothing any more.
fn is_lost(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status != "True")
}

fn executing(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute")
}

impl Keeper {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(pod) = self.pods.get_key(key) else { return Ok(Requeue::Done) };
        let node = node_name(&pod).and_then(|name| self.nodes.get("", name));
        let Some(node) = node.filter(|_| !is_finished(&pod)) else { return Ok(Requeue::Done) };
        if is_lost(&node) && is_ready(&pod) {
            self.take_from_traffic(key, &pod).await?;
        }
        if is_deleting(&pod.metadata) {
            return Ok(Requeue::Done);
        }
        match time_left(&pod, &node, Timestamp::now()) {
            None => Ok(Requeue::Done),
            Some(left) if left.is_zero() => self.evict(key, &pod).await.map(|()| Requeue::Done),
            Some(left) => Ok(Requeue::After(left)),
        }
    }

    async fn take_from_traffic(&self, key: &ObjectKey, pod: &Arc<Pod>) -> Result<(), Error> {
        self.set_condition(key, pod, json!({ "type": "Ready", "status": "False" })).await?;
        let note = "Node is not ready".to_owned();
        self.event(pod, EventType::Warning, "NodeNotReady", note).await;
        Ok(())
    }

    async fn evict(&self, key: &ObjectKey, pod: &Arc<Pod>) -> Result<(), Error> {
        let note = format!("Marking for deletion Pod {key}");
        self.event(pod, EventType::Normal, "TaintManagerEviction", note).await;
        let why = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        });
        self.set_condition(key, pod, why).await?;
        let exactly = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
        gone_is_fine(self.api(key).delete(&key.name, &params).await.map(drop))
    }

    /// Sets a condition of this very pod.
    async fn set_condition(
        &self,
        key: &ObjectKey,
        pod: &Pod,
        mut condition: Value,
    ) -> Result<(), Error> {
        condition["lastTransitionTime"] = json!(Time(Timestamp::now()));
        let patch = Patch::Strategic(json!({
            "metadata": { "uid": pod.metadata.uid },
            "status": { "conditions": [condition] },
        }));
        let done = self.api(key).patch_status(&key.name, &PatchParams::default(), &patch).await;
        gone_is_fine(done.map(drop))
    }

    fn api(&self, key: &ObjectKey) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), &key.namespace)
    }

    async fn event(&self, pod: &Pod, type_: EventType, reason: &str, note: String) {
        let (reason, note) = (reason.to_owned(), Some(note));
        let event = Event { type_, action: reason.clone(), reason, note, secondary: None };
        if let Err(error) = self.recorder.publish(&event, &pod.object_ref(&())).await {
            tracing::debug!(%error, "event not recorded");
        }
    }
}

/// Gone, or another pod by that name.
fn gone_is_fine(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        outcome => outcome,
    }
}

/// How long the pod may stay on the node; `None` is for ever.
fn time_left(pod: &Pod, node: &Node, now: Timestamp) -> Option<Duration> {
    let tolerations = pod.spec.as_ref()?.tolerations.as_deref().unwrap_or_default();
    executing(node).filter_map(|taint| tolerated_for(taint, tolerations, now)).min()
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
    Some(Duration::from_secs(u64::try_from(shortest.saturating_sub(spent)).unwrap_or(0)))
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
    use super::super::taints::{NOT_READY, UNREACHABLE};
    use super::super::tests::node;
    use super::*;

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

    #[test]
    fn heartbeats_wake_no_pod() {
        let applied = |old: &Node, new: &Node| Change::Applied {
            old: Some(Arc::new(old.clone())),
            new: Arc::new(new.clone()),
        };
        let (calm, mut beaten) = (node("True"), node("True"));
        beaten.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].last_heartbeat_time =
            Some(Time(Timestamp::UNIX_EPOCH));
        assert!(!concerns_pods(&applied(&calm, &beaten)));
        assert!(concerns_pods(&applied(&calm, &node("Unknown"))));
        assert!(concerns_pods(&applied(&node("Unknown"), &tainted(UNREACHABLE, 1))));
    }
}
