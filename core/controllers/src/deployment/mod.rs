//! Deployment: one ReplicaSet per pod template, and the way from one to the next.

use std::sync::Arc;

use hansa_api::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use hansa_api::k8s_openapi::jiff::Timestamp;
use hansa_client::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use hansa_client::kube::{Api, Error, Resource};
use hansa_client::{
    Event, EventType, Informer, ObjectKey, Recorder, Requeue, Workqueue, run_workers,
};
use serde_json::json;

use crate::Context;
use crate::owned::{controller_of, is_deleting, name_of, reference_to, selects, stands, uid_of};
use crate::wiring::{controller_key, enqueue, enqueue_self};

mod plan;
mod status;
mod template;

use plan::{Action, View};

struct Controller {
    context: Context,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    recorder: Recorder,
}

pub(crate) async fn run(context: Context) {
    let controller = Controller {
        deployments: context.informers.of(),
        replica_sets: context.informers.of(),
        recorder: context.recorder("deployment-controller"),
        context: context.clone(),
    };
    controller.deployments.synced().await;
    controller.replica_sets.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&controller.deployments, &queue);
    let deployments = controller.deployments.clone();
    enqueue(&controller.replica_sets, &queue, move |change| {
        let mut keys = controller_key(change, "apps", "Deployment");
        if controller_of(&change.object().metadata).is_none() {
            keys.extend(deployments_that_select(&deployments, change.object()));
        }
        keys
    });
    let controller = &controller;
    let reconcile = |key: ObjectKey| async move { controller.reconcile(&key).await };
    run_workers(queue, 5, context.stop, reconcile).await;
}

