//! Services of type LoadBalancer: the provider makes the balancer, the status tells its addresses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use hansa_api::k8s_openapi::api::core::v1::{Node, Service};
use hansa_client::kube::api::{Api, Patch, PatchParams};
use hansa_client::kube::{self, Client, Resource};
use hansa_client::{
    Change, Event, EventType, Informer, Informers, ObjectKey, Recorder, Requeue, Workqueue,
    run_workers,
};
use hansa_extension::cloud::{CloudProvider, LbIngress, LbSpec, NodeRef};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Config, Error, convert};

/// The finalizer that keeps a Service until its balancer is gone.
pub const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
/// Nodes with this label are behind no balancer.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// What a provider was last told of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The Service.
    pub spec: LbSpec,
    /// The nodes behind it.
    pub nodes: Vec<NodeRef>,
}

/// What is to be done about a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// It has or may have a balancer and must not have one.
    Delete,
    /// It needs one: nobody told the provider yet, or the Service has changed.
    Ensure,
    /// It has one, and other nodes belong behind it.
    Update,
}

/// Compares what is wanted of a Service with what the provider was last told (none after a start).
pub fn plan(service: &Service, now: &Told, told: Option<&Told>) -> Step {
    let finalized = has_finalizer(service);
    match wants_balancer(service) {
        false if finalized || told.is_some() => Step::Delete,
        false => Step::Nothing,
        true => match told {
            Some(told) if !finalized || !same_service(&told.spec, &now.spec) => Step::Ensure,
            Some(_) if convert::ingress(service).is_empty() => Step::Ensure,
            Some(told) if told.nodes != now.nodes => Step::Update,
            Some(_) => Step::Nothing,
            None => Step::Ensure,
        },
    }
}

/// The addresses come from the provider: they are not what the user wants.
fn same_service(a: &LbSpec, b: &LbSpec) -> bool {
    LbSpec { current: Vec::new(), ..a.clone() } == LbSpec { current: Vec::new(), ..b.clone() }
}

/// Whether the Service is ours and lives: a class names another implementation.
fn wants_balancer(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    service.metadata.deletion_timestamp.is_none()
        && spec.is_some_and(|spec| {
            spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none()
        })
}

