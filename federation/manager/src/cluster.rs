//! Cluster: members are connected, probed, described, tainted, and let go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret};
use hansa_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use hansa_api::quantity::Quantity as Amount;
use hansa_client::kube::api::{Api, ObjectMeta, PostParams};
use hansa_client::kube::runtime::watcher;
use hansa_client::{Change, Informer, ObjectKey, Requeue, Workqueue, message_of, run_workers};
use hansa_federation_api::health::{self, Probe, Streak};
use hansa_federation_api::kinds::{
    ApiEnablement, Cluster, ClusterStatus, NodeSummary, ResourceSummary, SyncMode,
};
use hansa_federation_api::names;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::binding::{delete_work, drop_finalizer};
use crate::config::Config;
use crate::diff::{Part, write};
use crate::error::{Error, Result, code, found};
use crate::hub::{Hub, exactly};
use crate::members::{Access, Member, Members};
use crate::wiring::follow;
use crate::{credentials, execution, work_status};

/// How often a member is asked what it serves.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);

struct Clusters {
    hub: Arc<Hub>,
    members: Arc<Members>,
    config: Config,
    secrets: Informer<Secret>,
    probing: Mutex<HashMap<String, CancellationToken>>,
    stop: CancellationToken,
}

/// Runs until `stop`.
pub async fn run(hub: Arc<Hub>, members: Arc<Members>, config: Config, stop: CancellationToken) {
    let of_members = format!("metadata.namespace={}", names::CLUSTER_NAMESPACE);
    let secrets = hub.informers.of_with(watcher::Config::default().fields(&of_members));
    secrets.synced().await;
    let queue: Workqueue<ObjectKey> = Workqueue::new();
    follow(&hub.clusters, &queue, &stop, |change| vec![change.key()]);
    let of_secret = hub.clone();
    follow(&secrets, &queue, &stop, move |change| users_of(&of_secret, &change.key()));
    route_works(&hub, &members, &queue, &stop);
    let clusters = Arc::new(Clusters {
        hub,
        members,
        config,
        secrets,
        probing: Mutex::default(),
        stop: stop.clone(),
    });
    run_workers(queue, 2, stop, |key| reconcile(clusters.clone(), key)).await;
}

/// The members whose credential a Secret holds.
fn users_of(hub: &Hub, secret: &ObjectKey) -> Vec<ObjectKey> {
    let uses = |c: &Arc<Cluster>| {
        let reference = c.spec.secret_ref.as_ref();
        reference.is_some_and(|r| r.namespace == secret.namespace && r.name == secret.name)
    };
    hub.clusters.list().into_iter().filter(uses).map(|c| ObjectKey::of(&*c)).collect()
}

/// Hands each Work to its member's queues; of a member on its way out, tells when one is gone.
fn route_works(
    hub: &Arc<Hub>,
    members: &Arc<Members>,
    queue: &Workqueue<ObjectKey>,
    stop: &CancellationToken,
) {
    let (members, clusters) = (members.clone(), hub.clusters.clone());
    follow(&hub.works, queue, stop, move |change| {
        let key = change.key();
        let cluster = names::cluster_of_execution_namespace(&key.namespace).unwrap_or_default();
        if let Some(member) = members.get(cluster) {
            member.execution.add(key.clone());
        }
        let gone = matches!(change, Change::Deleted(_));
        let leaving = || clusters.get("", cluster).is_some_and(|c| c.is_leaving());
        if gone && leaving() { vec![ObjectKey::new("", cluster)] } else { Vec::new() }
    });
}

async fn reconcile(clusters: Arc<Clusters>, key: ObjectKey) -> Result<Requeue> {
    let Some(cluster) = clusters.hub.clusters.get_key(&key) else {
        clusters.forget(&key.name);
        return Ok(Requeue::Done);
    };
    if cluster.spec.sync_mode == SyncMode::Pull {
        clusters.forget(&key.name);
        return Ok(Requeue::Done);
    }
    clusters.connect(&cluster);
    if cluster.is_leaving() {
        return clusters.release(&cluster).await;
    }
    clusters.prepare(&cluster).await?;
    clusters.clone().probe(&key.name);
    Ok(Requeue::Done)
}

