//! ReplicaSet and ReplicationController: as many pods as wanted, no more, no fewer.
//!
//! Both kinds are one controller, generic over [`Replicated`].

use std::sync::Arc;

use hansa_api::k8s_openapi::NamespaceResourceScope;
use hansa_api::k8s_openapi::api::apps::v1::ReplicaSet;
use hansa_api::k8s_openapi::api::core::v1::{ObjectReference, Pod, ReplicationController};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use hansa_api::k8s_openapi::jiff::Timestamp;
use hansa_client::kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use hansa_client::kube::{Api, Error, Resource};
use hansa_client::{
    Event, EventType, Informer, ObjectKey, Recorder, Requeue, Workqueue, message_of, run_workers,
};
use serde_json::json;

use crate::Context;
use crate::expectations::Expectations;
use crate::owned::{
    controller_of, is_controlled_by, is_deleting, name_of, reference_to, selects, stands, uid_of,
};
use crate::pods::{is_active, is_available, is_ready};
use crate::wiring::{controller_key, enqueue_self};

mod kinds;
mod plan;

use kinds::{Counts, Replicated, Trouble};
use plan::{Named, Plan, plan};

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
        let mut failure = owner.counts().failure;
        let mut managed = Ok(());
        if !is_deleting(owner.meta()) && self.expectations.satisfied(key) {
            let plan = plan(owner.meta().uid.as_deref(), &selector, owner.replicas(), &pods);
            let reason = if plan.create > 0 { "FailedCreate" } else { "FailedDelete" };
            managed = self.carry_out(&owner, key, plan).await;
            failure = managed.as_ref().err().map(|error| trouble(failure, reason, error));
        }
        let counts = Counts { failure, ..count(&*owner, &selector, &pods, Timestamp::now()) };
        let requeue = self.write_status(&owner, key, &counts).await?;
        managed.map(|()| requeue)
    }

    async fn carry_out(&self, owner: &K, key: &ObjectKey, plan: Plan) -> Result<(), Error> {
        if !plan.adopt.is_empty() && !stands(&self.api::<K>(key), owner.meta()).await? {
            return Ok(());
        }
        let api = self.api::<Pod>(key);
        let adopted = json!([reference_to(owner)]);
        self.own(&api, &plan.adopt, &adopted).await?;
        let released = json!([{ "$patch": "delete", "uid": uid_of(owner.meta()) }]);
        self.own(&api, &plan.release, &released).await?;
        let deletions = plan.delete.iter().map(|(_, uid)| uid.clone());
        if plan.create > 0 || !plan.delete.is_empty() {
            self.expectations.expect(key, plan.create, deletions);
        }
        self.create_pods(owner, key, &api, plan.create).await?;
        self.delete_pods(owner, key, &api, plan.delete).await
    }

    /// Writes the owner references of these very pods.
    async fn own(
        &self,
        api: &Api<Pod>,
        pods: &[Named],
        references: &serde_json::Value,
    ) -> Result<(), Error> {
        for (name, uid) in pods {
            let patch = json!({ "metadata": { "uid": uid, "ownerReferences": references } });
            api.patch(name, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
        }
        Ok(())
    }

    fn api<T>(&self, key: &ObjectKey) -> Api<T>
    where
        T: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &key.namespace)
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
                return if namespace_is_going(&error) { Ok(()) } else { Err(error) };
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
            Err(error) if namespace_is_going(&error) => Err(error),
            Err(error) => {
                let note = format!("Error creating: {}", message_of(&error));
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
        victims: Vec<Named>,
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
        counts: &Counts,
    ) -> Result<Requeue, Error> {
        if *counts != owner.counts() {
            let object = owner.with_counts(counts);
            let api = self.api::<K>(key);
            match api.replace_status(&key.name, &PostParams::default(), &object).await {
                Err(Error::Api(status)) if status.is_not_found() => {}
                outcome => drop(outcome?),
            }
        }
        let min_ready = u64::try_from(owner.min_ready_secs()).unwrap_or(0);
        Ok(match counts.ready > counts.available {
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

fn pod_of<K: Replicated>(owner: &K) -> Pod {
    let template = owner.template();
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = None;
    metadata.namespace = owner.meta().namespace.clone();
    metadata.generate_name = Some(format!("{}-", name_of(owner.meta())));
    metadata.owner_references = Some(vec![reference_to(owner)]);
    Pod { metadata, spec: template.spec, status: None }
}

/// The owner's status as its pods have it, but for failures.
fn count<K: Replicated>(
    owner: &K,
    selector: &LabelSelector,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> Counts {
    let template = owner.template().metadata.unwrap_or_default().labels.unwrap_or_default();
    let mut counts = Counts {
        observed_generation: owner.meta().generation.unwrap_or_default(),
        ..Counts::default()
    };
    let mine = pods
        .iter()
        .filter(|pod| is_controlled_by(&pod.metadata, uid_of(owner.meta())))
        .filter(|pod| selects(selector, pod.metadata.labels.as_ref()));
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

/// What the status says of a failure; one that it told before stays as it was told, or every retry
/// would write another text.
fn trouble(before: Option<Trouble>, reason: &str, error: &Error) -> Trouble {
    before.unwrap_or_else(|| Trouble {
        reason: reason.into(),
        message: message_of(error),
        since: Some(Time(Timestamp::now())),
    })
}

/// Whether a pod was refused because its namespace is being deleted: trying again cannot help.
fn namespace_is_going(error: &Error) -> bool {
    let Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
