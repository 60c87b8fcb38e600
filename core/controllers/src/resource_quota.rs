//! Counts what namespaces use of their ResourceQuotas.
//!
//! Admission charges every write to the quotas' status; here they are counted anew when something
//! goes, when a quota's limits change, and now and then, so that what was charged and never came to
//! be is given back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use hansa_api::meta::{self, map_at};
use hansa_api::quota::{Amounts, Evaluator, add, amounts, to_value};
use hansa_client::kube::api::PostParams;
use hansa_client::kube::{Api, Error, Resource};
use hansa_client::{Change, Informer, ObjectKey, Requeue, Workqueue, run_workers};
use jiff::Timestamp;
use parking_lot::RwLock;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Context;
use crate::resources::{Served, discover};
use crate::wiring::enqueue;

/// Between looks for new kinds.
const DISCOVER: Duration = Duration::from_secs(10);
/// Between counts without a cause.
const RESYNC: Duration = Duration::from_secs(300);
const QUOTAS: &str = "resourcequotas";

/// The objects of one namespace.
type ListOf = Box<dyn Fn(&str) -> Vec<Value> + Send + Sync>;

/// Everything of one kind that quotas may count.
struct Counted {
    evaluator: Evaluator,
    list: ListOf,
}

/// What a namespace has of one kind.
struct Found {
    evaluator: Evaluator,
    objects: Vec<Value>,
}

#[derive(Clone)]
struct Counter {
    context: Context,
    quotas: Informer<ResourceQuota>,
    queue: Workqueue<ObjectKey>,
    counted: Arc<RwLock<Vec<Arc<Counted>>>>,
}

pub(crate) async fn run(context: Context) {
    let quotas = context.informers.of::<ResourceQuota>();
    let (queue, counted) = (Workqueue::new(), Arc::default());
    let counter = Counter { context: context.clone(), quotas, queue, counted };
    counter.quotas.synced().await;
    counter.follow_objects().await;
    enqueue(&counter.quotas, &counter.queue, concerns_limits);
    let reconcile = |key: ObjectKey| {
        let counter = &counter;
        async move { counter.reconcile(&key).await }
    };
    tokio::join!(
        counter.follow_kinds(),
        run_workers(counter.queue.clone(), 4, context.stop.clone(), reconcile),
    );
}

/// A quota is counted when its limits are not (yet) what its status says.
fn concerns_limits(change: &Change<ResourceQuota>) -> Vec<ObjectKey> {
    let quota = change.object();
    let wanted = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let counted = quota.status.as_ref().and_then(|status| status.hard.as_ref());
    let first = matches!(change, Change::Applied { old: None, .. });
    let due = matches!(change, Change::Applied { .. }) && (first || wanted != counted);
    if due { vec![change.key()] } else { Vec::new() }
}

impl Counter {
    /// The kinds of which more than the number counts, and quotas themselves: a new one counts itself,
    /// and another reflector might not have seen it yet.
    async fn follow_objects(&self) {
        let pods = self.context.informers.of::<Pod>();
        let services = self.context.informers.of::<Service>();
        let claims = self.context.informers.of::<PersistentVolumeClaim>();
        pods.synced().await;
        services.synced().await;
        claims.synced().await;
        self.count(pods, Evaluator::Pods);
        self.count(services, Evaluator::Services);
        self.count(claims, Evaluator::Claims);
        if let Some(evaluator) = Evaluator::of("", QUOTAS) {
            self.count(self.quotas.clone(), evaluator);
        }
    }

    fn count<K>(&self, informer: Informer<K>, evaluator: Evaluator)
    where
        K: Resource + Serialize + Send + Sync + 'static,
    {
        self.wake(&informer, evaluator.clone());
        let list = move |namespace: &str| {
            informer.list_in(namespace).iter().map(|object| as_json(&**object)).collect()
        };
        self.counted.write().push(Arc::new(Counted { evaluator, list: Box::new(list) }));
    }

    /// Counts a namespace's quotas anew when an object there uses less, or something else.
    fn wake<K>(&self, informer: &Informer<K>, evaluator: Evaluator)
    where
        K: Resource + Serialize + Send + Sync + 'static,
    {
        let quotas = self.quotas.clone();
        enqueue(informer, &self.queue, move |change| {
            let namespace = change.key().namespace;
            let here = quotas.list_in(&namespace);
            let uses = |object: &K| evaluator.usage(&as_json(object), Timestamp::now());
            let matters = !here.is_empty()
                && match change {
                    Change::Deleted(_) => true,
                    Change::Applied { old: None, .. } => false,
                    Change::Applied { old: Some(old), new } => uses(old) != uses(new),
                };
            if !matters {
                return Vec::new();
            }
            here.iter().map(|quota| ObjectKey::of(&**quota)).collect()
        });
    }

    /// Follows the metadata of every other kind once it is there.
    async fn follow_kinds(&self) {
        let mut known = HashSet::from([(String::new(), QUOTAS.to_owned())]);
        loop {
            match discover(&self.context.client).await {
                Ok(found) => {
                    for served in found.kinds.into_values() {
                        self.follow_kind(served, &mut known).await;
                    }
                }
                Err(error) => tracing::debug!(%error, "failed to discover kinds, will retry"),
            }
            tokio::select! {
                () = self.context.stop.cancelled() => return,
                () = tokio::time::sleep(DISCOVER) => {}
            }
        }
    }

