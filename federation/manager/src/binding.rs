//! Binding: a decision → one Work per member.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hansa_client::kube::api::{ObjectMeta, PostParams};
use hansa_client::{Change, ObjectKey, Requeue, Workqueue, run_workers};
use hansa_federation_api::kinds::{Cluster, OverrideSpec, ResourceBindingSpec, Work};
use hansa_federation_api::overriding::Policy;
use hansa_federation_api::{health, interpreter, names};
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::diff::{Part, write};
use crate::error::{Error, Result, code, found};
use crate::hub::{Binding, Hub, exactly, name_of};
use crate::scheduler;
use crate::wiring::follow;
use crate::works::{self, Destinations, destinations, manifest_for, origin};

/// Condition of a binding: whether overrides could be applied; absent if they always could.
const OVERRIDDEN: &str = "Overridden";
/// The kind of what scales workloads in members.
const AUTOSCALER: &str = "HorizontalPodAutoscaler";

/// Runs until `stop`.
pub async fn run(hub: Arc<Hub>, workers: usize, stop: CancellationToken) {
    let queue = Workqueue::new();
    follow_inputs(&hub, &queue, &stop);
    run_workers(queue, workers, stop, |key| reconcile(hub.clone(), key)).await;
}

fn follow_inputs(hub: &Arc<Hub>, queue: &Workqueue<ObjectKey>, stop: &CancellationToken) {
    let all = hub.clone();
    follow(&hub.bindings, queue, stop, move |change| {
        if change.object().spec.resource.kind != AUTOSCALER {
            return vec![change.key()];
        }
        let of_namespace = all.bindings.list_in(&change.key().namespace);
        of_namespace.iter().map(|b| ObjectKey::of(&**b)).collect()
    });
    follow(&hub.cluster_bindings, queue, stop, |change| vec![change.key()]);
    follow(&hub.works, queue, stop, |change| binding_of(change.object()).into_iter().collect());
    let all = hub.clone();
    follow(&hub.overrides, queue, stop, move |change| {
        let namespace = change.key().namespace;
        all.binding_keys().into_iter().filter(|k| k.namespace == namespace).collect()
    });
    let all = hub.clone();
    follow(&hub.cluster_overrides, queue, stop, move |_| all.binding_keys());
    let all = hub.clone();
    follow(&hub.clusters, queue, stop, move |change| match change {
        Change::Applied { old: Some(old), new } if same_identity(old, new) => Vec::new(),
        _ => all.binding_keys(),
    });
}

/// Whether a member changed in nothing that overrides look at.
fn same_identity(old: &Cluster, new: &Cluster) -> bool {
    old.metadata.labels == new.metadata.labels
        && old.spec == new.spec
        && old.is_leaving() == new.is_leaving()
}

/// The binding that a Work comes from.
pub fn binding_of(work: &Work) -> Option<ObjectKey> {
    let annotations = work.metadata.annotations.as_ref()?;
    let name = annotations.get(names::BINDING_NAME)?;
    Some(ObjectKey::new(annotations.get(names::BINDING_NAMESPACE)?, name))
}

async fn reconcile(hub: Arc<Hub>, key: ObjectKey) -> Result<Requeue> {
    let Some(binding) = hub.binding(&key) else { return Ok(Requeue::Done) };
    if binding.is_deleting() {
        return withdraw(&hub, &binding).await;
    }
    let Some(template) = hub.template(&binding.spec.resource).await? else {
        return Ok(Requeue::Done);
    };
    let (destinations, wait) = paced(&binding);
    let scaled = is_scaled(&hub, &binding).await?;
    let (manifests, refusals) = manifests(&hub, &binding, &template, &destinations, scaled);
    let outcome = dispatch(&hub, &binding, manifests).await;
    retract(&hub, &binding, &destinations).await?;
    tell(&hub, &binding, &refusals).await?;
    match (outcome?, wait) {
        (Requeue::Done, Some(wait)) => Ok(Requeue::After(wait)),
        (outcome, _) => Ok(outcome),
    }
}

/// Where a binding's object goes just now, and when to look again if a move is held back.
fn paced(binding: &Binding) -> (Destinations, Option<Duration>) {
    let mut destinations = destinations(&binding.spec);
    let decision = scheduler::stored(binding).unwrap_or_default();
    let wait = works::pace(&mut destinations, binding, &decision, Timestamp::now());
    (destinations, wait.and_then(|w| Duration::try_from(w).ok()))
}

