//! Detector: templates × policies → bindings.
//!
//! Only kinds that some policy names are watched. A template that no policy matches any more keeps
//! its binding, which nobody claims then; a template that is gone loses it, once the API server
//! itself says that it is gone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use hansa_client::kube::api::DynamicObject;
use hansa_client::{Change, ObjectKey, Requeue, Workqueue, run_workers};
use hansa_federation_api::kinds::{
    ActivationPreference, ObjectReference, PropagationSpec, ResourceBindingSpec, Suspension,
};
use hansa_federation_api::matching::{Candidate, PolicyKey, choose};
use hansa_federation_api::{interpreter, manifest, names};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::diff::Part;
use crate::error::{Error, Result, found};
use crate::hub::{Binding, Hub};
use crate::wiring::follow;

/// Annotation on bindings: the digest of the template that they were made from.
pub const TEMPLATE_DIGEST: &str = "federation.hansa.dev/template";

/// A template by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TemplateKey {
    api_version: String,
    kind: String,
    key: ObjectKey,
}

impl fmt::Display for TemplateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.api_version, self.kind, self.key)
    }
}

type Gvk = (String, String);

struct Detector {
    hub: Arc<Hub>,
    queue: Workqueue<TemplateKey>,
    /// Kinds that policies name and the hub may or may not serve yet.
    wanted: Mutex<HashSet<Gvk>>,
    /// Kinds that are watched, with a way to list their keys.
    watched: Mutex<HashMap<Gvk, hansa_client::Informer<DynamicObject>>>,
    stop: CancellationToken,
}

/// Runs until `stop`.
pub async fn run(hub: Arc<Hub>, workers: usize, stop: CancellationToken) {
    let detector = Arc::new(Detector {
        hub,
        queue: Workqueue::new(),
        wanted: Mutex::default(),
        watched: Mutex::default(),
        stop: stop.clone(),
    });
    detector.clone().follow_policies();
    let queue = detector.queue.clone();
    let watching = tokio::spawn(watch_wanted(detector.clone()));
    run_workers(queue, workers, stop, |key| detector.reconcile(key)).await;
    watching.abort();
}

impl Detector {
    fn follow_policies(self: Arc<Self>) {
        let (hub, queue, stop) = (self.hub.clone(), self.queue.clone(), self.stop.clone());
        let mine = self.clone();
        follow(&hub.policies, &queue, &stop, move |change| {
            mine.concerned(&change.object().spec, &change_old(change, |p| p.spec.clone()))
        });
        let mine = self;
        follow(&hub.cluster_policies, &queue, &stop, move |change| {
            mine.concerned(&change.object().spec, &change_old(change, |p| p.spec.clone()))
        });
    }

    /// Every known template of the kinds that a policy names, or named before.
    fn concerned(
        &self,
        now: &PropagationSpec,
        before: &Option<PropagationSpec>,
    ) -> Vec<TemplateKey> {
        let selectors = now.resource_selectors.iter();
        let before = before.iter().flat_map(|b| &b.resource_selectors);
        let kinds: BTreeSet<Gvk> =
            selectors.chain(before).map(|s| (s.api_version.clone(), s.kind.clone())).collect();
        self.wanted.lock().extend(kinds.iter().cloned());
        let watched = self.watched.lock();
        let known = kinds.iter().filter_map(|kind| Some((kind, watched.get(kind)?)));
        known.flat_map(|(kind, informer)| keys_of(kind, informer)).collect()
    }

    /// Watches a kind, if the hub serves it.
    async fn watch(&self, kind: Gvk) {
        if self.watched.lock().contains_key(&kind) {
            return;
        }
        let served = match self.hub.resolve(&kind.0, &kind.1).await {
            Ok(served) => served,
            Err(error) => {
                tracing::debug!(kind = %kind.1, %error, "kind cannot be watched yet");
                return;
            }
        };
        let informer = self.hub.informers.dynamic(&served.resource);
        self.watched.lock().insert(kind.clone(), informer.clone());
        follow(&informer, &self.queue, &self.stop, move |change| {
            vec![TemplateKey {
                api_version: kind.0.clone(),
                kind: kind.1.clone(),
                key: change.key(),
            }]
        });
    }

