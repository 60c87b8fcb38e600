//! Claims and volumes that are to go stay until nobody uses them: takes off the finalizers that
//! admission gave them.

use hansa_api::k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use hansa_client::kube::api::{Patch, PatchParams};
use hansa_client::kube::{Api, Error, Resource};
use hansa_client::{Informer, ObjectKey, Requeue, Workqueue, run_workers};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::Context;
use crate::owned::{is_deleting, name_of};
use crate::pods::is_finished;
use crate::wiring::{enqueue, enqueue_self};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

/// Looks after claims.
pub(crate) async fn run_claims(context: Context) {
    let claims = context.informers.of::<PersistentVolumeClaim>();
    let pods = context.informers.of::<Pod>();
    claims.synced().await;
    pods.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&claims, &queue);
    enqueue(&pods, &queue, |change| {
        let pod = change.object();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        claims_of(pod).into_iter().map(|name| ObjectKey::new(namespace.clone(), name)).collect()
    });
    run_workers(queue, 2, context.stop.clone(), |key: ObjectKey| {
        let free = claims.get_key(&key).filter(|claim| {
            is_held(&claim.metadata, CLAIM) && !is_used(name_of(&claim.metadata), &key, &pods)
        });
        let api = Api::namespaced(context.client.clone(), &key.namespace);
        async move { release(api, free.as_deref(), CLAIM).await }
    })
    .await;
}

/// Looks after volumes.
pub(crate) async fn run_volumes(context: Context) {
    let volumes = context.informers.of::<PersistentVolume>();
    volumes.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&volumes, &queue);
    run_workers(queue, 2, context.stop.clone(), |key: ObjectKey| {
        let free = volumes
            .get_key(&key)
            .filter(|volume| is_held(&volume.metadata, VOLUME) && !is_bound(volume));
        let api = Api::all(context.client.clone());
        async move { release(api, free.as_deref(), VOLUME).await }
    })
    .await;
}

/// Whether nothing but (possibly) use keeps a dying object.
fn is_held(meta: &ObjectMeta, finalizer: &str) -> bool {
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    is_deleting(meta) && finalizers.iter().any(|own| own == finalizer)
}

fn is_bound(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Bound")
}

fn is_used(claim: &str, key: &ObjectKey, pods: &Informer<Pod>) -> bool {
    let here = pods.list_in(&key.namespace);
    here.iter().any(|pod| !is_finished(pod) && claims_of(pod).iter().any(|name| name == claim))
}

/// The claims that a pod mounts, those made for it included.
fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &hansa_api::k8s_openapi::api::core::v1::Volume| {
        let named = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
        let made = || format!("{}-{}", name_of(&pod.metadata), volume.name);
        named.or_else(|| volume.ephemeral.is_some().then(made))
    };
    volumes.filter_map(claim).collect()
}

async fn release<K>(api: Api<K>, free: Option<&K>, finalizer: &str) -> Result<Requeue, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let Some(object) = free else { return Ok(Requeue::Done) };
    let meta = object.meta();
    let left: Vec<_> = meta.finalizers.iter().flatten().filter(|own| *own != finalizer).collect();
    let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version,
        "finalizers": left}});
    let done = api.patch(name_of(meta), &PatchParams::default(), &Patch::Merge(&patch)).await;
    match done {
        Err(Error::Api(status)) if status.is_not_found() => Ok(Requeue::Done),
        outcome => outcome.map(|_| Requeue::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_uses_the_claims_that_it_names_and_those_made_for_it() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [], "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "b", "ephemeral": {}},
                {"name": "c", "emptyDir": {}},
            ]},
        }))
        .unwrap();
        assert_eq!(claims_of(&pod), ["data", "web-b"]);
    }

    #[test]
    fn only_what_is_going_is_looked_at() {
        let mut meta = ObjectMeta { finalizers: Some(vec![CLAIM.into()]), ..Default::default() };
        assert!(!is_held(&meta, CLAIM));
        meta.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        assert!(is_held(&meta, CLAIM) && !is_held(&meta, VOLUME));
    }
}