/// Manifests by member, and what could not be made into one.
type Manifests = (Vec<(String, Value)>, Vec<String>);

/// What each member is to get; one member's trouble keeps no other from its own.
fn manifests(
    hub: &Hub,
    binding: &Binding,
    template: &Value,
    destinations: &Destinations,
    scaled: bool,
) -> Manifests {
    let overrides = overrides_for(hub, &binding.key.namespace);
    let policies: Vec<Policy<'_>> = overrides
        .iter()
        .map(|(namespace, name, spec)| Policy { namespace: namespace.as_deref(), name, spec })
        .collect();
    let (mut made, mut refused) = (Vec::new(), Vec::new());
    for (place, target) in destinations.targets.iter().enumerate() {
        let cluster = hub.clusters.get("", &target.name);
        let Some(cluster) = cluster.filter(|c| !c.is_leaving()) else { continue };
        match manifest_for(binding, template, &cluster, place, &destinations.targets, &policies) {
            Ok(manifest) => made.push((target.name.clone(), works::scaled(manifest, scaled))),
            Err(error) => refused.push(format!("{}: failed to {error}", target.name)),
        }
    }
    (made, refused)
}

/// Writes the Works; the first trouble is returned after all were tried.
async fn dispatch(hub: &Hub, binding: &Binding, to: Vec<(String, Value)>) -> Result<Requeue> {
    let mut outcome = Ok(Requeue::Done);
    for (cluster, manifest) in to {
        match put(hub, binding, &cluster, manifest).await {
            Ok(Requeue::Done) => {}
            Ok(later) => outcome = outcome.and(Ok(later)),
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

/// Says in the binding's status which overrides failed; nothing if none did, now and before.
async fn tell(hub: &Hub, binding: &Binding, refusals: &[String]) -> Result<()> {
    let mut next = binding.clone();
    let place = next.status.conditions.iter().position(|c| c.type_ == OVERRIDDEN);
    if refusals.is_empty() && place.is_none() {
        return Ok(());
    }
    let before = place.map(|at| next.status.conditions[at].clone());
    let (status, reason, message) = match refusals {
        [] => ("True", "ApplyOverridePolicySucceed", "All overrides are applied".to_owned()),
        some => ("False", "ApplyOverridePolicyFailed", some.join("; ")),
    };
    let now = Timestamp::now();
    let condition = health::condition(before.as_ref(), OVERRIDDEN, status, reason, &message, now);
    // Where it was: others write the same list, and would see a change in another order.
    match place {
        Some(at) => next.status.conditions[at] = condition,
        None => next.status.conditions.push(condition),
    }
    hub.write_binding(binding, &next, Part::Status).await.map(drop)
}

/// Whether a HorizontalPodAutoscaler of the hub, which goes to members too, scales the object
/// there.
async fn is_scaled(hub: &Hub, binding: &Binding) -> Result<bool> {
    for other in hub.bindings.list_in(&binding.key.namespace) {
        if other.spec.resource.kind == AUTOSCALER
            && let Some(autoscaler) = hub.template(&other.spec.resource).await?
            && interpreter::scales(&autoscaler, &binding.spec.resource)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

type NamedOverride = (Option<String>, String, OverrideSpec);

fn overrides_for(hub: &Hub, namespace: &str) -> Vec<NamedOverride> {
    let mut all = Vec::new();
    for policy in hub.cluster_overrides.list() {
        all.push((None, name_of(&*policy).to_owned(), policy.spec.clone()));
    }
    for policy in hub.overrides.list_in(namespace) {
        all.push((Some(namespace.to_owned()), name_of(&*policy).to_owned(), policy.spec.clone()));
    }
    all
}

async fn put(hub: &Hub, binding: &Binding, cluster: &str, manifest: Value) -> Result<Requeue> {
    let (labels, annotations) = origin(binding);
    let mut wanted = works::work(cluster, manifest, labels, annotations);
    suspend(&mut wanted, &binding.spec, cluster);
    put_work(hub, wanted).await
}

/// Creates a Work, or writes what changed of it. One that is on its way out is waited for.
pub async fn put_work(hub: &Hub, wanted: Work) -> Result<Requeue> {
    let api = hub.works_in(wanted.namespace());
    let Some(existing) = hub.works.get(wanted.namespace(), wanted.name()) else {
        return match api.create(&PostParams::default(), &wanted).await {
            Ok(_) => Ok(Requeue::Done),
            Err(error) if code(&error) == Some(409) => {
                Ok(Requeue::After(Duration::from_millis(200)))
            }
            Err(error) => Err(Error::Hub(error)),
        };
    };
    let of_another = |w: &Work| {
        let id = |w: &Work| w.metadata.labels.as_ref()?.get(names::BINDING_ID_LABEL).cloned();
        id(w) != id(&wanted)
    };
    if existing.metadata.deletion_timestamp.is_some() {
        return Ok(Requeue::After(Duration::from_secs(1)));
    }
    if of_another(&existing) {
        tracing::debug!(work = wanted.name(), "taken over from an earlier binding");
    }
    write(&api, &*existing, &works::updated(&existing, &wanted), Part::Main)
        .await
        .map_err(Error::Hub)?;
    Ok(Requeue::Done)
}

fn suspend(work: &mut Work, spec: &ResourceBindingSpec, cluster: &str) {
    let held = spec.suspension.as_ref().is_some_and(|s| s.holds_dispatching_to(cluster));
    work.spec.suspend_dispatching = held.then_some(true);
    work.spec.preserve_resources_on_deletion = spec.preserve_resources_on_deletion;
}

/// Deletes the Works of members that the object is neither in nor leaving, if the API server's own
/// view of the binding says so too.
async fn retract(hub: &Hub, binding: &Binding, destinations: &Destinations) -> Result<()> {
    let surplus = surplus_works(works_of(hub, binding), destinations);
    if surplus.is_empty() {
        return Ok(());
    }
    let Some(live) = hub.live_binding(&binding.key).await? else { return Ok(()) };
    if live.uid() != binding.uid() {
        return Ok(());
    }
    for work in surplus_works(surplus, &paced(&live).0) {
        delete_work(hub, &work).await?;
    }
    Ok(())
}

fn surplus_works(works: Vec<Arc<Work>>, wanted: &Destinations) -> Vec<Arc<Work>> {
    let names: BTreeSet<&str> = wanted
        .targets
        .iter()
        .map(|t| t.name.as_str())
        .chain(wanted.keeping.iter().map(String::as_str))
        .collect();
    let is_wanted = |work: &Work| {
        let cluster = names::cluster_of_execution_namespace(work.namespace());
        cluster.is_some_and(|c| names.contains(c))
    };
    works.into_iter().filter(|w| !is_wanted(w)).collect()
}

/// The Works that come from a binding.
pub fn works_of(hub: &Hub, binding: &Binding) -> Vec<Arc<Work>> {
    let resource = &binding.spec.resource;
    let name = names::work_name(
        &resource.api_version,
        &resource.kind,
        &resource.namespace,
        &resource.name,
    );
    let clusters = hub.clusters.list();
    let namespaces = clusters.iter().map(|c| names::execution_namespace(c.name()));
    let mine = |w: &Arc<Work>| {
        let labels = w.metadata.labels.as_ref();
        labels.and_then(|l| l.get(names::BINDING_ID_LABEL)).is_some_and(|id| id == binding.uid())
    };
    namespaces.filter_map(|ns| hub.works.get(&ns, &name)).filter(mine).collect()
}

/// Deletes a Work, once.
pub async fn delete_work(hub: &Hub, work: &Work) -> Result<()> {
    if work.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let api = hub.works_in(work.namespace());
    found(api.delete(work.name(), &exactly(&work.metadata)).await).map(drop).map_err(Error::Hub)
}

/// Ends a deleted binding: its Works first, its finalizer last.
async fn withdraw(hub: &Hub, binding: &Binding) -> Result<Requeue> {
    let Some(live) = hub.live_binding(&binding.key).await? else { return Ok(Requeue::Done) };
    if live.uid() != binding.uid() || !live.is_deleting() {
        return Ok(Requeue::Done);
    }
    let works = works_of(hub, binding);
    for work in &works {
        delete_work(hub, work).await?;
    }
    if !works.is_empty() {
        return Ok(Requeue::After(Duration::from_secs(5)));
    }
    let mut next = live.clone();
    drop_finalizer(&mut next.metadata, names::BINDING_FINALIZER);
    match hub.write_binding(&live, &next, Part::Main).await {
        Err(Error::Hub(error)) if code(&error) == Some(404) => Ok(Requeue::Done),
        other => other.map(|_| Requeue::Done),
    }
}

/// Takes a finalizer away.
pub fn drop_finalizer(metadata: &mut ObjectMeta, finalizer: &str) {
    if let Some(finalizers) = &mut metadata.finalizers {
        finalizers.retain(|f| f != finalizer);
    }
}
