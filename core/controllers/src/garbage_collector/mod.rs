//! The garbage collector: objects go with their owners, by all three propagation policies.
//!
//! It watches the metadata of every kind that the server has, keeps the graph of owners, and carries
//! out the graph's verdicts. An owner that the graph does not hold is asked for at the server before
//! anything is deleted for its sake.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use hansa_client::kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use hansa_client::kube::core::PartialObjectMeta;
use hansa_client::kube::{Api, Client, Error};
use hansa_client::{Change, Requeue, Workqueue, run_workers};
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use tokio::sync::mpsc;

use crate::Context;
use crate::resources::{Kinds, Served, discover, key};

mod graph;

use graph::{Graph, Object, Owner, Verdict};

/// Between looks for new kinds.
const DISCOVER: Duration = Duration::from_secs(10);
/// How long the first lists of all kinds are waited for: one kind that cannot be listed does not hold
/// the others up for ever.
const FIRST_LISTS: Duration = Duration::from_secs(30);
/// Kinds that own nothing, are owned by nothing and change all the time.
const IGNORED: [&str; 2] = ["/Event", "events.k8s.io/Event"];

struct Collector {
    context: Context,
    graph: Arc<Mutex<Graph>>,
    kinds: Arc<RwLock<Kinds>>,
    queue: Workqueue<String>,
}

pub(crate) async fn run(context: Context) {
    let collector = Collector {
        context: context.clone(),
        graph: Arc::default(),
        kinds: Arc::default(),
        queue: Workqueue::new(),
    };
    let reconcile = |uid: String| {
        let collector = &collector;
        async move { collector.reconcile(&uid).await }
    };
    let (first, listed) = mpsc::channel(1);
    tokio::join!(collector.follow_kinds(first), async {
        until_closed(listed, FIRST_LISTS).await;
        run_workers(collector.queue.clone(), 4, context.stop.clone(), reconcile).await;
    });
}

/// Waits until all senders are dropped: each kind has one until its objects are in the graph. In half
/// a graph an owner would look as if it had no dependents.
async fn until_closed(mut listed: mpsc::Receiver<()>, most: Duration) {
    let closed = async { while listed.recv().await.is_some() {} };
    if tokio::time::timeout(most, closed).await.is_err() {
        tracing::warn!("not every kind could be listed; collecting garbage without the rest");
    }
}

impl Collector {
    /// Starts to watch each kind once it is there; the kinds of the first look hold `first`.
    async fn follow_kinds(&self, first: mpsc::Sender<()>) {
        let mut watched = HashSet::new();
        let mut first = Some(first);
        loop {
            match discover(&self.context.client).await {
                Ok(found) => self.watch_new(found.kinds, &mut watched, first.take()),
                Err(error) => tracing::debug!(%error, "failed to discover kinds, will retry"),
            }
            tokio::select! {
                () = self.context.stop.cancelled() => return,
                () = tokio::time::sleep(DISCOVER) => {}
            }
        }
    }

    fn watch_new(
        &self,
        kinds: Kinds,
        watched: &mut HashSet<String>,
        first: Option<mpsc::Sender<()>>,
    ) {
        *self.kinds.write() = kinds.clone();
        for (kind, served) in kinds {
            let usable = served.supports(&["list", "watch", "delete"]);
            if usable && !IGNORED.contains(&kind.as_str()) && watched.insert(kind.clone()) {
                self.watch(kind, &served, first.clone());
            }
        }
    }

    fn watch(&self, kind: String, served: &Served, first: Option<mpsc::Sender<()>>) {
        let informer = self.context.informers.metadata(&served.resource);
        let (graph, queue) = (self.graph.clone(), self.queue.clone());
        let stop = self.context.stop.clone();
        tokio::spawn(async move {
            if stop.run_until_cancelled(informer.synced()).await.is_none() {
                return;
            }
            let mut changes = informer.subscribe();
            drop(informer);
            let note = |change| {
                let concerned = note(&mut graph.lock(), &kind, &change);
                concerned.into_iter().for_each(|uid| queue.add(uid));
            };
            while let Ok(change) = changes.try_recv() {
                note(change);
            }
            drop(first);
            while let Some(change) = changes.recv().await {
                note(change);
            }
        });
    }

    async fn reconcile(&self, uid: &str) -> Result<Requeue, Error> {
        let unknown = self.graph.lock().unknown_owners(uid);
        let Some(object) = self.graph.lock().get(uid).cloned() else {
            return Ok(Requeue::Done);
        };
        let mut asked = HashMap::new();
        for owner in unknown {
            let standing = self.ask(&object, &owner).await?;
            asked.insert(owner.uid, standing);
        }
        let verdict = self.graph.lock().verdict(uid, &asked);
        self.carry_out(uid, &object, verdict).await
    }

