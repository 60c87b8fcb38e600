//! Execution: Works → objects in one member.
//!
//! Each member has its own queue and workers, so that one that does not answer delays nobody else.
//! An
//! object is written only if it differs from what its Work says; it is deleted only after the hub
//! itself says that its Work is on the way out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use hansa_client::kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use hansa_client::{ObjectKey, Requeue, run_workers};
use hansa_federation_api::kinds::{Cluster, Work, WorkStatus};
use hansa_federation_api::{health, manifest, names, retention};
use jiff::Timestamp;
use serde_json::Value;

use crate::binding::drop_finalizer;
use crate::diff::{Part, write};
use crate::error::{Error, Result, code, found};
use crate::hub::{Hub, dynamic, exactly, whole};
use crate::kinds::Served;
use crate::members::Member;
use crate::work_status;

/// How soon a Work is looked at again whose member is left alone: a probe may find it well before
/// the pause is over.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Carries out a member's Works until its connection ends.
pub async fn run(hub: Arc<Hub>, member: Arc<Member>, workers: usize) {
    let (queue, stop) = (member.execution.clone(), member.stop.clone());
    run_workers(queue, workers, stop, |key| reconcile(hub.clone(), member.clone(), key)).await;
}

async fn reconcile(hub: Arc<Hub>, member: Arc<Member>, key: ObjectKey) -> Result<Requeue> {
    let Some(work) = hub.works.get_key(&key) else { return Ok(Requeue::Done) };
    if let Some(pause) = member.pause() {
        return Ok(Requeue::After(pause.min(LOOK_AGAIN)));
    }
    if work.metadata.deletion_timestamp.is_some() {
        return withdraw(&hub, &member, &work).await;
    }
    if work.spec.suspend_dispatching == Some(true) {
        let verdict = Err(Error::Unusable("Work dispatching is in a suspended state.".into()));
        report(&hub, &work, "Dispatching", ("Dispatching", "SuspendDispatching"), &verdict).await?;
        return Ok(Requeue::Done);
    }
    if work.condition("Dispatching").is_some_and(|c| c.status != "True") {
        report(&hub, &work, "Dispatching", ("Dispatching", "SuspendDispatching"), &Ok(())).await?;
    }
    let outcome = apply_all(&member, &work).await;
    report(&hub, &work, "Applied", ("AppliedSuccessful", "AppliedFailed"), &outcome).await?;
    member.reports.add(key);
    outcome.map(|()| Requeue::Done)
}

/// Applies every manifest; returns the first trouble after all were tried.
async fn apply_all(member: &Arc<Member>, work: &Work) -> Result<()> {
    let mut outcome = Ok(());
    for manifest in &work.spec.workload.manifests {
        let one = apply(member, manifest).await;
        outcome = outcome.and(one);
    }
    outcome
}

/// What is to be done to make a member's object what its manifest says.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Make it.
    Create,
    /// Write it.
    Write,
    /// It is there and not ours.
    Refuse,
}

/// Decides from what the member has.
pub fn plan(manifest: &Value, observed: Option<&Value>) -> Step {
    let Some(observed) = observed else { return Step::Create };
    let annotations = &manifest["metadata"]["annotations"];
    let overwrite = annotations[names::CONFLICT_RESOLUTION] == "overwrite";
    if !manifest::is_managed(observed) && !overwrite {
        return Step::Refuse;
    }
    if observed.pointer("/metadata/deletionTimestamp").is_some() {
        return Step::Nothing;
    }
    let applied = &observed["metadata"]["annotations"][names::APPLIED_DIGEST];
    let current = *applied == annotations[names::APPLIED_DIGEST]
        && manifest::holds(&retention::retain(manifest, observed), observed);
    if current { Step::Nothing } else { Step::Write }
}