fn deployments_that_select(all: &Informer<Deployment>, set: &ReplicaSet) -> Vec<ObjectKey> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let selecting = all.list_in(namespace).into_iter().filter(|deployment| {
        let spec = deployment.spec.as_ref();
        spec.is_some_and(|spec| selects(&spec.selector, set.metadata.labels.as_ref()))
    });
    selecting.map(|deployment| ObjectKey::of(&*deployment)).collect()
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(deployment) = self.deployments.get_key(key) else {
            return Ok(Requeue::Done);
        };
        if is_deleting(&deployment.metadata) {
            return Ok(Requeue::Done);
        }
        let sets = self.claim(&deployment, key).await?;
        let view = View::new(&deployment, &sets);
        let actions = plan::plan(&deployment, &view);
        for action in &actions {
            self.carry_out(&deployment, key, action).await?;
        }
        self.write_status(&deployment, key, &view, &actions).await
    }

    /// The ReplicaSets that are the Deployment's; those without a controller that it selects are
    /// adopted.
    async fn claim(
        &self,
        deployment: &Deployment,
        key: &ObjectKey,
    ) -> Result<Vec<Arc<ReplicaSet>>, Error> {
        let Some(spec) = &deployment.spec else {
            return Ok(Vec::new());
        };
        let uid = uid_of(&deployment.metadata);
        let (mut mine, mut strays) = (Vec::new(), Vec::new());
        for set in self.replica_sets.list_in(&key.namespace) {
            match controller_of(&set.metadata) {
                Some(owner) if owner.uid == uid => mine.push(set),
                None if selects(&spec.selector, set.metadata.labels.as_ref())
                    && !is_deleting(&set.metadata) =>
                {
                    strays.push(set);
                }
                _ => {}
            }
        }
        if !strays.is_empty() && stands(&self.api::<Deployment>(key), &deployment.metadata).await? {
            for set in &strays {
                self.adopt(deployment, key, set).await?;
            }
            mine.extend(strays);
        }
        Ok(mine)
    }

    async fn adopt(
        &self,
        deployment: &Deployment,
        key: &ObjectKey,
        set: &ReplicaSet,
    ) -> Result<(), Error> {
        let patch = json!({ "metadata": {
            "uid": set.metadata.uid,
            "ownerReferences": [reference_to(deployment)],
        }});
        self.patch_set(key, name_of(&set.metadata), &patch).await
    }

    async fn carry_out(
        &self,
        deployment: &Deployment,
        key: &ObjectKey,
        action: &Action,
    ) -> Result<(), Error> {
        match action {
            Action::Create(set) => self.create_set(deployment, key, set).await,
            Action::Scale { set, from, to, annotations } => {
                let patch = json!({
                    "metadata": { "annotations": annotations },
                    "spec": { "replicas": to },
                });
                self.patch_set(key, set, &patch).await?;
                if from != to {
                    self.record_scaling(deployment, set, *from, *to).await;
                }
                Ok(())
            }
            Action::Annotate { set, annotations } => {
                self.patch_set(key, set, &json!({ "metadata": { "annotations": annotations } }))
                    .await
            }
            // As upstream, through status: the Deployment's generation counts annotations.
            Action::SetRevision(revision) => {
                let annotations = json!({ plan::REVISION: revision });
                let patch = json!({ "metadata": { "annotations": annotations } });
                let api: Api<Deployment> = self.api(key);
                let params = PatchParams::default();
                api.patch_status(&key.name, &params, &Patch::Merge(&patch)).await.map(drop)
            }
            Action::DeleteSet(name) => {
                match self.api::<ReplicaSet>(key).delete(name, &DeleteParams::background()).await {
                    Err(Error::Api(status)) if status.is_not_found() => Ok(()),
                    outcome => outcome.map(drop),
                }
            }
        }
    }

    async fn create_set(
        &self,
        deployment: &Deployment,
        key: &ObjectKey,
        set: &ReplicaSet,
    ) -> Result<(), Error> {
        let mut set = set.clone();
        set.metadata.owner_references = Some(vec![reference_to(deployment)]);
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        match self.api(key).create(&PostParams::default(), &set).await {
            Ok(_) => {
                if wanted > 0 {
                    self.record_scaling(deployment, name_of(&set.metadata), 0, wanted).await;
                }
                Ok(())
            }
            Err(Error::Api(status)) if status.is_already_exists() => {
                self.resolve_collision(deployment, key, &set).await
            }
            Err(error) => Err(error),
        }
    }

    /// The name is taken: by our own set that the informer has yet to show, or by a hash collision,
    /// after which the next hash differs.
    async fn resolve_collision(
        &self,
        deployment: &Deployment,
        key: &ObjectKey,
        set: &ReplicaSet,
    ) -> Result<(), Error> {
        let api: Api<ReplicaSet> = self.api(key);
        let Some(taken) = api.get_opt(name_of(&set.metadata)).await? else {
            return Ok(());
        };
        let ours = controller_of(&taken.metadata)
            .is_some_and(|owner| owner.uid == uid_of(&deployment.metadata));
        if ours && template::same(&taken, set) {
            return Ok(());
        }
        let count = deployment.status.as_ref().and_then(|status| status.collision_count);
        let patch = json!({ "status": { "collisionCount": count.unwrap_or(0) + 1 } });
        let api: Api<Deployment> = self.api(key);
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
    }

    async fn write_status(
        &self,
        deployment: &Deployment,
        key: &ObjectKey,
        view: &View<'_>,
        actions: &[Action],
    ) -> Result<Requeue, Error> {
        let now = Timestamp::now();
        let status = status::status(deployment, view, actions, now);
        if deployment.status.as_ref() != Some(&status) {
            let patch = json!({ "status": status });
            let api: Api<Deployment> = self.api(key);
            match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await
            {
                Err(Error::Api(status)) if status.is_not_found() => {}
                outcome => drop(outcome?),
            }
        }
        Ok(status::until_deadline(deployment, &status, now).map_or(Requeue::Done, Requeue::After))
    }

    fn api<K>(&self, key: &ObjectKey) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = hansa_api::k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &key.namespace)
    }

    async fn patch_set(
        &self,
        key: &ObjectKey,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<(), Error> {
        let api: Api<ReplicaSet> = self.api(key);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    async fn record_scaling(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let way = if to > from { "up" } else { "down" };
        let event = Event {
            type_: EventType::Normal,
            reason: "ScalingReplicaSet".into(),
            note: Some(format!("Scaled {way} replica set {set} from {from} to {to}")),
            action: "ScalingReplicaSet".into(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &deployment.object_ref(&())).await {
            tracing::debug!(%error, "event not recorded");
        }
    }
}
