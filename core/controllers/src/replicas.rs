//! ReplicaSet and ReplicationController: as many pods as wanted, no more, no fewer.
//!
//! Both kinds are one controller, generic over [`Replicated`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use hansa_api::k8s_openapi::NamespaceResourceScope;
use hansa_api::k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use hansa_api::k8s_openapi::api::core::v1::{
    ObjectReference, Pod, PodTemplateSpec, ReplicationController, ReplicationControllerStatus,
};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use hansa_api::k8s_openapi::jiff::Timestamp;
use hansa_client::kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use hansa_client::kube::{Api, Error, Resource};
use hansa_client::{
    Event, EventType, Informer, ObjectKey, Recorder, Requeue, Workqueue, run_workers,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::Context;
use crate::expectations::Expectations;
use crate::owned::{
    controller_of, is_controlled_by, is_deleting, name_of, reference_to, selects, uid_of,
};
use crate::pods::{is_active, is_available, is_ready, node_name};
use crate::wiring::{controller_key, enqueue_self};

/// Most creations or deletions of one reconcile.
const BURST: usize = 500;

/// What the controller needs of a kind that replicates pods.
pub(crate) trait Replicated:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Pods wanted.
    fn replicas(&self) -> usize;
    /// Which pods count; `None` selects nothing.
    fn selector(&self) -> Option<LabelSelector>;
    /// What a new pod looks like.
    fn template(&self) -> PodTemplateSpec;
    /// Seconds that a pod must serve before it is available.
    fn min_ready_secs(&self) -> i32;
    /// The status as it stands.
    fn counts(&self) -> Counts;
    /// The object with another status.
    fn with_counts(&self, counts: &Counts) -> Self;
}

/// A status, without what is particular to one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    replicas: i32,
    fully_labeled: i32,
    ready: i32,
    available: i32,
    terminating: i32,
    observed_generation: i64,
}

/// What is to be done so that an owner has the pods that it wants.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    adopt: Vec<String>,
    release: Vec<String>,
    create: usize,
    /// Name and uid.
    delete: Vec<(String, String)>,
}

pub(crate) async fn run_replica_sets(context: Context) {
    run::<ReplicaSet>(context, "replicaset-controller").await;
}

pub(crate) async fn run_replication_controllers(context: Context) {
    run::<ReplicationController>(context, "replication-controller").await;
}

struct Controller<K> {
    context: Context,
    owners: Informer<K>,
    pods: Informer<Pod>,
    expectations: Expectations,
    recorder: Recorder,
}

async fn run<K: Replicated>(context: Context, name: &str) {
    let controller = Controller {
        owners: context.informers.of::<K>(),
        pods: context.informers.of::<Pod>(),
        expectations: Expectations::default(),
        recorder: context.recorder(name),
        context: context.clone(),
    };
    controller.owners.synced().await;
    controller.pods.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&controller.owners, &queue);
    controller.follow_pods(&queue);
    let controller = &controller;
    let reconcile = |key: ObjectKey| async move { controller.reconcile(&key).await };
    run_workers(queue, 5, context.stop, reconcile).await;
}

