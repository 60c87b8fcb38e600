//! Work status: a member's objects → their Works → bindings → templates on the hub.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use hansa_client::kube::api::{DynamicObject, Patch, PatchParams};
use hansa_client::{Informer, ObjectKey, Requeue, Workqueue, run_workers};
use hansa_federation_api::kinds::{
    AggregatedStatusItem, ManifestStatus, ResourceHealth, ResourceIdentifier, Work,
};
use hansa_federation_api::{aggregation, health, interpreter, names};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::binding::{binding_of, works_of};
use crate::diff::{Part, merge_diff, write};
use crate::error::{Error, Result, code};
use crate::hub::{Binding, Hub, whole};
use crate::kinds::Served;
use crate::members::Member;
use crate::wiring::follow;

/// How soon a report is tried again that had to wait for a first list.
const FIRST_LIST: Duration = Duration::from_millis(200);

/// The federation's objects of a kind in a member; each change of one is reported, and repaired if
/// it was nobody's of ours.
pub fn observe(member: &Arc<Member>, served: &Served) -> Informer<DynamicObject> {
    let (informer, is_new) = member.managed(served);
    if is_new {
        let keys = |change: &hansa_client::Change<DynamicObject>| {
            work_of(change.object()).into_iter().collect()
        };
        follow(&informer, &member.reports, &member.stop, keys);
        follow(&informer, &member.execution, &member.stop, keys);
    }
    informer
}

/// The Work that put an object into a member.
fn work_of(object: &DynamicObject) -> Option<ObjectKey> {
    let annotations = object.metadata.annotations.as_ref()?;
    let name = annotations.get(names::WORK_NAME)?;
    Some(ObjectKey::new(annotations.get(names::WORK_NAMESPACE)?, name))
}

/// Reports on a member's Works until its connection ends.
pub async fn run_reports(hub: Arc<Hub>, member: Arc<Member>, workers: usize) {
    let (queue, stop) = (member.reports.clone(), member.stop.clone());
    run_workers(queue, workers, stop, |key| report(hub.clone(), member.clone(), key)).await;
}

async fn report(hub: Arc<Hub>, member: Arc<Member>, key: ObjectKey) -> Result<Requeue> {
    let Some(work) = hub.works.get_key(&key) else { return Ok(Requeue::Done) };
    if work.metadata.deletion_timestamp.is_some() {
        return Ok(Requeue::Done);
    }
    let mut next = Work::clone(&work);
    let mut statuses = Vec::new();
    for (ordinal, manifest) in work.spec.workload.manifests.iter().enumerate() {
        match observed_status(&member, &work, ordinal, manifest).await? {
            Seen::Status(status) => statuses.push(*status),
            Seen::Absent => {}
            Seen::NotYet => return Ok(Requeue::After(FIRST_LIST)),
        }
    }
    next.status.manifest_statuses = statuses;
    let api = hub.works_in(work.namespace());
    write(&api, &*work, &next, Part::Status).await.map_err(Error::Hub)?;
    Ok(Requeue::Done)
}

/// What is known of a manifest's object in the member.
enum Seen {
    /// Its report.
    Status(Box<ManifestStatus>),
    /// It is not there.
    Absent,
    /// The first list is not in, so nothing can be said and nothing is taken back.
    NotYet,
}

/// What the member says about one manifest.
async fn observed_status(
    member: &Arc<Member>,
    work: &Work,
    ordinal: usize,
    manifest: &Value,
) -> Result<Seen> {
    let served =
        member.call_discovery(text(manifest, "/apiVersion"), text(manifest, "/kind")).await?;
    let informer = observe(member, &served);
    let (namespace, name) =
        (text(manifest, "/metadata/namespace"), text(manifest, "/metadata/name"));
    if !informer.is_synced() {
        return Ok(Seen::NotYet);
    }
    let Some(object) = informer.get(namespace, name) else { return Ok(Seen::Absent) };
    let object = whole(&object, &served)?;
    let identifier = identifier(ordinal, &served, &object);
    let before = work.status.manifest_statuses.iter().find(|s| s.identifier == identifier);
    let status = manifest_status(identifier, before, &object, Timestamp::now());
    Ok(Seen::Status(Box::new(status)))
}

fn identifier(ordinal: usize, served: &Served, object: &Value) -> ResourceIdentifier {
    ResourceIdentifier {
        ordinal: i32::try_from(ordinal).unwrap_or(i32::MAX),
        group: served.resource.group.clone(),
        version: served.resource.version.clone(),
        kind: served.resource.kind.clone(),
        resource: served.resource.plural.clone(),
        namespace: text(object, "/metadata/namespace").into(),
        name: text(object, "/metadata/name").into(),
    }
}

/// The report on an object; its moment changes only with what it says.
fn manifest_status(
    identifier: ResourceIdentifier,
    before: Option<&ManifestStatus>,
    object: &Value,
    now: Timestamp,
) -> ManifestStatus {
    let mut status = interpreter::reflect(object);
    aggregation::stamp(&mut status, object);
    let health = interpreter::health(object);
    let same = before.filter(|b| b.status == status && b.health == health);
    let observed_at =
        same.and_then(|b| b.observed_at.clone()).or_else(|| Some(Time(health::whole_seconds(now))));
    ManifestStatus { identifier, status, health, observed_at }
}

/// Puts bindings' and templates' statuses together until `stop`.
pub async fn run_aggregation(hub: Arc<Hub>, workers: usize, stop: CancellationToken) {
    let queue = Workqueue::new();
    follow(&hub.works, &queue, &stop, |change| binding_of(change.object()).into_iter().collect());
    follow(&hub.bindings, &queue, &stop, |change| vec![change.key()]);
    follow(&hub.cluster_bindings, &queue, &stop, |change| vec![change.key()]);
    run_workers(queue, workers, stop, |key| aggregate(hub.clone(), key)).await;
}

