//! Execution: Works → objects in one member.
//!
//! Each member has its own queue and workers, so that one that does not answer delays nobody else.
//! An object is written only if it differs from what its Work says. It is deleted only after the
//! hub itself says that its Work is on the way out, only if this very Work put it there, and not if
//! a later state of the hub did.

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
    let suspended = work.spec.suspend_dispatching == Some(true);
    if suspended || work.condition("Dispatching").is_some_and(|c| c.status != "True") {
        report(&hub, &work, "Dispatching", dispatching(suspended)).await?;
    }
    if suspended {
        return Ok(Requeue::Done);
    }
    let outcome = apply_all(&member, &work).await;
    report(&hub, &work, "Applied", applied(&outcome)).await?;
    member.reports.add(key);
    outcome.map(|()| Requeue::Done)
}

/// What a condition says: status, reason, message.
type Verdict = (&'static str, &'static str, String);

fn dispatching(suspended: bool) -> Verdict {
    if suspended {
        let message = "Work dispatching is in a suspended state.";
        return ("False", "SuspendDispatching", message.into());
    }
    ("True", "Dispatching", "Work is being dispatched to member clusters.".into())
}

fn applied(outcome: &Result<()>) -> Verdict {
    match outcome {
        Ok(()) => ("True", "AppliedSuccessful", "Manifest has been successfully applied".into()),
        Err(error) => ("False", "AppliedFailed", format!("failed to {error}")),
    }
}