impl Clusters {
    fn forget(&self, name: &str) {
        if let Some(stop) = self.probing.lock().remove(name) {
            stop.cancel();
        }
        self.members.disconnect(name);
    }

    /// Connects, if what is known has changed, and starts what works over the connection.
    fn connect(&self, cluster: &Cluster) {
        let reference = cluster.spec.secret_ref.clone().unwrap_or_default();
        let secret = self.secrets.get(&reference.namespace, &reference.name);
        let access = Access::from(cluster, secret.as_deref());
        let Some(member) = self.members.connect(cluster.name(), access) else { return };
        tracing::info!(cluster = cluster.name(), "connected");
        let (hub, workers) = (self.hub.clone(), self.config.workers);
        tokio::spawn(execution::run(hub.clone(), member.clone(), workers));
        tokio::spawn(work_status::run_reports(hub.clone(), member.clone(), workers));
        tokio::spawn(credentials::run(hub, member.clone(), reference));
        for work in self.hub.works.list_in(&names::execution_namespace(cluster.name())) {
            member.execution.add(ObjectKey::of(&*work));
        }
    }

    /// Makes the namespace of the member's Works and sets the finalizer.
    async fn prepare(&self, cluster: &Cluster) -> Result<()> {
        let mut next = cluster.clone();
        let finalizers = next.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|f| f == names::CLUSTER_FINALIZER) {
            finalizers.push(names::CLUSTER_FINALIZER.into());
            let api: Api<Cluster> = Api::all(self.hub.client.clone());
            write(&api, cluster, &next, Part::Main).await.map_err(Error::Hub)?;
            ensure_namespace(&self.hub, cluster.name()).await?;
        }
        Ok(())
    }

    /// Lets a member go: first its Works, then their namespace, last the finalizer.
    async fn release(&self, cluster: &Cluster) -> Result<Requeue> {
        let namespace = names::execution_namespace(cluster.name());
        let works = self.hub.works.list_in(&namespace);
        for work in &works {
            delete_work(&self.hub, work).await?;
        }
        if !works.is_empty() {
            return Ok(Requeue::After(Duration::from_secs(2)));
        }
        let namespaces: Api<Namespace> = Api::all(self.hub.client.clone());
        let live = namespaces.get_opt(&namespace).await.map_err(Error::Hub)?;
        if let Some(live) = live {
            let gone = namespaces.delete(&namespace, &exactly(&live.metadata)).await;
            found(gone).map_err(Error::Hub)?;
        }
        self.forget(cluster.name());
        let mut next = cluster.clone();
        drop_finalizer(&mut next.metadata, names::CLUSTER_FINALIZER);
        let api: Api<Cluster> = Api::all(self.hub.client.clone());
        match write(&api, cluster, &next, Part::Main).await {
            Err(error) if code(&error) == Some(404) => Ok(Requeue::Done),
            other => other.map(|_| Requeue::Done).map_err(Error::Hub),
        }
    }

    /// Starts to probe a member, once.
    fn probe(self: Arc<Self>, name: &str) {
        let mut probing = self.probing.lock();
        if probing.contains_key(name) {
            return;
        }
        let stop = self.stop.child_token();
        probing.insert(name.into(), stop.clone());
        drop(probing);
        let prober = Prober {
            hub: self.hub.clone(),
            members: self.members.clone(),
            config: self.config.clone(),
            name: name.into(),
            streak: Streak::default(),
            enablements: None,
            asked: None,
        };
        tokio::spawn(prober.run(stop));
    }
}

async fn ensure_namespace(hub: &Hub, cluster: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(hub.client.clone());
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(names::execution_namespace(cluster)),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    match namespaces.create(&PostParams::default(), &namespace).await {
        Err(error) if code(&error) == Some(409) => Ok(()),
        other => other.map(drop).map_err(Error::Hub),
    }
}

/// Probes one member, period after period.
struct Prober {
    hub: Arc<Hub>,
    members: Arc<Members>,
    config: Config,
    name: String,
    streak: Streak,
    enablements: Option<Vec<ApiEnablement>>,
    asked: Option<tokio::time::Instant>,
}

