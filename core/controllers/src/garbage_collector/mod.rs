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
use hansa_client::kube::{Api, Client, Error};
use hansa_client::{Change, Requeue, Workqueue, run_workers};
use parking_lot::{Mutex, RwLock};
use serde_json::json;

use crate::Context;
use crate::resources::{Kinds, Served, discover, key};

mod graph;

use graph::{Graph, Object, Owner, Verdict};

/// Between looks for new kinds.
const DISCOVER: Duration = Duration::from_secs(10);
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
    tokio::join!(
        collector.follow_kinds(),
        run_workers(collector.queue.clone(), 4, context.stop.clone(), reconcile),
    );
}

impl Collector {
    /// Starts to watch each kind once it is there.
    async fn follow_kinds(&self) {
        let mut watched = HashSet::new();
        loop {
            match discover(&self.context.client).await {
                Ok(kinds) => self.watch_new(kinds, &mut watched),
                Err(error) => tracing::debug!(%error, "failed to discover kinds, will retry"),
            }
            tokio::select! {
                () = self.context.stop.cancelled() => return,
                () = tokio::time::sleep(DISCOVER) => {}
            }
        }
    }

    fn watch_new(&self, kinds: Kinds, watched: &mut HashSet<String>) {
        *self.kinds.write() = kinds.clone();
        for (kind, served) in kinds {
            let usable = served.supports(&["list", "watch", "delete"]);
            if usable && !IGNORED.contains(&kind.as_str()) && watched.insert(kind.clone()) {
                self.watch(kind, &served);
            }
        }
    }

    fn watch(&self, kind: String, served: &Served) {
        let mut changes = self.context.informers.metadata(&served.resource).subscribe();
        let (graph, queue) = (self.graph.clone(), self.queue.clone());
        tokio::spawn(async move {
            while let Some(change) = changes.recv().await {
                let meta = &change.object().metadata;
                let Some(uid) = meta.uid.clone() else {
                    continue;
                };
                let concerned = match &change {
                    Change::Applied { .. } => {
                        graph.lock().apply(&uid, Object::new(kind.clone(), meta))
                    }
                    Change::Deleted(_) => graph.lock().remove(&uid),
                };
                concerned.into_iter().for_each(|uid| queue.add(uid));
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
        let Some(served) = served else {
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
        let exactly = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams {
            propagation_policy,
            preconditions: Some(exactly),
            ..DeleteParams::default()
        };
        tracing::debug!(kind = %object.kind, name = %object.name, policy, "owner gone, deleting");
        ignore_gone(api.delete(&object.name, &params).await.map(drop))
    }

    /// Removes owners' references. The uid in the patch makes sure that it is this very object.
    async fn disown(&self, uid: &str, object: &Object, owners: &[String]) -> Result<(), Error> {
        let left: Vec<_> =
            object.owners.iter().filter(|owner| !owners.contains(&owner.uid)).collect();
        let patch = json!({ "metadata": { "uid": uid, "ownerReferences": left } });
        self.patch(object, &patch).await
    }

    async fn drop_finalizer(&self, uid: &str, object: &Object, which: &str) -> Result<(), Error> {
        let left: Vec<_> =
            object.finalizers.iter().filter(|finalizer| *finalizer != which).collect();
        let patch = json!({ "metadata": { "uid": uid, "finalizers": left } });
        self.patch(object, &patch).await
    }

    async fn patch(&self, object: &Object, patch: &serde_json::Value) -> Result<(), Error> {
        let Some(api) = self.api_of(object) else {
            return Ok(());
        };
        let params = PatchParams::default();
        let done = api.patch_metadata(&object.name, &params, &Patch::Merge(patch)).await;
        ignore_gone(done.map(drop))
    }
}

fn api(client: &Client, served: &Served, namespace: &str) -> Api<DynamicObject> {
    match served.namespaced {
        true => Api::namespaced_with(client.clone(), namespace, &served.resource),
        false => Api::all_with(client.clone(), &served.resource),
    }
}

/// Gone, or another object by that name: either way nothing is left to do.
fn ignore_gone(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        outcome => outcome,
    }
}
