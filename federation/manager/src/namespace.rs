//! Namespace: every namespace of the hub exists in every member, reserved ones and those that say
//! no apart, and those that a policy places itself.

use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::Namespace;
use hansa_client::kube::api::Api;
use hansa_client::{Change, Informer, ObjectKey, Requeue, Workqueue, run_workers};
use hansa_federation_api::kinds::{Cluster, ConflictResolution, Work};
use hansa_federation_api::overriding::{self, Policy};
use hansa_federation_api::{manifest, names};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::binding::{binding_of, delete_work, put_work};
use crate::error::{Error, Result};
use crate::hub::{Hub, name_of};
use crate::wiring::follow;
use crate::works;

/// Annotation on Works: the namespace that they carry.
const CARRIES: &str = "federation.hansa.dev/namespace";

/// Runs until `stop`.
pub async fn run(hub: Arc<Hub>, workers: usize, stop: CancellationToken) {
    let namespaces: Informer<Namespace> = hub.informers.of();
    namespaces.synced().await;
    let queue: Workqueue<ObjectKey> = Workqueue::new();
    follow(&namespaces, &queue, &stop, |change| vec![change.key()]);
    let all = namespaces.clone();
    let every = move || all.list().iter().map(|n| ObjectKey::of(&**n)).collect::<Vec<_>>();
    let of_cluster = every.clone();
    follow(&hub.clusters, &queue, &stop, move |change| match change {
        Change::Applied { old: Some(old), new } if old.metadata.labels == new.metadata.labels => {
            Vec::new()
        }
        _ => of_cluster(),
    });
    follow(&hub.cluster_overrides, &queue, &stop, move |_| every());
    follow(&hub.works, &queue, &stop, |change| {
        let annotations = change.object().metadata.annotations.as_ref();
        let carried = annotations.and_then(|a| a.get(CARRIES));
        carried.map(|name| ObjectKey::new("", name)).into_iter().collect()
    });
    run_workers(queue, workers, stop, |key| reconcile(hub.clone(), namespaces.clone(), key)).await;
}

async fn reconcile(
    hub: Arc<Hub>,
    namespaces: Informer<Namespace>,
    key: ObjectKey,
) -> Result<Requeue> {
    let namespace = namespaces.get_key(&key);
    match namespace.filter(|n| n.metadata.deletion_timestamp.is_none()) {
        Some(namespace) if is_propagated(&namespace) => put(&hub, &namespace).await,
        Some(_) => Ok(Requeue::Done),
        None => retract(&hub, &key.name).await,
    }
}

fn is_propagated(namespace: &Namespace) -> bool {
    let name = name_of(namespace);
    let labels = namespace.metadata.labels.as_ref();
    let skips =
        labels.and_then(|l| l.get(names::SKIP_AUTO_PROPAGATION)).is_some_and(|v| v == "true");
    name != "default" && !names::is_reserved_namespace(name) && !skips
}

async fn put(hub: &Hub, namespace: &Namespace) -> Result<Requeue> {
    let template = template(namespace)?;
    let overrides: Vec<_> = hub
        .cluster_overrides
        .list()
        .iter()
        .map(|p| (name_of(&**p).to_owned(), p.spec.clone()))
        .collect();
    let policies: Vec<Policy<'_>> =
        overrides.iter().map(|(name, spec)| Policy { namespace: None, name, spec }).collect();
    let mut outcome = Ok(Requeue::Done);
    for cluster in hub.staying_clusters() {
        if is_bound(hub, &cluster, name_of(namespace)) {
            continue;
        }
        let one = match overriding::apply(&template, &cluster, &policies) {
            Ok(manifest) => put_work(hub, carrier(&cluster, namespace, manifest)).await,
            Err(error) => Err(Error::Unusable(format!("failed to {error}"))),
        };
        match one {
            Ok(Requeue::Done) => {}
            Ok(later) => outcome = outcome.and(Ok(later)),
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

/// Whether a policy has taken the namespace into its own hands in this member.
fn is_bound(hub: &Hub, cluster: &Cluster, name: &str) -> bool {
    let work = hub.works.get(
        &names::execution_namespace(cluster.name()),
        &names::work_name("v1", "Namespace", "", name),
    );
    work.is_some_and(|w| binding_of(&w).is_some())
}

fn carrier(cluster: &Cluster, namespace: &Namespace, manifest: Value) -> Work {
    let annotations = [(CARRIES.to_owned(), name_of(namespace).to_owned())].into();
    works::work(cluster.name(), manifest, Default::default(), annotations)
}

/// A namespace as its members are to have it: an existing one is adopted, for sameness of
/// namespaces is what a federation is about.
fn template(namespace: &Namespace) -> Result<Value> {
    let mut template = serde_json::to_value(namespace)?;
    template["apiVersion"] = "v1".into();
    template["kind"] = "Namespace".into();
    let mut manifest = manifest::prune(&template);
    manifest::label_managed(&mut manifest);
    let resolution = format!("{:?}", ConflictResolution::Overwrite).to_lowercase();
    manifest["metadata"]["annotations"][names::CONFLICT_RESOLUTION] = json!(resolution);
    Ok(manifest)
}

/// Takes a namespace out of the members, if the API server itself says that it is gone.
async fn retract(hub: &Hub, name: &str) -> Result<Requeue> {
    if names::is_reserved_namespace(name) || name == "default" {
        return Ok(Requeue::Done);
    }
    let api: Api<Namespace> = Api::all(hub.client.clone());
    let live = api.get_opt(name).await.map_err(Error::Hub)?;
    if live.is_some_and(|n| n.metadata.deletion_timestamp.is_none()) {
        return Ok(Requeue::Done);
    }
    let work_name = names::work_name("v1", "Namespace", "", name);
    for cluster in hub.clusters.list() {
        let namespace = names::execution_namespace(cluster.name());
        if let Some(work) = hub.works.get(&namespace, &work_name) {
            delete_work(hub, &work).await?;
        }
    }
    Ok(Requeue::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, skip: bool) -> Namespace {
        let labels = if skip { json!({names::SKIP_AUTO_PROPAGATION: "true"}) } else { json!({}) };
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}))
        .unwrap()
    }

    #[test]
    fn users_namespaces_go_everywhere_and_the_systems_nowhere() {
        assert!(is_propagated(&namespace("shop", false)));
        assert!(!is_propagated(&namespace("shop", true)));
        for name in ["default", "kube-system", "karmada-es-eu", "karmada-system"] {
            assert!(!is_propagated(&namespace(name, false)), "{name}");
        }
    }

    #[test]
    fn a_namespace_goes_without_its_finalizers() {
        let manifest = template(&namespace("shop", false)).unwrap();
        assert!(manifest.get("spec").is_none() && manifest.get("status").is_none());
        assert_eq!(manifest["metadata"]["labels"][names::MANAGED_LABEL], "true");
    }
}