impl Prober {
    async fn run(mut self, stop: CancellationToken) {
        let mut period = tokio::time::interval(self.config.probe_period);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = period.tick() => {}
            }
            if let Err(error) = self.round().await {
                tracing::debug!(cluster = %self.name, %error, "failed to write what a probe found");
            }
        }
    }

    async fn round(&mut self) -> Result<()> {
        let member = self.members.get(&self.name);
        let probe = match &member {
            Some(member) => probe(member).await,
            None => {
                let why = self.members.refusal(&self.name);
                Probe::Malformed(why.unwrap_or_else(|| "not connected yet".into()))
            }
        };
        let settled = self.streak.count(&probe, self.config.thresholds());
        if probe == Probe::Ready
            && let Some(member) = &member
        {
            member.answers();
            self.discover(member).await;
        }
        let Some(cluster) = self.hub.clusters.get("", &self.name) else { return Ok(()) };
        let next = self.described(&cluster, &probe, settled, member.as_deref()).await;
        let api: Api<Cluster> = Api::all(self.hub.client.clone());
        let written = write(&api, &*cluster, &next, Part::Status).await.map_err(Error::Hub)?;
        self.taint(&api, written.as_ref().unwrap_or(&cluster)).await
    }

    /// Asks the member what it serves, now and then.
    async fn discover(&mut self, member: &Member) {
        if self.asked.is_some_and(|at| at.elapsed() < DISCOVERY_PERIOD) {
            return;
        }
        match member.call(member.kinds.refresh()).await {
            Ok(enablements) => {
                self.enablements = Some(enablements);
                self.asked = Some(tokio::time::Instant::now());
            }
            Err(error) => tracing::debug!(cluster = %self.name, %error, "discovery failed"),
        }
    }

    async fn described(
        &self,
        cluster: &Cluster,
        probe: &Probe,
        settled: bool,
        member: Option<&Member>,
    ) -> Cluster {
        let mut next = cluster.clone();
        let now = Timestamp::now();
        if settled || cluster.condition("Ready").is_none() {
            let ready = health::ready_condition(cluster.condition("Ready"), probe, now);
            set(&mut next.status, ready);
        }
        let Some(member) = member.filter(|_| *probe == Probe::Ready) else { return next };
        if let Some(enablements) = &self.enablements {
            next.status.api_enablements = enablements.clone();
            let before = cluster.condition("CompleteAPIEnablements");
            let complete = health::condition(
                before,
                "CompleteAPIEnablements",
                "True",
                "Complete",
                "collected the complete APIEnablements from the cluster",
                now,
            );
            set(&mut next.status, complete);
        }
        if let Ok(version) = member.call(member.client.apiserver_version()).await {
            next.status.kubernetes_version = version.git_version;
        }
        summarize(member, &mut next.status);
        next
    }

    async fn taint(&self, api: &Api<Cluster>, cluster: &Cluster) -> Result<()> {
        let patience = self.config.patience();
        let ready = cluster.condition("Ready");
        let (taints, _) = health::taints(&cluster.spec.taints, ready, patience, Timestamp::now());
        let mut next = cluster.clone();
        next.spec.taints = taints;
        write(api, cluster, &next, Part::Main).await.map(drop).map_err(Error::Hub)
    }
}

/// Asks a member how it is: `/readyz`, or `/healthz` where that is not served.
async fn probe(member: &Member) -> Probe {
    let mut outcome = member.call(get(member, "/readyz")).await;
    if matches!(&outcome, Err(Error::Member(error)) if code(error) == Some(404)) {
        outcome = member.call(get(member, "/healthz")).await;
    }
    match outcome {
        Ok(_) => Probe::Ready,
        Err(Error::Member(error)) if matches!(code(&error), Some(401 | 403)) => Probe::Malformed(
            format!("the member refuses the hub's credential: {}", message_of(&error)),
        ),
        Err(Error::Member(error)) if code(&error).is_some() => Probe::NotReady(message_of(&error)),
        Err(error) => Probe::Unreachable(format!("failed to {error}")),
    }
}