async fn apply(member: &Arc<Member>, manifest: &Value) -> Result<()> {
    let (api_version, kind) = (text(manifest, "/apiVersion"), text(manifest, "/kind"));
    let (namespace, name) =
        (text(manifest, "/metadata/namespace"), text(manifest, "/metadata/name"));
    let served = member.call_discovery(api_version, kind).await?;
    let seen = work_status::observe(member, &served).get(namespace, name);
    if let Some(seen) = seen
        && plan(manifest, Some(&whole(&seen, &served)?)) == Step::Nothing
    {
        return Ok(());
    }
    let api = dynamic(&member.client, &served, namespace);
    let live = member.call(async { found(api.get(name).await) }).await?;
    let live = live.map(|o| whole(&o, &served)).transpose()?;
    match plan(manifest, live.as_ref()) {
        Step::Nothing => Ok(()),
        Step::Refuse => Err(Error::NotOurs(format!("{kind} {name}"))),
        Step::Create | Step::Write => put(member, &api, name, manifest, live.as_ref()).await,
    }
}

/// Writes by server-side apply where the member knows it, else by create or update.
async fn put(
    member: &Member,
    api: &Api<DynamicObject>,
    name: &str,
    manifest: &Value,
    live: Option<&Value>,
) -> Result<()> {
    if member.server_side_apply.load(Ordering::Relaxed) {
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        let patch = Patch::Apply(applicable(manifest));
        match member.call(api.patch(name, &params, &patch)).await {
            Err(Error::Member(error)) if code(&error) == Some(415) => {
                member.gives_up_server_side_apply();
            }
            other => return other.map(drop),
        }
    }
    let params =
        PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
    match live {
        None => {
            let object = serde_json::from_value(manifest.clone())?;
            member.call(api.create(&params, &object)).await.map(drop)
        }
        Some(live) => {
            let object = serde_json::from_value(retention::retain(manifest, live))?;
            member.call(api.replace(name, &params, &object)).await.map(drop)
        }
    }
}

/// The manifest as the field manager owns it: replicas that the member keeps are not in it.
fn applicable(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    if manifest["metadata"]["labels"][names::RETAIN_REPLICAS] == "true"
        && let Some(spec) = manifest.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("replicas");
    }
    manifest
}

/// Deletes a Work's objects in the member and then lets the Work go.
async fn withdraw(hub: &Hub, member: &Arc<Member>, work: &Work) -> Result<Requeue> {
    let api = hub.works_in(work.namespace());
    let live = found(api.get(work.name()).await).map_err(Error::Hub)?;
    let Some(live) = live.filter(|w| is_same_and_deleting(w, work)) else {
        return Ok(Requeue::Done);
    };
    let orphans = hub.clusters.get("", &member.name).is_some_and(|c| is_orphaned(&c));
    if live.spec.preserve_resources_on_deletion != Some(true) && !orphans {
        for manifest in &live.spec.workload.manifests {
            delete(member, &live, manifest).await?;
        }
    }
    let mut next = live.clone();
    drop_finalizer(&mut next.metadata, names::EXECUTION_FINALIZER);
    match write(&api, &live, &next, Part::Main).await {
        Err(error) if code(&error) == Some(404) => Ok(Requeue::Done),
        other => other.map(|_| Requeue::Done).map_err(Error::Hub),
    }
}

/// Whether a member leaves with everything that it holds.
fn is_orphaned(cluster: &Cluster) -> bool {
    let annotations = cluster.metadata.annotations.as_ref();
    cluster.is_leaving()
        && annotations.and_then(|a| a.get(names::ORPHAN)).is_some_and(|v| v == "true")
}

fn is_same_and_deleting(live: &Work, seen: &Work) -> bool {
    live.metadata.uid == seen.metadata.uid && live.metadata.deletion_timestamp.is_some()
}

async fn delete(member: &Arc<Member>, work: &Work, manifest: &Value) -> Result<()> {
    let served =
        match member.call_discovery(text(manifest, "/apiVersion"), text(manifest, "/kind")).await {
            Err(Error::UnknownKind(..)) => return Ok(()),
            other => other?,
        };
    let api = dynamic(&member.client, &served, text(manifest, "/metadata/namespace"));
    let name = text(manifest, "/metadata/name");
    let Some(live) = member.call(async { found(api.get(name).await) }).await? else {
        return Ok(());
    };
    if !came_from(&whole(&live, &served)?, work) {
        return Ok(());
    }
    let params = exactly(&live.metadata);
    member.call(async { found(api.delete(name, &params).await) }).await.map(drop)
}