    async fn reconcile(&self, key: TemplateKey) -> Result<Requeue> {
        if names::is_reserved_namespace(&key.key.namespace) {
            return Ok(Requeue::Done);
        }
        let reference = ObjectReference {
            api_version: key.api_version.clone(),
            kind: key.kind.clone(),
            namespace: key.key.namespace.clone(),
            name: key.key.name.clone(),
            ..Default::default()
        };
        let template = self.hub.template(&reference).await?;
        let binding_key =
            ObjectKey::new(&key.key.namespace, names::binding_name(&key.kind, &key.key.name));
        let existing = self.hub.binding(&binding_key);
        match template.filter(|t| t.pointer("/metadata/deletionTimestamp").is_none()) {
            Some(template) if manifest::is_of_each_cluster(&template) => Ok(Requeue::Done),
            Some(template) => self.bind(binding_key, existing, template).await,
            None => self.unbind(&reference, existing).await,
        }
    }

    async fn bind(
        &self,
        key: ObjectKey,
        existing: Option<Binding>,
        template: Value,
    ) -> Result<Requeue> {
        if existing.as_ref().is_some_and(Binding::is_deleting) {
            return Ok(Requeue::After(Duration::from_secs(1)));
        }
        let policies = self.hub.policies_for(&key.namespace);
        let candidates: Vec<Candidate<'_>> =
            policies.iter().map(|(key, spec)| Candidate { key: key.clone(), spec }).collect();
        let claim = existing.as_ref().and_then(claim_of);
        let Some(chosen) = choose(&template, &candidates, claim.as_ref()) else {
            return self.release(existing).await;
        };
        if let Some(missing) = self.missing_override(&chosen) {
            tracing::debug!(%key, %missing, "waiting for an override policy");
            return Ok(Requeue::After(Duration::from_secs(5)));
        }
        let wanted = plan(&key, existing.as_ref(), &template, &chosen);
        match (existing, wanted) {
            (_, None) => {}
            (None, Some(wanted)) => self.hub.create_binding(&wanted).await?,
            (Some(existing), Some(wanted)) => {
                self.hub.write_binding(&existing, &wanted, Part::Main).await?;
            }
        }
        Ok(Requeue::Done)
    }

    /// A template that no policy selects any more stays where it is, and nobody's.
    async fn release(&self, existing: Option<Binding>) -> Result<Requeue> {
        if let Some(existing) = existing {
            let mut free = existing.clone();
            drop_claim(&mut free.metadata);
            self.hub.write_binding(&existing, &free, Part::Main).await?;
        }
        Ok(Requeue::Done)
    }

    /// An override policy that has to be there first: of the policy's own scope.
    fn missing_override(&self, policy: &Candidate<'_>) -> Option<String> {
        let exists = |name: &str| match &policy.key.namespace {
            Some(namespace) => self.hub.overrides.get(namespace, name).is_some(),
            None => self.hub.cluster_overrides.get("", name).is_some(),
        };
        policy.spec.dependent_overrides.iter().find(|name| !exists(name)).cloned()
    }

    /// Deletes the binding of a template that the API server says is gone.
    async fn unbind(
        &self,
        reference: &ObjectReference,
        existing: Option<Binding>,
    ) -> Result<Requeue> {
        let Some(existing) = existing.filter(|b| !b.is_deleting()) else {
            return Ok(Requeue::Done);
        };
        let served = self.hub.resolve(&reference.api_version, &reference.kind).await?;
        let api = self.hub.dynamic(&served, &reference.namespace);
        let live = found(api.get(&reference.name).await).map_err(Error::Hub)?;
        if live.is_none_or(|t| t.metadata.deletion_timestamp.is_some()) {
            self.hub.delete_binding(&existing).await?;
        }
        Ok(Requeue::Done)
    }
}