fn has_finalizer(service: &Service) -> bool {
    service.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Whether a node belongs behind balancers: it stays and is not excluded.
fn is_eligible(node: &Node) -> bool {
    let excluded = node.metadata.labels.as_ref().is_some_and(|l| l.contains_key(EXCLUDED));
    node.metadata.deletion_timestamp.is_none() && !excluded
}

/// The nodes that belong behind balancers, by name.
pub fn eligible(nodes: &[Arc<Node>]) -> Vec<NodeRef> {
    let stays = nodes.iter().filter(|node| is_eligible(node));
    let mut refs: Vec<NodeRef> = stays.map(|node| convert::node_ref(node)).collect();
    refs.sort_by(|a, b| a.name.cmp(&b.name));
    refs
}

/// Notes what a change means for the nodes behind balancers; whether it means anything.
fn takes(known: &mut HashMap<String, NodeRef>, change: &Change<Node>) -> bool {
    let node = change.object();
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let gone = matches!(change, Change::Deleted(_));
    let now = (!gone && is_eligible(node)).then(|| convert::node_ref(node));
    if known.get(name) == now.as_ref() {
        return false;
    }
    match now {
        Some(now) => known.insert(name.to_owned(), now),
        None => known.remove(name),
    };
    true
}

/// Reconciles Services with the cloud.
pub struct Controller {
    client: Client,
    cluster: String,
    services: Informer<Service>,
    nodes: Informer<Node>,
    provider: Arc<dyn CloudProvider>,
    recorder: Recorder,
    told: Mutex<HashMap<ObjectKey, Told>>,
}

impl Controller {
    /// A controller over the informers' Services and nodes.
    pub fn new(
        config: &Config,
        informers: &Informers,
        provider: Arc<dyn CloudProvider>,
        recorder: Recorder,
    ) -> Controller {
        Controller {
            client: informers.client().clone(),
            cluster: config.cluster_name.clone(),
            services: informers.of(),
            nodes: informers.of(),
            provider,
            recorder,
            told: Mutex::default(),
        }
    }

    /// Works until `stop`.
    pub async fn run(&self, workers: usize, stop: CancellationToken) {
        self.nodes.synced().await;
        self.services.synced().await;
        self.adopt().await;
        let queue = Workqueue::new();
        let work = run_workers(queue.clone(), workers, stop, |key| self.reconcile(key));
        tokio::join!(self.feed_services(&queue), self.feed_nodes(&queue), work);
    }

    /// Tells a provider that may know nothing yet of the Services that have an address, before a new
    /// one could be given the same.
    async fn adopt(&self) {
        let has_address =
            |service: &Service| wants_balancer(service) && !convert::ingress(service).is_empty();
        for service in self.services.list().iter().filter(|service| has_address(service)) {
            let key = ObjectKey::of(&**service);
            if let Err(error) = self.reconcile(key.clone()).await {
                tracing::debug!(service = %key, %error, "failed to tell of a balancer, will retry");
            }
        }
    }

    async fn feed_services(&self, queue: &Workqueue<ObjectKey>) {
        let mut changes = self.services.subscribe();
        while let Some(change) = changes.recv().await {
            queue.add(change.key());
        }
    }

    /// A change of the nodes behind balancers concerns every Service that has one.
    async fn feed_nodes(&self, queue: &Workqueue<ObjectKey>) {
        let mut changes = self.nodes.subscribe();
        let mut known = HashMap::new();
        while let Some(change) = changes.recv().await {
            if takes(&mut known, &change) {
                let services = self.services.list();
                let balanced = services.iter().filter(|service| wants_balancer(service));
                balanced.for_each(|service| queue.add(ObjectKey::of(&**service)));
            }
        }
    }

    /// Brings one Service in line with the cloud.
    ///
    /// # Errors
    /// The provider or the API server failed; the finalizer stays until the balancer is gone.
    pub async fn reconcile(&self, key: ObjectKey) -> Result<Requeue, Error> {
        let Some(service) = self.services.get_key(&key) else {
            self.forget(&key);
            return Ok(Requeue::Done);
        };
        let spec = convert::lb_spec(&self.cluster, &service);
        let now = Told { spec, nodes: eligible(&self.nodes.list()) };
        let told = self.told.lock().expect("no holder panics").get(&key).cloned();
        let done = match plan(&service, &now, told.as_ref()) {
            Step::Nothing => Ok(()),
            Step::Delete => self.delete(&key, &service, &now.spec).await,
            Step::Ensure => self.ensure(&key, &service, now).await,
            Step::Update => self.update(&key, now).await,
        };
        if let Err(error) = &done {
            let note = format!("Error syncing load balancer: failed to {error}");
            self.event(&service, EventType::Warning, "SyncLoadBalancerFailed", note).await;
        }
        done.map(|()| Requeue::Done)
    }

    async fn ensure(&self, key: &ObjectKey, service: &Service, now: Told) -> Result<(), Error> {
        if !has_finalizer(service) {
            self.add_finalizer(key, service).await?;
        }
        let note = "Ensuring load balancer".to_owned();
        self.event(service, EventType::Normal, "EnsuringLoadBalancer", note).await;
        let ingress = self.provider.ensure_load_balancer(&now.spec, &now.nodes).await?;
        self.write_status(key, service, &ingress).await?;
        self.told.lock().expect("no holder panics").insert(key.clone(), now);
        let note = "Ensured load balancer".to_owned();
        self.event(service, EventType::Normal, "EnsuredLoadBalancer", note).await;
        Ok(())
    }

    async fn update(&self, key: &ObjectKey, now: Told) -> Result<(), Error> {
        self.provider.update_load_balancer(&now.spec, &now.nodes).await?;
        self.told.lock().expect("no holder panics").insert(key.clone(), now);
        Ok(())
    }

    async fn delete(&self, key: &ObjectKey, service: &Service, spec: &LbSpec) -> Result<(), Error> {
        let note = "Deleting load balancer".to_owned();
        self.event(service, EventType::Normal, "DeletingLoadBalancer", note).await;
        self.provider.delete_load_balancer(spec).await?;
        if service.metadata.deletion_timestamp.is_none() {
            self.write_status(key, service, &[]).await?;
        }
        self.remove_finalizer(key, service).await?;
        self.forget(key);
        let note = "Deleted load balancer".to_owned();
        self.event(service, EventType::Normal, "DeletedLoadBalancer", note).await;
        Ok(())
    }

    fn forget(&self, key: &ObjectKey) {
        self.told.lock().expect("no holder panics").remove(key);
    }

    async fn add_finalizer(&self, key: &ObjectKey, service: &Service) -> Result<(), Error> {
        let mut finalizers = service.metadata.finalizers.clone().unwrap_or_default();
        finalizers.push(FINALIZER.into());
        // The list is replaced whole: only in the state that was read.
        let version = &service.metadata.resource_version;
        let patch = json!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } });
        let services: Api<Service> = Api::namespaced(self.client.clone(), &key.namespace);
        services.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn remove_finalizer(&self, key: &ObjectKey, service: &Service) -> Result<(), Error> {
        let mut finalizers = service.metadata.finalizers.iter().flatten();
        let Some(at) = finalizers.position(|finalizer| finalizer == FINALIZER) else {
            return Ok(());
        };
        let path = format!("/metadata/finalizers/{at}");
        let patch = serde_json::from_value(json!([
            { "op": "test", "path": path, "value": FINALIZER },
            { "op": "remove", "path": path },
        ]));
        let patch = Patch::<()>::Json(patch.expect("the operations above are a JSON patch"));
        let services: Api<Service> = Api::namespaced(self.client.clone(), &key.namespace);
        match services.patch(&key.name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => Ok(done.map(|_| ())?),
        }
    }

    async fn write_status(
        &self,
        key: &ObjectKey,
        service: &Service,
        ingress: &[LbIngress],
    ) -> Result<(), Error> {
        let published: Vec<_> = ingress.iter().map(convert::published).collect();
        if published == convert::ingress(service) {
            return Ok(());
        }
        let value = if published.is_empty() { Value::Null } else { json!(published) };
        let patch = json!({ "status": { "loadBalancer": { "ingress": value } } });
        let services: Api<Service> = Api::namespaced(self.client.clone(), &key.namespace);
        services.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn event(&self, service: &Service, kind: EventType, reason: &str, note: String) {
        let event = Event {
            type_: kind,
            reason: reason.into(),
            note: Some(note),
            action: "SyncLoadBalancer".into(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &service.object_ref(&())).await {
            tracing::debug!(%error, "could not write an event");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value, meta: Value, ingress: Value) -> Service {
        let service = json!({
            "metadata": meta,
            "spec": spec,
            "status": { "loadBalancer": { "ingress": ingress } },
        });
        serde_json::from_value(service).unwrap()
    }

    fn told(nodes: &[&str]) -> Told {
        let nodes = nodes.iter().map(|n| NodeRef { name: (*n).into(), ..NodeRef::default() });
        Told { spec: LbSpec::default(), nodes: nodes.collect() }
    }

    #[test]
    fn only_nodes_that_come_go_or_change_for_balancers_count() {
        let node = |meta: Value| -> Arc<Node> {
            Arc::new(serde_json::from_value(json!({ "metadata": meta })).unwrap())
        };
        let seen = |new: &Arc<Node>| Change::Applied { old: None, new: new.clone() };
        let (plain, excluded) = (
            node(json!({ "name": "a" })),
            node(json!({ "name": "a", "labels": { EXCLUDED: "" } })),
        );
        let mut known = HashMap::new();
        assert!(takes(&mut known, &seen(&plain)));
        assert!(!takes(&mut known, &seen(&plain)));
        assert!(takes(&mut known, &seen(&excluded)));
        assert!(!takes(&mut known, &Change::Deleted(excluded)));
        assert!(takes(&mut known, &seen(&plain)));
        assert!(takes(&mut known, &Change::Deleted(plain)));
    }

    #[test]
    fn a_balancer_is_made_once_and_then_follows_the_nodes() {
        let wanted = json!({ "type": "LoadBalancer" });
        let ours = json!({ "finalizers": [FINALIZER] });
        let ready = service(wanted.clone(), ours.clone(), json!([{ "ip": "192.0.2.1" }]));
        let bare = service(wanted, ours, json!([]));
        let (one, two) = (told(&["a"]), told(&["a", "b"]));
        assert_eq!(plan(&bare, &one, None), Step::Ensure);
        assert_eq!(plan(&bare, &one, Some(&one)), Step::Ensure, "it has no address");
        assert_eq!(plan(&ready, &one, Some(&one)), Step::Nothing);
        assert_eq!(plan(&ready, &two, Some(&one)), Step::Update);
        let mut other = one.clone();
        other.spec.current = vec![LbIngress { ip: "192.0.2.1".into(), ..LbIngress::default() }];
        assert_eq!(plan(&ready, &other, Some(&one)), Step::Nothing, "addresses are no wish");
        other.spec.session_affinity = true;
        assert_eq!(plan(&ready, &other, Some(&one)), Step::Ensure);
    }

    #[test]
    fn a_balancer_goes_with_its_service_and_with_its_type() {
        let ours = json!({ "finalizers": [FINALIZER] });
        let was = service(json!({ "type": "ClusterIP" }), ours.clone(), json!([]));
        assert_eq!(plan(&was, &told(&[]), None), Step::Delete);
        let never = service(json!({ "type": "ClusterIP" }), json!({}), json!([]));
        assert_eq!(plan(&never, &told(&[]), None), Step::Nothing);
        let deleted =
            json!({ "finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z" });
        let deleted = service(json!({ "type": "LoadBalancer" }), deleted, json!([]));
        assert_eq!(plan(&deleted, &told(&[]), None), Step::Delete);
        let class = json!({ "type": "LoadBalancer", "loadBalancerClass": "example.com/other" });
        assert_eq!(plan(&service(class, json!({}), json!([])), &told(&[]), None), Step::Nothing);
    }

    #[test]
    fn excluded_and_leaving_nodes_are_behind_no_balancer() {
        let node = |meta: Value| -> Arc<Node> {
            Arc::new(serde_json::from_value(json!({ "metadata": meta })).unwrap())
        };
        let nodes = [
            node(json!({ "name": "b" })),
            node(json!({ "name": "a" })),
            node(json!({ "name": "x", "labels": { EXCLUDED: "" } })),
            node(json!({ "name": "y", "deletionTimestamp": "2026-01-01T00:00:00Z" })),
        ];
        let names: Vec<_> = eligible(&nodes).into_iter().map(|node| node.name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
