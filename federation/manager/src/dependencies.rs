//! Dependencies: what a propagated workload refers to goes where the workload goes.
//!
//! For each binding with `propagateDeps` the objects that its template refers to get a binding of
//! their own, whose `requiredBy` counts who needs it and where.

use std::collections::HashSet;
use std::sync::Arc;

use hansa_client::{ObjectKey, Requeue, Workqueue, run_workers};
use hansa_federation_api::kinds::{
    BindingSnapshot, ObjectReference, PurgeMode, ResourceBindingSpec, TargetCluster,
};
use hansa_federation_api::{interpreter, manifest, names};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::detector::{TEMPLATE_DIGEST, owned_by};
use crate::diff::Part;
use crate::error::{Error, Result, found};
use crate::hub::{Binding, Hub};
use crate::wiring::follow;

struct Dependencies {
    hub: Arc<Hub>,
    queue: Workqueue<ObjectKey>,
    /// Kinds that something refers to, and whose changes are followed.
    watched: Mutex<HashSet<String>>,
    stop: CancellationToken,
}

/// Runs until `stop`.
pub async fn run(hub: Arc<Hub>, workers: usize, stop: CancellationToken) {
    let queue: Workqueue<ObjectKey> = Workqueue::new();
    follow(&hub.bindings, &queue, &stop, |change| vec![change.key()]);
    let (watched, token) = (Mutex::default(), stop.clone());
    let dependencies = Dependencies { hub, queue: queue.clone(), watched, stop: token };
    run_workers(queue, workers, stop, |key| dependencies.reconcile(key)).await;
}

impl Dependencies {
    async fn reconcile(&self, key: ObjectKey) -> Result<Requeue> {
        let hub = &self.hub;
        let wanted = wanted(hub, &key).await?;
        release(hub, &key, &wanted).await?;
        let Some(binding) = hub.binding(&key).filter(|_| !wanted.is_empty()) else {
            return Ok(Requeue::Done);
        };
        let snapshot = snapshot(&binding);
        for reference in wanted {
            self.watch(&reference).await?;
            require(hub, reference, &snapshot).await?;
        }
        Ok(Requeue::Done)
    }

    /// Looks at the users of a kind again whenever an object of it comes, changes or goes.
    async fn watch(&self, reference: &ObjectReference) -> Result<()> {
        let served = self.hub.resolve(&reference.api_version, &reference.kind).await?;
        if !self.watched.lock().insert(reference.kind.clone()) {
            return Ok(());
        }
        let (informer, hub) = (self.hub.informers.dynamic(&served.resource), self.hub.clone());
        follow(&informer, &self.queue, &self.stop, move |change| {
            let of_namespace = hub.bindings.list_in(&change.key().namespace);
            let users = of_namespace.iter().filter(|b| b.spec.propagate_deps);
            users.map(|b| ObjectKey::of(&**b)).collect()
        });
        Ok(())
    }
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

/// A binding and where its object is, which is also where it is being left gently.
fn snapshot(binding: &Binding) -> BindingSnapshot {
    let tasks = binding.spec.graceful_eviction_tasks.iter();
    let staying = tasks.filter(|t| t.purge_mode != PurgeMode::Directly);
    let left = staying.map(|t| TargetCluster { name: t.from_cluster.clone(), replicas: 0 });
    BindingSnapshot {
        namespace: binding.key.namespace.clone(),
        name: binding.key.name.clone(),
        clusters: binding.spec.clusters.iter().cloned().chain(left).collect(),
    }
}

async fn require(hub: &Hub, reference: ObjectReference, by: &BindingSnapshot) -> Result<()> {
    let name = names::binding_name(&reference.kind, &reference.name);
    let key = ObjectKey::new(&reference.namespace, name);
    let existing = hub.binding(&key);
    let template = hub.template(&reference).await?;
    let lives = |t: &Value| t.pointer("/metadata/deletionTimestamp").is_none();
    let Some(template) = template.filter(lives) else {
        return unbind(hub, &reference, existing).await;
    };
    match existing {
        _ if manifest::is_of_each_cluster(&template) => Ok(()),
        Some(existing) if existing.is_deleting() => Ok(()),
        Some(existing) => {
            let mut next = existing.clone();
            count_in(&mut next.spec, by);
            if is_attached(&next) {
                describe(&mut next, &template);
            }
            hub.write_binding(&existing, &next, Part::Main).await.map(drop)
        }
        None => {
            let mut binding = attached(key, reference, by);
            describe(&mut binding, &template);
            hub.create_binding(&binding).await
        }
    }
}

/// Deletes the binding of what is gone, if the API server itself says that it is gone; the
/// detector does so for what a policy placed.
async fn unbind(hub: &Hub, gone: &ObjectReference, existing: Option<Binding>) -> Result<()> {
    let Some(existing) = existing.filter(|b| is_attached(b) && !b.is_deleting()) else {
        return Ok(());
    };
    let served = hub.resolve(&gone.api_version, &gone.kind).await?;
    let api = hub.dynamic(&served, &gone.namespace);
    let live = found(api.get(&gone.name).await).map_err(Error::Hub)?;
    if live.is_none_or(|t| t.metadata.deletion_timestamp.is_some()) {
        hub.delete_binding(&existing).await?;
    }
    Ok(())
}

/// Whether a binding exists only because others need its template.
fn is_attached(binding: &Binding) -> bool {
    binding.spec.placement.is_none()
}

/// Notes what template an attached binding is made from, so that each change of it goes on.
fn describe(binding: &mut Binding, template: &Value) {
    let uid = template.pointer("/metadata/uid").and_then(Value::as_str);
    binding.spec.resource.uid = uid.unwrap_or_default().into();
    let digest = manifest::digest(&manifest::prune(template));
    let annotations = binding.metadata.annotations.get_or_insert_default();
    annotations.insert(TEMPLATE_DIGEST.into(), digest);
    binding.metadata.owner_references = Some(vec![owned_by(template)]);
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
/// placed goes.
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
        if next.spec.required_by.is_empty() && is_attached(&next) {
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

    #[test]
    fn an_attached_binding_changes_with_its_template() {
        let template = |value: &str| {
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "conf", "namespace": "shop", "uid": "u"},
                "data": {"k": value}})
        };
        let (resource, by) = (ObjectReference::default(), BindingSnapshot::default());
        let mut first = attached(ObjectKey::new("shop", "conf-configmap"), resource, &by);
        describe(&mut first, &template("a"));
        assert_eq!(first.spec.resource.uid, "u");
        let mut same = first.clone();
        describe(&mut same, &template("a"));
        assert_eq!(same, first);
        describe(&mut same, &template("b"));
        assert_ne!(same.annotation(TEMPLATE_DIGEST), first.annotation(TEMPLATE_DIGEST));
    }

    #[test]
    fn what_is_left_gently_keeps_what_it_needs() {
        let spec = serde_json::json!({
            "resource": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "clusters": [{"name": "us", "replicas": 6}],
            "gracefulEvictionTasks": [
                {"fromCluster": "eu", "reason": "x", "producer": "y"},
                {"fromCluster": "ap", "reason": "x", "producer": "y", "purgeMode": "Directly"}]});
        let binding = Binding {
            key: ObjectKey::new("shop", "web-deployment"),
            metadata: Default::default(),
            spec: serde_json::from_value(spec).expect("it is a binding's"),
            status: Default::default(),
        };
        let names: Vec<String> = snapshot(&binding).clusters.into_iter().map(|c| c.name).collect();
        assert_eq!(names, ["us", "eu"]);
    }
}