/// Whether an object in the member was put there by this Work and not by another one since.
fn came_from(object: &Value, work: &Work) -> bool {
    let annotations = &object["metadata"]["annotations"];
    manifest::is_managed(object)
        && annotations[names::WORK_NAME] == work.name()
        && annotations[names::WORK_NAMESPACE] == work.namespace()
}

async fn report(
    hub: &Hub,
    work: &Work,
    type_: &str,
    (good, bad): (&str, &str),
    outcome: &Result<()>,
) -> Result<()> {
    let (status, reason, message) = match outcome {
        Ok(()) => ("True", good, "Manifest has been successfully applied".to_owned()),
        Err(error) => ("False", bad, format!("failed to {error}")),
    };
    let mut next = work.clone();
    let before = work.condition(type_);
    let condition = health::condition(before, type_, status, reason, &message, Timestamp::now());
    set_condition(&mut next.status, condition);
    let api = hub.works_in(work.namespace());
    match write(&api, work, &next, Part::Status).await {
        Err(error) if matches!(code(&error), Some(404 | 409)) => Ok(()),
        other => other.map(drop).map_err(Error::Hub),
    }
}

/// Puts a condition in the place of the one of its type.
pub fn set_condition(status: &mut WorkStatus, condition: Condition) {
    match status.conditions.iter_mut().find(|c| c.type_ == condition.type_) {
        Some(place) => *place = condition,
        None => status.conditions.push(condition),
    }
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

impl Member {
    /// The resource of a kind in the member, within the member's time.
    pub async fn call_discovery(&self, api_version: &str, kind: &str) -> Result<Served> {
        self.bounded(self.kinds.resolve(api_version, kind)).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::works;

    fn manifest() -> Value {
        let mut object = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"ports": [{"port": 80}]}});
        manifest::label_managed(&mut object);
        works::work("eu", object, BTreeMap::new(), BTreeMap::new())
            .spec
            .workload
            .manifests
            .remove(0)
    }

    /// The manifest as the member holds it after its API server filled things in.
    fn held() -> Value {
        let mut held = manifest();
        held["metadata"]["resourceVersion"] = "5".into();
        held["spec"]["clusterIP"] = "10.0.0.9".into();
        held["spec"]["ports"][0]["protocol"] = "TCP".into();
        held
    }

    #[test]
    fn nothing_is_written_when_nothing_differs() {
        assert_eq!(plan(&manifest(), None), Step::Create);
        assert_eq!(plan(&manifest(), Some(&held())), Step::Nothing);
    }

    #[test]
    fn edits_out_of_band_are_repaired_and_new_manifests_written() {
        let mut edited = held();
        edited["spec"]["ports"][0]["port"] = 81.into();
        assert_eq!(plan(&manifest(), Some(&edited)), Step::Write);
        let mut older = held();
        older["metadata"]["annotations"][names::APPLIED_DIGEST] = "0".into();
        assert_eq!(plan(&manifest(), Some(&older)), Step::Write);
    }

    #[test]
    fn what_is_not_ours_is_refused_unless_overwriting() {
        let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}});
        assert_eq!(plan(&manifest(), Some(&theirs)), Step::Refuse);
        let mut overwriting = manifest();
        overwriting["metadata"]["annotations"][names::CONFLICT_RESOLUTION] = "overwrite".into();
        assert_eq!(plan(&overwriting, Some(&theirs)), Step::Write);
    }

    #[test]
    fn only_what_this_work_put_there_is_deleted() {
        let mut work = Work::new("web-1", Default::default());
        work.metadata.namespace = Some("karmada-es-eu".into());
        let mut object = held();
        assert!(!came_from(&object, &work));
        object["metadata"]["annotations"][names::WORK_NAME] = "web-1".into();
        object["metadata"]["annotations"][names::WORK_NAMESPACE] = "karmada-es-eu".into();
        assert!(came_from(&object, &work));
        object["metadata"]["labels"][names::MANAGED_LABEL] = "false".into();
        assert!(!came_from(&object, &work));
    }
}