    async fn follow_kind(&self, served: Served, known: &mut HashSet<(String, String)>) {
        let (group, plural) = (served.resource.group.clone(), served.resource.plural.clone());
        let usable = served.namespaced && served.supports(&["list", "watch", "create"]);
        let Some(Evaluator::Count(names)) = Evaluator::of(&group, &plural) else { return };
        if !usable || !known.insert((group, plural)) {
            return;
        }
        let informer = self.context.informers.metadata(&served.resource);
        let (counter, evaluator) = (self.clone(), Evaluator::Count(names));
        tokio::spawn(async move {
            informer.synced().await;
            counter.wake_on_deletion(&informer);
            let list = move |namespace: &str| vec![Value::Null; informer.list_in(namespace).len()];
            let counted = Counted { evaluator: evaluator.clone(), list: Box::new(list) };
            counter.counted.write().push(Arc::new(counted));
            counter.count_all_that_name(&evaluator);
        });
    }

    fn wake_on_deletion<K>(&self, informer: &Informer<K>)
    where
        K: Resource + Send + Sync + 'static,
    {
        let quotas = self.quotas.clone();
        enqueue(informer, &self.queue, move |change| match change {
            Change::Deleted(_) => {
                let here = quotas.list_in(&change.key().namespace);
                here.iter().map(|quota| ObjectKey::of(&**quota)).collect()
            }
            Change::Applied { .. } => Vec::new(),
        });
    }

    /// The quotas that waited for a kind to be followed.
    fn count_all_that_name(&self, evaluator: &Evaluator) {
        for quota in self.quotas.list() {
            let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
            if hard.is_some_and(|hard| hard.keys().any(|name| evaluator.measures(name))) {
                self.queue.add(ObjectKey::of(&*quota));
            }
        }
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(quota) = self.quotas.get_key(key) else { return Ok(Requeue::Done) };
        let quota = as_json(&*quota);
        let found = self.found(&quota, &key.namespace);
        if let Some(status) = plan(&quota, &found, Timestamp::now()) {
            self.write(key, quota, status).await?;
        }
        Ok(Requeue::After(RESYNC))
    }

    fn found(&self, quota: &Value, namespace: &str) -> Vec<Found> {
        let counted = self.counted.read().clone();
        let hard = map_at(quota, &["spec", "hard"]);
        let named = |counted: &&Arc<Counted>| {
            hard.is_some_and(|hard| hard.keys().any(|name| counted.evaluator.measures(name)))
        };
        let found = |counted: &Arc<Counted>| Found {
            evaluator: counted.evaluator.clone(),
            objects: (counted.list)(namespace),
        };
        counted.iter().filter(named).map(found).collect()
    }

    /// Writes the status if the quota is still the one that was looked at.
    async fn write(&self, key: &ObjectKey, quota: Value, status: Value) -> Result<(), Error> {
        let mut quota = quota;
        quota["status"] = status;
        let quota: ResourceQuota = serde_json::from_value(quota).map_err(Error::SerdeError)?;
        let api: Api<ResourceQuota> = Api::namespaced(self.context.client.clone(), &key.namespace);
        match api.replace_status(&key.name, &PostParams::default(), &quota).await {
            Err(Error::Api(status)) if status.is_not_found() => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

fn as_json<K: Serialize>(object: &K) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// The status that a quota should have; `None` if it has it.
fn plan(quota: &Value, found: &[Found], now: Timestamp) -> Option<Value> {
    if meta::deletion_timestamp(quota).is_some() {
        return None;
    }
    let hard = amounts(quota, &["spec", "hard"]);
    let mut used = Amounts::new();
    for Found { evaluator, objects } in found {
        for name in hard.keys().filter(|name| evaluator.measures(name)) {
            used.entry(name.clone()).or_default();
        }
        for object in objects.iter().filter(|object| evaluator.in_scopes(quota, object)) {
            let mut uses = evaluator.usage(object, now);
            uses.retain(|name, _| hard.contains_key(name));
            add(&mut used, &uses);
        }
    }
    let same =
        amounts(quota, &["status", "hard"]) == hard && amounts(quota, &["status", "used"]) == used;
    (!same).then(|| json!({"hard": quota["spec"]["hard"], "used": to_value(&used)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: &str, cpu: &str) -> Value {
        json!({"status": {"phase": phase}, "spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    #[test]
    fn a_quota_counts_what_is_in_its_scopes() {
        let hard = json!({"pods": "5", "requests.cpu": "4", "count/deployments.apps": "3",
            "count/unknown.a.io": "1"});
        let mut quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
        let pods = vec![pod("Running", "1"), pod("Pending", "500m"), pod("Failed", "2")];
        let deployments = Evaluator::of("apps", "deployments").unwrap();
        let found = |pods: Vec<Value>| {
            let objects = vec![Value::Null; 2];
            [
                Found { evaluator: Evaluator::Pods, objects: pods },
                Found { evaluator: deployments.clone(), objects },
            ]
        };
        let status = plan(&quota, &found(pods.clone()), Timestamp::now()).unwrap();
        assert_eq!(status["hard"], quota["spec"]["hard"]);
        assert_eq!(
            status["used"],
            json!({"pods": "2", "requests.cpu": "1500m", "count/deployments.apps": "2"}),
            "what is not served is not counted"
        );
        quota["status"] = status;
        assert_eq!(plan(&quota, &found(pods.clone()), Timestamp::now()), None);
        quota["spec"]["scopes"] = json!(["BestEffort"]);
        let status = plan(&quota, &found(pods), Timestamp::now()).unwrap();
        assert_eq!(status["used"]["pods"], "0");
    }
}