/// Tries to watch the wanted kinds, again and again for those that the hub does not serve yet.
async fn watch_wanted(detector: Arc<Detector>) {
    loop {
        let wanted: Vec<Gvk> = detector.wanted.lock().iter().cloned().collect();
        for kind in wanted {
            detector.watch(kind).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn change_old<K, T>(change: &Change<K>, of: impl Fn(&K) -> T) -> Option<T> {
    match change {
        Change::Applied { old, .. } => old.as_ref().map(|old| of(old)),
        Change::Deleted(_) => None,
    }
}

fn keys_of(kind: &Gvk, informer: &hansa_client::Informer<DynamicObject>) -> Vec<TemplateKey> {
    let key = |object: Arc<DynamicObject>| TemplateKey {
        api_version: kind.0.clone(),
        kind: kind.1.clone(),
        key: ObjectKey::of(&*object),
    };
    informer.list().into_iter().map(key).collect()
}

/// The policy that has claimed a binding's template.
fn claim_of(binding: &Binding) -> Option<PolicyKey> {
    let cluster_wide = binding.annotation(names::CLUSTER_POLICY_NAME);
    if !cluster_wide.is_empty() {
        return Some(PolicyKey { namespace: None, name: cluster_wide.into() });
    }
    let name = binding.annotation(names::POLICY_NAME);
    let namespace = binding.annotation(names::POLICY_NAMESPACE);
    (!name.is_empty()).then(|| PolicyKey { namespace: Some(namespace.into()), name: name.into() })
}

/// The binding that a template should have; nothing if it is to stay as it is.
fn plan(
    key: &ObjectKey,
    existing: Option<&Binding>,
    template: &Value,
    policy: &Candidate<'_>,
) -> Option<Binding> {
    let digest = manifest::digest(&manifest::prune(template));
    let lazy = policy.spec.activation_preference == ActivationPreference::Lazy;
    let unchanged = |b: &Binding| {
        claim_of(b).as_ref() == Some(&policy.key) && b.annotation(TEMPLATE_DIGEST) == digest
    };
    if lazy && existing.is_some_and(unchanged) {
        return None;
    }
    let mut binding = existing.cloned().unwrap_or_else(|| Binding {
        key: key.clone(),
        metadata: fresh_metadata(key),
        spec: ResourceBindingSpec::default(),
        status: Default::default(),
    });
    describe(&mut binding.metadata, template, policy, digest);
    bind_spec(&mut binding.spec, template, policy.spec);
    Some(binding)
}

fn fresh_metadata(key: &ObjectKey) -> ObjectMeta {
    ObjectMeta {
        name: Some(key.name.clone()),
        namespace: (!key.namespace.is_empty()).then(|| key.namespace.clone()),
        finalizers: Some(vec![names::BINDING_FINALIZER.into()]),
        ..Default::default()
    }
}

fn describe(metadata: &mut ObjectMeta, template: &Value, policy: &Candidate<'_>, digest: String) {
    drop_claim(metadata);
    let annotations = metadata.annotations.get_or_insert_default();
    let name = policy.key.name.clone();
    match &policy.key.namespace {
        Some(namespace) => {
            annotations.insert(names::POLICY_NAMESPACE.into(), namespace.clone());
            annotations.insert(names::POLICY_NAME.into(), name);
        }
        None => drop(annotations.insert(names::CLUSTER_POLICY_NAME.into(), name)),
    }
    annotations.insert(TEMPLATE_DIGEST.into(), digest);
    metadata.owner_references = Some(vec![owned_by(template)]);
}

/// A binding goes with its template.
pub fn owned_by(template: &Value) -> OwnerReference {
    OwnerReference {
        api_version: text(template, "/apiVersion").into(),
        kind: text(template, "/kind").into(),
        name: text(template, "/metadata/name").into(),
        uid: text(template, "/metadata/uid").into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn drop_claim(metadata: &mut ObjectMeta) {
    let annotations = metadata.annotations.get_or_insert_default();
    for claim in [names::POLICY_NAME, names::POLICY_NAMESPACE, names::CLUSTER_POLICY_NAME] {
        annotations.remove(claim);
    }
}

/// Sets what template and policy say; what the scheduler and the failover say stays.
fn bind_spec(spec: &mut ResourceBindingSpec, template: &Value, policy: &PropagationSpec) {
    spec.resource = ObjectReference {
        api_version: text(template, "/apiVersion").into(),
        kind: text(template, "/kind").into(),
        namespace: text(template, "/metadata/namespace").into(),
        name: text(template, "/metadata/name").into(),
        uid: text(template, "/metadata/uid").into(),
        resource_version: String::new(),
    };
    spec.replicas = interpreter::replicas(template).unwrap_or(0);
    spec.replica_requirements = interpreter::requirements(template);
    spec.placement = Some(policy.placement.clone());
    spec.propagate_deps = policy.propagate_deps;
    spec.scheduler_name = policy.scheduler_name.clone();
    spec.failover = policy.failover.clone();
    spec.conflict_resolution = policy.conflict_resolution;
    spec.preserve_resources_on_deletion = policy.preserve_resources_on_deletion;
    let scheduling = spec.suspension.as_ref().and_then(|s| s.scheduling);
    let suspension = Suspension { scheduling, ..policy.suspension.clone().unwrap_or_default() };
    spec.suspension = (suspension != Suspension::default()).then_some(suspension);
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hansa_federation_api::kinds::TargetCluster;
    use serde_json::json;

    use super::*;

    fn template(replicas: i32, status: i32) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1"},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": []}}},
            "status": {"replicas": status}})
    }

    fn policy(json: Value) -> PropagationSpec {
        serde_json::from_value(json).unwrap()
    }

    fn planned(
        existing: Option<&Binding>,
        template: &Value,
        spec: &PropagationSpec,
    ) -> Option<Binding> {
        let key = PolicyKey { namespace: Some("shop".into()), name: "p".into() };
        let policy = Candidate { key, spec };
        plan(&ObjectKey::new("shop", "web-deployment"), existing, template, &policy)
    }

    #[test]
    fn what_the_scheduler_decided_survives_a_new_template() {
        let spec = policy(json!({"resourceSelectors": []}));
        let mut binding = planned(None, &template(6, 0), &spec).unwrap();
        assert_eq!(binding.spec.replicas, 6);
        assert_eq!(claim_of(&binding).unwrap().name, "p");
        let mut free = binding.clone();
        drop_claim(&mut free.metadata);
        assert_eq!(claim_of(&free), None);
        binding.spec.clusters = vec![TargetCluster { name: "eu".into(), replicas: 6 }];
        let again = planned(Some(&binding), &template(9, 0), &spec).unwrap();
        assert_eq!(again.spec.replicas, 9);
        assert_eq!(again.spec.clusters, binding.spec.clusters);
    }

    #[test]
    fn a_change_of_status_changes_no_binding() {
        let spec = policy(json!({"resourceSelectors": []}));
        let binding = planned(None, &template(6, 0), &spec).unwrap();
        assert_eq!(planned(Some(&binding), &template(6, 5), &spec), Some(binding));
    }

    #[test]
    fn a_lazy_policy_waits_for_the_template() {
        let before = policy(json!({"resourceSelectors": [], "activationPreference": "Lazy"}));
        let mut after = before.clone();
        after.priority = 7;
        after.propagate_deps = true;
        let binding = planned(None, &template(6, 0), &before).unwrap();
        assert_eq!(planned(Some(&binding), &template(6, 0), &after), None);
        assert!(planned(Some(&binding), &template(7, 0), &after).unwrap().spec.propagate_deps);
    }
}