/// Applies every manifest; returns the first trouble after all were tried.
async fn apply_all(member: &Arc<Member>, work: &Work) -> Result<()> {
    let mut outcome = Ok(());
    for manifest in &work.spec.workload.manifests {
        let one = apply(member, work, manifest).await;
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

async fn apply(member: &Arc<Member>, work: &Work, manifest: &Value) -> Result<()> {
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
        Step::Create | Step::Write => {
            let manifest = stamped(manifest, work, live.as_ref());
            put(member, &api, name, &manifest, live.as_ref()).await
        }
    }
}

/// The manifest with what only this moment knows: the Work's version, which never goes back, and
/// whether a namespace was there before.
fn stamped(manifest: &Value, work: &Work, live: Option<&Value>) -> Value {
    let mut manifest = manifest.clone();
    let seen = live.and_then(revision).unwrap_or(0);
    let annotations = &mut manifest["metadata"]["annotations"];
    if let Some(own) = version(work) {
        annotations[names::APPLIED_REVISION] = own.max(seen).to_string().into();
    }
    if live.is_some_and(is_adopted) {
        annotations[names::ADOPTED] = "true".into();
    }
    manifest
}

/// The version of the Work that an object was last written by.
fn revision(object: &Value) -> Option<u64> {
    object["metadata"]["annotations"][names::APPLIED_REVISION].as_str()?.parse().ok()
}

fn version(work: &Work) -> Option<u64> {
    work.metadata.resource_version.as_deref()?.parse().ok()
}

/// Whether a member's namespace was there before the federation came, as far as can be seen.
fn is_adopted(live: &Value) -> bool {
    let is_namespace = live["apiVersion"] == "v1" && live["kind"] == "Namespace";
    let marked = live["metadata"]["annotations"][names::ADOPTED] == "true";
    is_namespace && (marked || !manifest::is_managed(live))
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
        let patch = Patch::Apply(applicable(manifest, live));
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

/// The manifest as it is applied: replicas that the member keeps are those that it has. To leave
/// them out would take them from a member that nobody else has told how many.
fn applicable(manifest: &Value, live: Option<&Value>) -> Value {
    let mut manifest = manifest.clone();
    let retains = manifest["metadata"]["labels"][names::RETAIN_REPLICAS] == "true";
    if let Some(replicas) = live.and_then(|l| l.pointer("/spec/replicas")).filter(|_| retains) {
        manifest["spec"]["replicas"] = replicas.clone();
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
            let outcome = delete(member, &live, manifest).await;
            if matches!(outcome, Err(Error::SetBack(_))) {
                report(hub, &live, "Applied", applied(&outcome)).await?;
            }
            outcome?;
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
    match farewell(&whole(&live, &served)?, work)? {
        Farewell::Leave => Ok(()),
        Farewell::Release(patch) => {
            let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
            member.call(async { found(api.patch(name, &params, &patch).await) }).await.map(drop)
        }
        Farewell::Delete => {
            let params = exactly(&live.metadata);
            member.call(async { found(api.delete(name, &params).await) }).await.map(drop)
        }
    }
}

/// What becomes of a member's object whose Work is on the way out.
#[derive(Clone, Debug, PartialEq)]
enum Farewell {
    /// It is not this Work's, and stays as it is.
    Leave,
    /// It stays without our marks.
    Release(Value),
    /// It goes.
    Delete,
}

/// Decides from what the member has.
fn farewell(live: &Value, work: &Work) -> Result<Farewell> {
    if !came_from(live, work) {
        return Ok(Farewell::Leave);
    }
    if revision(live) > version(work) {
        let name = text(live, "/metadata/name");
        return Err(Error::SetBack(format!("{} {name}", text(live, "/kind"))));
    }
    if is_adopted(live) {
        return Ok(Farewell::Release(retention::release(live)));
    }
    Ok(Farewell::Delete)
}

/// Whether an object in the member was put there by this Work and not by another one since: one of
/// another member, or of another binding of the same template's name.
fn came_from(object: &Value, work: &Work) -> bool {
    let annotations = &object["metadata"]["annotations"];
    let binding = work.metadata.labels.as_ref().and_then(|l| l.get(names::BINDING_ID_LABEL));
    let noted = annotations[names::BINDING_ID_LABEL].as_str();
    manifest::is_managed(object)
        && annotations[names::WORK_NAME] == work.name()
        && annotations[names::WORK_NAMESPACE] == work.namespace()
        && noted.is_none_or(|noted| binding.is_some_and(|own| own == noted))
}

async fn report(
    hub: &Hub,
    work: &Work,
    type_: &str,
    (status, reason, message): Verdict,
) -> Result<()> {
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

    /// A Work of the binding `u`, and what it put into the member at its version 7.
    fn work_and_object() -> (Work, Value) {
        let mut object = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"}});
        manifest::label_managed(&mut object);
        let labels = [(names::BINDING_ID_LABEL.to_owned(), "u".to_owned())].into();
        let mut work = works::work("eu", object, labels, BTreeMap::new());
        work.metadata.resource_version = Some("7".into());
        let object = stamped(&work.spec.workload.manifests[0], &work, None);
        (work, object)
    }

    #[test]
    fn only_what_this_work_put_there_is_deleted() {
        let (work, object) = work_and_object();
        assert_eq!(farewell(&object, &work).unwrap(), Farewell::Delete);
        let mut of_another = work.clone();
        of_another.metadata.name = Some("web-2".into());
        assert_eq!(farewell(&object, &of_another).unwrap(), Farewell::Leave);
        let mut later = work.clone();
        later.metadata.labels = Some([(names::BINDING_ID_LABEL.to_owned(), "v".to_owned())].into());
        assert_eq!(farewell(&object, &later).unwrap(), Farewell::Leave, "of a later binding");
        let mut theirs = object.clone();
        theirs["metadata"]["labels"][names::MANAGED_LABEL] = "false".into();
        assert_eq!(farewell(&theirs, &work).unwrap(), Farewell::Leave);
    }

    #[test]
    fn a_hub_that_was_set_back_deletes_nothing_that_it_wrote_later() {
        let (mut work, object) = work_and_object();
        work.metadata.resource_version = Some("6".into());
        assert!(matches!(farewell(&object, &work), Err(Error::SetBack(_))));
        let again = stamped(&work.spec.workload.manifests[0], &work, Some(&object));
        assert_eq!(revision(&again), Some(7), "writing does not hide it");
        work.metadata.resource_version = Some("8".into());
        assert_eq!(farewell(&object, &work).unwrap(), Farewell::Delete);
    }

    /// RFC 7396, for objects of strings.
    fn merge(object: &mut Value, patch: &Value) {
        for (key, value) in patch.as_object().unwrap() {
            match value {
                Value::Null => drop(object.as_object_mut().unwrap().remove(key)),
                _ => merge(&mut object[key], value),
            }
        }
    }

    #[test]
    fn a_namespace_that_was_there_before_stays_without_our_marks() {
        let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "shop", "annotations": {"own": "x"}, "labels": {"own": "x"}}});
        let theirs = namespace.clone();
        manifest::label_managed(&mut namespace);
        let work = works::work("eu", namespace, BTreeMap::new(), BTreeMap::new());
        let manifest = &work.spec.workload.manifests[0];
        let adopted = stamped(manifest, &work, Some(&theirs));
        let twice = stamped(manifest, &work, Some(&adopted));
        let Farewell::Release(patch) = farewell(&twice, &work).unwrap() else {
            panic!("it is not released");
        };
        let mut left = twice.clone();
        merge(&mut left, &patch);
        assert_eq!(left["metadata"]["labels"].get(names::MANAGED_LABEL), None);
        let annotations = left["metadata"]["annotations"].as_object().unwrap();
        let own = |key: &&String| key.contains("karmada.io") || key.contains("hansa.dev");
        assert_eq!(annotations.keys().find(own), None);
        let made = stamped(manifest, &work, None);
        assert_eq!(farewell(&made, &work).unwrap(), Farewell::Delete);
    }

    #[test]
    fn replicas_that_a_member_keeps_begin_as_the_template_says() {
        let manifest = json!({"metadata": {"labels": {names::RETAIN_REPLICAS: "true"}},
            "spec": {"replicas": 3}});
        assert_eq!(applicable(&manifest, None)["spec"]["replicas"], 3);
        let live = json!({"spec": {"replicas": 8}});
        assert_eq!(applicable(&manifest, Some(&live))["spec"]["replicas"], 8);
        let mut plain = manifest.clone();
        plain["metadata"]["labels"] = json!({});
        assert_eq!(applicable(&plain, Some(&live))["spec"]["replicas"], 3);
    }

    #[test]
    fn conditions_say_what_they_mean() {
        assert_eq!(dispatching(true).2, "Work dispatching is in a suspended state.");
        assert_eq!((dispatching(false).0, dispatching(false).1), ("True", "Dispatching"));
        let refused = applied(&Err(Error::NotOurs("Service web".into())));
        assert_eq!((refused.0, refused.1), ("False", "AppliedFailed"));
        assert!(refused.2.starts_with("failed to adopt Service web"), "{}", refused.2);
    }
}