async fn aggregate(hub: Arc<Hub>, key: ObjectKey) -> Result<Requeue> {
    let Some(binding) = hub.binding(&key).filter(|b| !b.is_deleting()) else {
        return Ok(Requeue::Done);
    };
    let works = works_of(&hub, &binding);
    let works: Vec<&Work> = works.iter().map(|w| &**w).collect();
    let next = aggregated(&binding, &works, Timestamp::now());
    hub.write_binding(&binding, &next, Part::Status).await?;
    update_template(&hub, &next).await?;
    Ok(Requeue::Done)
}

/// The binding with what its Works report.
fn aggregated(binding: &Binding, works: &[&Work], now: Timestamp) -> Binding {
    let mut next = binding.clone();
    let items: Vec<AggregatedStatusItem> = binding
        .spec
        .clusters
        .iter()
        .filter_map(|target| {
            let namespace = names::execution_namespace(&target.name);
            let work = works.iter().find(|w| w.namespace() == namespace)?;
            Some(item(&target.name, work))
        })
        .collect();
    let targets = binding.spec.clusters.len();
    let applied = targets > 0 && items.iter().filter(|i| i.applied).count() == targets;
    next.status.aggregated_status = items;
    let (status, reason, message) = if applied {
        ("True", "FullyAppliedSuccess", "All works have been successfully applied")
    } else {
        ("False", "FullyAppliedFailed", "Failed to apply all works, see status.aggregatedStatus")
    };
    let conditions = &mut next.status.conditions;
    let place = conditions.iter().position(|c| c.type_ == "FullyApplied");
    let before = place.map(|at| &conditions[at]);
    let condition = health::condition(before, "FullyApplied", status, reason, message, now);
    // Where it was: others write the same list, and would see a change in another order.
    match place {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    next
}

fn item(cluster: &str, work: &Work) -> AggregatedStatusItem {
    let report = work.status.manifest_statuses.first();
    let applied = work.condition("Applied");
    let failed = applied.filter(|c| c.status != "True");
    AggregatedStatusItem {
        cluster_name: cluster.into(),
        status: report.map(|r| r.status.clone()).unwrap_or_default(),
        applied: applied.is_some_and(|c| c.status == "True"),
        applied_message: failed.map(|c| c.message.clone()).unwrap_or_default(),
        health: report.map_or(ResourceHealth::Unknown, |r| r.health),
        observed_at: report.and_then(|r| r.observed_at.clone()),
    }
}

/// Writes the template's status, if its kind has a rule and something changed.
async fn update_template(hub: &Hub, binding: &Binding) -> Result<()> {
    let reference = &binding.spec.resource;
    let Some(template) = hub.template(reference).await? else { return Ok(()) };
    let items = &binding.status.aggregated_status;
    let targets = binding.spec.clusters.len();
    let Some(wanted) = aggregation::aggregate(&template, items, targets) else { return Ok(()) };
    let present = template.get("status").cloned().unwrap_or(json!({}));
    let Some(patch) = merge_diff(&present, &wanted) else { return Ok(()) };
    let served = hub.resolve(&reference.api_version, &reference.kind).await?;
    let api = hub.dynamic(&served, &reference.namespace);
    let patch = Patch::Merge(json!({"status": patch}));
    match api.patch_status(&reference.name, &PatchParams::default(), &patch).await {
        Err(error) if code(&error) == Some(404) => Ok(()),
        other => other.map(drop).map_err(Error::Hub),
    }
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn web(ready: i64) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "generation": 1,
                "annotations": {aggregation::TEMPLATE_GENERATION: "7"}},
            "spec": {"replicas": 2},
            "status": {"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": 2,
                "availableReplicas": ready}})
    }

    #[test]
    fn a_report_is_as_old_as_what_it_says() {
        let id = ResourceIdentifier::default();
        let first = manifest_status(id.clone(), None, &web(1), at(100));
        assert_eq!(first.health, ResourceHealth::Unhealthy);
        assert_eq!(first.status["templateGeneration"], 7);
        let same = manifest_status(id.clone(), Some(&first), &web(1), at(200));
        assert_eq!(same, first);
        let newer = manifest_status(id, Some(&first), &web(2), at(200));
        assert_eq!(newer.observed_at.unwrap().0, at(200));
        assert_eq!(newer.health, ResourceHealth::Healthy);
    }

    #[test]
    fn a_binding_is_fully_applied_when_every_target_is() {
        let spec = json!({"resource": {"apiVersion": "apps/v1", "kind": "Deployment",
                "name": "web"},
            "clusters": [{"name": "eu"}, {"name": "us"}]});
        let binding = Binding {
            key: ObjectKey::new("shop", "web-deployment"),
            metadata: Default::default(),
            spec: serde_json::from_value(spec).unwrap(),
            status: Default::default(),
        };
        let applied = |cluster: &str| {
            let mut work = Work::new("web", Default::default());
            work.metadata.namespace = Some(names::execution_namespace(cluster));
            let condition =
                health::condition(None, "Applied", "True", "AppliedSuccessful", "", at(1));
            work.status.conditions.push(condition);
            work
        };
        let (eu, us) = (applied("eu"), applied("us"));
        let half = aggregated(&binding, &[&eu], at(1));
        assert_eq!(half.status.conditions[0].status, "False");
        let full = aggregated(&binding, &[&eu, &us], at(1));
        assert_eq!(full.status.conditions[0].status, "True");
        assert_eq!(full.status.aggregated_status.len(), 2);
        assert_eq!(aggregated(&full, &[&eu, &us], at(9)), full);
    }
}
