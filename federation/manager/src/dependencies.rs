//! Dependencies: what a propagated workload refers to goes where the workload goes.
//!
//! For each binding with `propagateDeps` the objects that its template refers to get a binding of
//! their own, whose `requiredBy` counts who needs it and where.

use std::sync::Arc;

use hansa_client::{ObjectKey, Requeue, Workqueue, run_workers};
use hansa_federation_api::kinds::{BindingSnapshot, ObjectReference, ResourceBindingSpec};
use hansa_federation_api::{interpreter, manifest, names};
use tokio_util::sync::CancellationToken;

use crate::diff::Part;
use crate::error::Result;
use crate::hub::{Binding, Hub};
use crate::wiring::follow;

/// Runs until `stop`.
pub async fn run(hub: Arc<Hub>, workers: usize, stop: CancellationToken) {
    let queue: Workqueue<ObjectKey> = Workqueue::new();
    follow(&hub.bindings, &queue, &stop, |change| vec![change.key()]);
    run_workers(queue, workers, stop, |key| reconcile(hub.clone(), key)).await;
}

async fn reconcile(hub: Arc<Hub>, key: ObjectKey) -> Result<Requeue> {
    let wanted = wanted(&hub, &key).await?;
    release(&hub, &key, &wanted).await?;
    let Some(binding) = hub.binding(&key).filter(|_| !wanted.is_empty()) else {
        return Ok(Requeue::Done);
    };
    let snapshot = snapshot(&binding);
    for reference in wanted {
        require(&hub, reference, &snapshot).await?;
    }
    Ok(Requeue::Done)
}

/// What a binding's template refers to, if it is to follow.
async fn wanted(hub: &Hub, key: &ObjectKey) -> Result<Vec<ObjectReference>> {
    let Some(binding) = hub.binding(key) else { return Ok(Vec::new()) };
    if binding.is_deleting() || !binding.spec.propagate_deps || binding.spec.clusters.is_empty() {
        return Ok(Vec::new());
    }
    let template = hub.template(&binding.spec.resource).await?;
    Ok(template.map(|t| interpreter::dependencies(&t)).unwrap_or_default())
}

fn snapshot(binding: &Binding) -> BindingSnapshot {
    BindingSnapshot {
        namespace: binding.key.namespace.clone(),
        name: binding.key.name.clone(),
        clusters: binding.spec.clusters.clone(),
    }
}

async fn require(hub: &Hub, reference: ObjectReference, by: &BindingSnapshot) -> Result<()> {
    let template = hub.template(&reference).await?;
    let Some(template) = template.filter(|t| !manifest::is_of_each_cluster(t)) else {
        return Ok(());
    };
    let name = names::binding_name(&reference.kind, &reference.name);
    let key = ObjectKey::new(&reference.namespace, name);
    match hub.binding(&key) {
        Some(existing) if existing.is_deleting() => Ok(()),
        Some(existing) => {
            let mut next = existing.clone();
            count_in(&mut next.spec, by);
            hub.write_binding(&existing, &next, Part::Main).await.map(drop)
        }
        None => {
            let uid = template.pointer("/metadata/uid").and_then(|u| u.as_str());
            let reference = ObjectReference { uid: uid.unwrap_or_default().into(), ..reference };
            hub.create_binding(&attached(key, reference, by)).await
        }
    }
}

/// A binding that exists only because others need its template; no policy places it.
fn attached(key: ObjectKey, resource: ObjectReference, by: &BindingSnapshot) -> Binding {
    let mut metadata = hansa_client::kube::api::ObjectMeta {
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        finalizers: Some(vec![names::BINDING_FINALIZER.into()]),
        ..Default::default()
    };
    let label = ("resourcebinding.karmada.io/depended-by".to_owned(), "true".to_owned());
    metadata.labels = Some([label].into());
    let spec =
        ResourceBindingSpec { resource, required_by: vec![by.clone()], ..Default::default() };
    Binding { key, metadata, spec, status: Default::default() }
}

fn count_in(spec: &mut ResourceBindingSpec, by: &BindingSnapshot) {
    let mine = |r: &&mut BindingSnapshot| r.namespace == by.namespace && r.name == by.name;
    match spec.required_by.iter_mut().find(mine) {
        Some(place) => *place = by.clone(),
        None => spec.required_by.push(by.clone()),
    }
}

/// Takes a binding out of the counts of what it needs no more; what nobody needs and no policy
/// placed
/// goes.
async fn release(hub: &Hub, key: &ObjectKey, wanted: &[ObjectReference]) -> Result<()> {
    for other in hub.bindings.list_in(&key.namespace) {
        let other = Binding::from(&*other);
        let counts = |r: &BindingSnapshot| r.namespace == key.namespace && r.name == key.name;
        let resource = &other.spec.resource;
        let still = wanted.iter().any(|w| w.kind == resource.kind && w.name == resource.name);
        if still || !other.spec.required_by.iter().any(counts) {
            continue;
        }
        let mut next = other.clone();
        next.spec.required_by.retain(|r| !counts(r));
        if next.spec.required_by.is_empty() && next.spec.placement.is_none() {
            hub.delete_binding(&other).await?;
        } else {
            hub.write_binding(&other, &next, Part::Main).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_counts_once() {
        let by = |name: &str| BindingSnapshot {
            namespace: "shop".into(),
            name: name.into(),
            clusters: Vec::new(),
        };
        let mut spec = ResourceBindingSpec::default();
        count_in(&mut spec, &by("a"));
        count_in(&mut spec, &by("b"));
        count_in(&mut spec, &by("a"));
        assert_eq!(spec.required_by.len(), 2);
    }
}