    /// How an owner stands that the graph does not hold. A kind that the server does not have may
    /// come back, so its objects count as there.
    async fn ask(&self, object: &Object, owner: &OwnerReference) -> Result<Owner, Error> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let served = self.kinds.read().get(&key(group, &owner.kind)).cloned();
        let Some(served) = served.filter(|served| can_own(served, object)) else {
            return Ok(Owner::Solid);
        };
        let api = api(&self.context.client, &served, &object.namespace);
        let found = api.get_metadata_opt(&owner.name).await?;
        let same = found.is_some_and(|found| found.metadata.uid.as_ref() == Some(&owner.uid));
        Ok(if same { Owner::Solid } else { Owner::Absent })
    }

    async fn carry_out(
        &self,
        uid: &str,
        object: &Object,
        verdict: Verdict,
    ) -> Result<Requeue, Error> {
        match verdict {
            Verdict::Keep => {}
            Verdict::Delete(policy) => self.delete(uid, object, policy).await?,
            Verdict::Disown(owners) => self.disown(uid, object, &owners).await?,
            Verdict::Loosen => self.loosen(uid, object).await?,
            Verdict::Descend(dependents) => {
                dependents.into_iter().for_each(|dependent| self.queue.add(dependent));
            }
            Verdict::Unblock(finalizer) => self.drop_finalizer(uid, object, finalizer).await?,
            Verdict::Orphan(dependents) => {
                for dependent in dependents {
                    let known = self.graph.lock().get(&dependent).cloned();
                    if let Some(known) = known {
                        self.disown(&dependent, &known, &[uid.to_owned()]).await?;
                    }
                }
                self.drop_finalizer(uid, object, graph::ORPHAN).await?;
            }
        }
        Ok(Requeue::Done)
    }

    fn api_of(&self, object: &Object) -> Option<Api<DynamicObject>> {
        let served = self.kinds.read().get(&object.kind).cloned()?;
        Some(api(&self.context.client, &served, &object.namespace))
    }

    async fn delete(&self, uid: &str, object: &Object, policy: &str) -> Result<(), Error> {
        let Some(api) = self.api_of(object) else {
            return Ok(());
        };
        let propagation_policy = Some(match policy {
            "Foreground" => PropagationPolicy::Foreground,
            "Orphan" => PropagationPolicy::Orphan,
            _ => PropagationPolicy::Background,
        });
        let exactly = Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: Some(object.version.clone()),
        };
        let params = DeleteParams {
            propagation_policy,
            preconditions: Some(exactly),
            ..DeleteParams::default()
        };
        tracing::debug!(kind = %object.kind, name = %object.name, policy, "owner gone, deleting");
        ignore_gone(api.delete(&object.name, &params).await.map(drop))
    }

    /// Removes owners' references, of this very object as it was seen.
    async fn disown(&self, uid: &str, object: &Object, owners: &[String]) -> Result<(), Error> {
        let left: Vec<_> =
            object.owners.iter().filter(|owner| !owners.contains(&owner.uid)).collect();
        self.patch(uid, object, json!({ "ownerReferences": left })).await
    }

    /// Keeps the owners' references, without letting them block.
    async fn loosen(&self, uid: &str, object: &Object) -> Result<(), Error> {
        let mut owners = object.owners.clone();
        for owner in &mut owners {
            owner.block_owner_deletion = owner.block_owner_deletion.map(|_| false);
        }
        self.patch(uid, object, json!({ "ownerReferences": owners })).await
    }

    async fn drop_finalizer(&self, uid: &str, object: &Object, which: &str) -> Result<(), Error> {
        let left: Vec<_> =
            object.finalizers.iter().filter(|finalizer| *finalizer != which).collect();
        self.patch(uid, object, json!({ "finalizers": left })).await
    }

    /// Writes metadata. Lists are replaced whole, so only in the state that was seen: a conflict is an
    /// error, and the next try knows more.
    async fn patch(
        &self,
        uid: &str,
        object: &Object,
        mut metadata: serde_json::Value,
    ) -> Result<(), Error> {
        let Some(api) = self.api_of(object) else {
            return Ok(());
        };
        metadata["uid"] = json!(uid);
        metadata["resourceVersion"] = json!(object.version);
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let done = api.patch_metadata(&object.name, &PatchParams::default(), &patch).await;
        ignore_gone(done.map(drop))
    }
}

/// Notes a change; answers the uids that it concerns.
fn note(
    graph: &mut Graph,
    kind: &str,
    change: &Change<PartialObjectMeta<DynamicObject>>,
) -> Vec<String> {
    let meta = &change.object().metadata;
    let Some(uid) = &meta.uid else { return Vec::new() };
    match change {
        Change::Applied { .. } => graph.apply(uid, Object::new(kind.to_owned(), meta)),
        Change::Deleted(_) => graph.remove(uid),
    }
}

/// A namespaced owner cannot own what is in no namespace: nobody can say which owner is meant, so
/// nothing is deleted for its sake.
fn can_own(owner: &Served, object: &Object) -> bool {
    !owner.namespaced || !object.namespace.is_empty()
}

fn api(client: &Client, served: &Served, namespace: &str) -> Api<DynamicObject> {
    match served.namespaced {
        true => Api::namespaced_with(client.clone(), namespace, &served.resource),
        false => Api::all_with(client.clone(), &served.resource),
    }
}

fn ignore_gone(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Api(status)) if status.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use hansa_client::kube::core::ApiResource;

    use super::*;

    #[test]
    fn nothing_outside_of_namespaces_goes_for_an_owner_inside_of_one() {
        let served = |namespaced| {
            let resource = ApiResource::erase::<hansa_api::k8s_openapi::api::core::v1::Pod>(&());
            Served { resource, namespaced, verbs: Vec::new() }
        };
        let named = |namespace: &str| {
            let namespace = Some(namespace.to_owned());
            Object::new("/Node".into(), &ObjectMeta { namespace, ..ObjectMeta::default() })
        };
        assert!(!can_own(&served(true), &named("")));
        assert!(can_own(&served(true), &named("default")));
        assert!(can_own(&served(false), &named("")));
        assert!(can_own(&served(false), &named("default")));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_collected_before_every_kind_was_listed_or_had_its_time() {
        let (first, listed) = mpsc::channel(1);
        let second = first.clone();
        drop(first);
        let wait = tokio::spawn(until_closed(listed, FIRST_LISTS));
        tokio::time::sleep(FIRST_LISTS / 2).await;
        assert!(!wait.is_finished(), "one kind is still open");
        drop(second);
        wait.await.expect("it does not panic");
        let (_never_listed, listed) = mpsc::channel(1);
        until_closed(listed, FIRST_LISTS).await;
    }
}