impl<K: Replicated> Controller<K> {
    /// A pod wakes its controller, or, if it has none, every owner that would take it.
    fn follow_pods(&self, queue: &Workqueue<ObjectKey>) {
        let mut changes = self.pods.subscribe();
        let (owners, expectations) = (self.owners.clone(), self.expectations.clone());
        let queue = queue.clone();
        tokio::spawn(async move {
            while let Some(change) = changes.recv().await {
                let mut keys = controller_key(&change, &K::group(&()), &K::kind(&()));
                let pod = change.object();
                let gone = matches!(change, hansa_client::Change::Deleted(_));
                for key in &keys {
                    match &change {
                        hansa_client::Change::Applied { old: None, .. } => {
                            expectations.created(key);
                        }
                        _ if gone || is_deleting(&pod.metadata) => {
                            expectations.deleted(key, uid_of(&pod.metadata));
                        }
                        _ => {}
                    }
                }
                if controller_of(&pod.metadata).is_none() && !gone {
                    keys.extend(owners_that_select(&owners, pod));
                }
                keys.into_iter().for_each(|key| queue.add(key));
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(owner) = self.owners.get_key(key) else {
            self.expectations.forget(key);
            return Ok(Requeue::Done);
        };
        let Some(selector) = owner.selector() else {
            return Ok(Requeue::Done);
        };
        let pods = self.pods.list_in(&key.namespace);
        let api = Api::namespaced(self.context.client.clone(), &key.namespace);
        if !is_deleting(owner.meta()) && self.expectations.satisfied(key) {
            let plan = plan(owner.meta().uid.as_deref(), &selector, owner.replicas(), &pods);
            self.carry_out(&owner, key, &api, plan).await?;
        }
        self.write_status(&owner, key, &selector, &pods).await
    }

    async fn carry_out(
        &self,
        owner: &K,
        key: &ObjectKey,
        api: &Api<Pod>,
        plan: Plan,
    ) -> Result<(), Error> {
        let reference = json!({ "metadata": { "ownerReferences": [reference_to(owner)] } });
        for name in &plan.adopt {
            api.patch(name, &PatchParams::default(), &Patch::Strategic(&reference)).await?;
        }
        let uid = uid_of(owner.meta());
        let released =
            json!({ "metadata": { "ownerReferences": [{ "$patch": "delete", "uid": uid }] } });
        for name in &plan.release {
            api.patch(name, &PatchParams::default(), &Patch::Strategic(&released)).await?;
        }
        let deletions = plan.delete.iter().map(|(_, uid)| uid.clone());
        if plan.create > 0 || !plan.delete.is_empty() {
            self.expectations.expect(key, plan.create, deletions);
        }
        self.create_pods(owner, key, api, plan.create).await?;
        self.delete_pods(owner, key, api, plan.delete).await
    }

    /// Creates in growing batches (1, 2, 4, …), so that an owner whose pods are refused asks once.
    async fn create_pods(
        &self,
        owner: &K,
        key: &ObjectKey,
        api: &Api<Pod>,
        count: usize,
    ) -> Result<(), Error> {
        let pod = pod_of(owner);
        let (mut open, mut batch) = (count, 1);
        while open > 0 {
            let now = batch.min(open);
            let creations = (0..now).map(|_| self.create_pod(owner, api, &pod));
            let outcomes = futures::future::join_all(creations).await;
            let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
            open -= now;
            if let Some(error) = outcomes.into_iter().find_map(Result::err) {
                (0..open + failed).for_each(|_| self.expectations.created(key));
                return Err(error);
            }
            batch *= 2;
        }
        Ok(())
    }

    async fn create_pod(&self, owner: &K, api: &Api<Pod>, pod: &Pod) -> Result<(), Error> {
        match api.create(&PostParams::default(), pod).await {
            Ok(pod) => {
                let note = format!("Created pod: {}", name_of(&pod.metadata));
                self.record(owner, EventType::Normal, "SuccessfulCreate", note).await;
                Ok(())
            }
            Err(error) => {
                let note = format!("Error creating: {error}");
                self.record(owner, EventType::Warning, "FailedCreate", note).await;
                Err(error)
            }
        }
    }

    async fn delete_pods(
        &self,
        owner: &K,
        key: &ObjectKey,
        api: &Api<Pod>,
        victims: Vec<(String, String)>,
    ) -> Result<(), Error> {
        let deletions = victims.into_iter().map(|(name, uid)| async move {
            let exactly = Preconditions { uid: Some(uid.clone()), resource_version: None };
            let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
            match api.delete(&name, &params).await {
                Ok(_) => {
                    let note = format!("Deleted pod: {name}");
                    self.record(owner, EventType::Normal, "SuccessfulDelete", note).await;
                    Ok(())
                }
                Err(error) => {
                    self.expectations.deleted(key, &uid);
                    if matches!(&error, Error::Api(status) if status.is_not_found()) {
                        return Ok(());
                    }
                    Err(error)
                }
            }
        });
        futures::future::join_all(deletions).await.into_iter().collect()
    }

    async fn write_status(
        &self,
        owner: &K,
        key: &ObjectKey,
        selector: &LabelSelector,
        pods: &[Arc<Pod>],
    ) -> Result<Requeue, Error> {
        let now = Timestamp::now();
        let mine: Vec<_> = pods
            .iter()
            .filter(|pod| is_controlled_by(&pod.metadata, uid_of(owner.meta())))
            .filter(|pod| selects(selector, pod.metadata.labels.as_ref()))
            .collect();
        let counts = count(owner, &mine, now);
        let waiting = counts.ready > counts.available;
        if counts != owner.counts() {
            let api: Api<K> = Api::namespaced(self.context.client.clone(), &key.namespace);
            let object = owner.with_counts(&counts);
            match api.replace_status(&key.name, &PostParams::default(), &object).await {
                Err(Error::Api(status)) if status.is_not_found() => {}
                outcome => drop(outcome?),
            }
        }
        let min_ready = u64::try_from(owner.min_ready_secs()).unwrap_or(0);
        Ok(match waiting {
            true => Requeue::After(std::time::Duration::from_secs(min_ready.max(1))),
            false => Requeue::Done,
        })
    }

    async fn record(&self, owner: &K, type_: EventType, reason: &str, note: String) {
        let event = Event {
            type_,
            reason: reason.into(),
            note: Some(note),
            action: reason.into(),
            secondary: None,
        };
        let reference: ObjectReference = owner.object_ref(&());
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            tracing::debug!(%error, "event not recorded");
        }
    }
}

fn owners_that_select<K: Replicated>(owners: &Informer<K>, pod: &Pod) -> Vec<ObjectKey> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let candidates = owners.list_in(namespace).into_iter();
    candidates
        .filter(|owner| {
            owner.selector().is_some_and(|all| selects(&all, pod.metadata.labels.as_ref()))
        })
        .map(|owner| ObjectKey::of(&*owner))
        .collect()
}

/// What is to be done, from the owner's uid, selector and wish, and the namespace's pods.
pub(crate) fn plan(
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
        let name = || name_of(&pod.metadata).to_owned();
        match controller_of(&pod.metadata) {
            Some(owner) if owner.uid == uid && selected => mine.push(pod),
            Some(owner) if owner.uid == uid => plan.release.push(name()),
            None if selected => {
                plan.adopt.push(name());
                mine.push(pod);
            }
            _ => {}
        }
    }
    plan.create = wanted.saturating_sub(mine.len()).min(BURST);
    let surplus = mine.len().saturating_sub(wanted).min(BURST);
    if surplus > 0 {
        rank_victims(&mut mine);
        let victims = mine.into_iter().take(surplus);
        plan.delete = victims
            .map(|pod| (name_of(&pod.metadata).to_owned(), uid_of(&pod.metadata).to_owned()))
            .collect();
    }
    plan
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

fn pod_of<K: Replicated>(owner: &K) -> Pod {
    let template = owner.template();
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = None;
    metadata.namespace = owner.meta().namespace.clone();
    metadata.generate_name = Some(format!("{}-", name_of(owner.meta())));
    metadata.owner_references = Some(vec![reference_to(owner)]);
    Pod { metadata, spec: template.spec, status: None }
}

fn count<K: Replicated>(owner: &K, mine: &[&Arc<Pod>], now: Timestamp) -> Counts {
    let template = owner.template().metadata.unwrap_or_default().labels.unwrap_or_default();
    let mut counts = Counts {
        observed_generation: owner.meta().generation.unwrap_or_default(),
        ..Counts::default()
    };
    for pod in mine {
        let going = is_deleting(&pod.metadata) && !crate::pods::is_finished(pod);
        counts.terminating += i32::from(going);
        if !is_active(pod) {
            continue;
        }
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let labeled = template.iter().all(|(key, value)| labels.get(key) == Some(value));
        counts.replicas += 1;
        counts.fully_labeled += i32::from(labeled);
        counts.ready += i32::from(is_ready(pod));
        counts.available += i32::from(is_available(pod, owner.min_ready_secs(), now));
    }
    counts
}

fn at_least_zero(count: Option<i32>, default: i32) -> usize {
    usize::try_from(count.unwrap_or(default)).unwrap_or(0)
}

impl Replicated for ReplicaSet {
    fn replicas(&self) -> usize {
        at_least_zero(self.spec.as_ref().and_then(|spec| spec.replicas), 1)
    }
    fn selector(&self) -> Option<LabelSelector> {
        self.spec.as_ref().map(|spec| spec.selector.clone())
    }
    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
    }
    fn min_ready_secs(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }
    fn counts(&self) -> Counts {
        let status = self.status.clone().unwrap_or_default();
        Counts {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            terminating: status.terminating_replicas.unwrap_or(0),
            observed_generation: status.observed_generation.unwrap_or(0),
        }
    }
    fn with_counts(&self, counts: &Counts) -> Self {
        let conditions = self.status.as_ref().and_then(|status| status.conditions.clone());
        let status = ReplicaSetStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: Some(counts.fully_labeled),
            ready_replicas: Some(counts.ready),
            available_replicas: Some(counts.available),
            terminating_replicas: Some(counts.terminating),
            observed_generation: Some(counts.observed_generation),
            conditions,
        };
        Self { status: Some(status), ..self.clone() }
    }
}

impl Replicated for ReplicationController {
    fn replicas(&self) -> usize {
        at_least_zero(self.spec.as_ref().and_then(|spec| spec.replicas), 1)
    }
    fn selector(&self) -> Option<LabelSelector> {
        let labels = self.spec.as_ref()?.selector.clone()?;
        (!labels.is_empty())
            .then_some(LabelSelector { match_labels: Some(labels), match_expressions: None })
    }
    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
    }
    fn min_ready_secs(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }
    fn counts(&self) -> Counts {
        let status = self.status.clone().unwrap_or_default();
        Counts {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            terminating: 0,
            observed_generation: status.observed_generation.unwrap_or(0),
        }
    }
    fn with_counts(&self, counts: &Counts) -> Self {
        let conditions = self.status.as_ref().and_then(|status| status.conditions.clone());
        let status = ReplicationControllerStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: Some(counts.fully_labeled),
            ready_replicas: Some(counts.ready),
            available_replicas: Some(counts.available),
            observed_generation: Some(counts.observed_generation),
            conditions,
        };
        Self { status: Some(status), ..self.clone() }
    }
}

#[cfg(test)]
#[path = "replicas_tests.rs"]
mod tests;