async fn get(member: &Member, path: &str) -> Result<String, hansa_client::kube::Error> {
    let request = http::Request::get(path).body(Vec::new());
    let request = request.expect("a constant path makes a request");
    member.client.request_text(request).await
}

fn set(
    status: &mut ClusterStatus,
    condition: hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition,
) {
    match status.conditions.iter_mut().find(|c| c.type_ == condition.type_) {
        Some(place) => *place = condition,
        None => status.conditions.push(condition),
    }
}

/// Counts a member's nodes and sums their resources, once they are known.
fn summarize(member: &Member, status: &mut ClusterStatus) {
    let (nodes, pods) = (member.informers.of::<Node>(), member.informers.of::<Pod>());
    if !nodes.is_synced() || !pods.is_synced() {
        return;
    }
    let (nodes, pods) = (nodes.list(), pods.list());
    let ready = nodes.iter().filter(|n| is_ready(n)).count();
    status.node_summary = Some(NodeSummary {
        total_num: i32::try_from(nodes.len()).unwrap_or(i32::MAX),
        ready_num: i32::try_from(ready).unwrap_or(i32::MAX),
    });
    status.resource_summary = Some(sum(&nodes, &pods));
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn is_usable(node: &Node) -> bool {
    is_ready(node) && node.spec.as_ref().is_none_or(|s| s.unschedulable != Some(true))
}

type Sums = BTreeMap<String, Amount>;

/// What usable nodes can give, what pods on nodes ask for, and what pods ask for that wait.
fn sum(nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> ResourceSummary {
    let (mut allocatable, mut allocated, mut allocating) = (Sums::new(), Sums::new(), Sums::new());
    for node in nodes.iter().filter(|n| is_usable(n)) {
        let has = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
        has.into_iter().flatten().for_each(|(name, amount)| add(&mut allocatable, name, amount));
    }
    let one = Quantity("1".into());
    for pod in pods {
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
        let Some(spec) = pod.spec.as_ref().filter(|_| !["Succeeded", "Failed"].contains(&phase))
        else {
            continue;
        };
        let into = if spec.node_name.is_some() { &mut allocated } else { &mut allocating };
        add(into, "pods", &one);
        for container in &spec.containers {
            let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
            requests.into_iter().flatten().for_each(|(name, amount)| add(into, name, amount));
        }
    }
    let text = |sums: Sums| sums.into_iter().map(|(k, v)| (k, Quantity(v.to_string()))).collect();
    ResourceSummary {
        allocatable: text(allocatable),
        allocated: text(allocated),
        allocating: text(allocating),
    }
}

fn add(sums: &mut Sums, name: &str, amount: &Quantity) {
    let Ok(amount) = amount.0.parse::<Amount>() else { return };
    let sum = match sums.remove(name) {
        Some(so_far) => so_far + amount,
        None => amount,
    };
    sums.insert(name.into(), sum);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sums_count_what_can_be_used_and_who_uses_it() {
        let node = |ready: &str, unschedulable: bool| -> Arc<Node> {
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": "n"},
                    "spec": {"unschedulable": unschedulable},
                    "status": {"allocatable": {"cpu": "2", "pods": "10"},
                        "conditions": [{"type": "Ready", "status": ready}]}}))
                .unwrap(),
            )
        };
        let pod = |node: serde_json::Value, phase: &str| -> Arc<Pod> {
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": "p"},
                    "spec": {"nodeName": node, "containers": [
                        {"name": "c", "resources": {"requests": {"cpu": "250m"}}}]},
                    "status": {"phase": phase}}))
                .unwrap(),
            )
        };
        let nodes = [node("True", false), node("False", false), node("True", true)];
        let pods =
            [pod(json!("n"), "Running"), pod(json!(null), "Pending"), pod(json!("n"), "Succeeded")];
        let summary = sum(&nodes, &pods);
        assert_eq!(summary.allocatable["cpu"].0, "2");
        assert_eq!(summary.allocated["cpu"].0, "250m");
        assert_eq!(summary.allocated["pods"].0, "1");
        assert_eq!(summary.allocating["pods"].0, "1");
    }
}
