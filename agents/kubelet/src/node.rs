//! The node object: registration, status, and the lease that says the kubelet is alive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansa_api::k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use hansa_api::k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints,
    NodeSpec, NodeStatus, Taint,
};
use hansa_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    MicroTime, ObjectMeta, OwnerReference, Time,
};
use hansa_client::kube::api::{Patch, PatchParams, PostParams};
use hansa_client::kube::{Api, Client, Error as KubeError};
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::context::{Context, now};
use crate::machine;

/// Where node leases live.
const LEASES: &str = "kube-node-lease";

/// Most images named in the status, as upstream.
const MOST_IMAGES: usize = 50;

/// A status without change is sent again after this, for its heartbeat times.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Between the first tries while the API server or the pod CIDR is not there; it doubles from try to
/// try, or many nodes that start at once would keep each other waiting.
const EAGER: Duration = Duration::from_millis(200);

/// The node at its registration.
#[must_use]
pub fn node(config: &Config) -> Node {
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_string(), config.node_name.clone()),
        ("kubernetes.io/os".to_string(), "linux".to_string()),
        ("kubernetes.io/arch".to_string(), machine::architecture().to_string()),
        ("beta.kubernetes.io/os".to_string(), "linux".to_string()),
        ("beta.kubernetes.io/arch".to_string(), machine::architecture().to_string()),
    ]);
    labels.extend(config.labels.clone());
    let mut taints = config.taints.clone();
    if config.external_cloud {
        taints.push(Taint {
            key: "node.cloudprovider.kubernetes.io/uninitialized".to_string(),
            value: Some("true".to_string()),
            effect: "NoSchedule".to_string(),
            time_added: None,
        });
    }
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!taints.is_empty()).then_some(taints),
            provider_id: config.provider_id.clone(),
            ..NodeSpec::default()
        }),
        status: None,
    }
}

/// What the status depends on besides settings.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The runtime's conditions; `Err` says why it does not answer.
    pub runtime: Vec<cri::RuntimeCondition>,
    /// The runtime's images.
    pub images: Vec<cri::Image>,
    /// Port of the HTTPS server.
    pub port: u16,
}

/// The node's status.
#[must_use]
pub fn status(context: &Context, old: &NodeStatus, facts: &Facts, now: Timestamp) -> NodeStatus {
    let amounts = context.allocatable.iter();
    let all: BTreeMap<_, _> =
        amounts.map(|(name, amount)| (name.clone(), Quantity(amount.clone()))).collect();
    let kubelet = DaemonEndpoint { port: i32::from(facts.port) };
    NodeStatus {
        capacity: Some(all.clone()),
        allocatable: Some(all),
        addresses: Some(addresses(&context.config, old)),
        conditions: Some(conditions(old, &facts.runtime, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(kubelet) }),
        images: Some(images(&facts.images)),
        node_info: Some(machine::system_info(&context.runtime)),
        ..NodeStatus::default()
    }
}

/// A cloud-controller-manager knows the addresses better, once it has set them; one that knew only
/// the name asked before this kubelet had said where it is.
fn addresses(config: &Config, old: &NodeStatus) -> Vec<NodeAddress> {
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_string(), address };
    let reachable = |old: &&Vec<NodeAddress>| old.iter().any(|a| a.type_ != "Hostname");
    match old.addresses.as_ref().filter(|old| config.external_cloud && reachable(old)) {
        Some(old) => old.clone(),
        None => vec![
            address("InternalIP", config.address.to_string()),
            address("Hostname", config.node_name.clone()),
        ],
    }
}

fn images(images: &[cri::Image]) -> Vec<ContainerImage> {
    let mut images: Vec<_> = images
        .iter()
        .map(|image| ContainerImage {
            names: Some(image.repo_digests.iter().chain(&image.repo_tags).cloned().collect()),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .collect();
    images.sort_by_key(|image| std::cmp::Reverse(image.size_bytes));
    images.truncate(MOST_IMAGES);
    images
}

fn conditions(
    old: &NodeStatus,
    runtime: &[cri::RuntimeCondition],
    now: Timestamp,
) -> Vec<NodeCondition> {
    let bad = runtime.iter().find(|condition| !condition.status);
    let ready = match bad {
        _ if runtime.is_empty() => {
            ("False", "KubeletNotReady", "container runtime is down".to_string())
        }
        Some(bad) => {
            let what = if bad.r#type == "NetworkReady" { "network" } else { "runtime" };
            let text = format!(
                "container runtime {what} not ready: {}=false reason:{} message:{}",
                bad.r#type, bad.reason, bad.message
            );
            ("False", "KubeletNotReady", text)
        }
        None => ("True", "KubeletReady", "kubelet is posting ready status".to_string()),
    };
    let fine = |reason, message: &str| ("False", reason, message.to_string());
    let own = [
        (
            "MemoryPressure",
            fine("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        ("DiskPressure", fine("KubeletHasNoDiskPressure", "kubelet has no disk pressure")),
        ("PIDPressure", fine("KubeletHasSufficientPID", "kubelet has sufficient PID available")),
        ("Ready", ready),
    ];
    let before = old.conditions.clone().unwrap_or_default();
    let mut all: Vec<NodeCondition> = own
        .into_iter()
        .map(|(kind, (status, reason, message))| {
            let same = before.iter().find(|old| old.type_ == kind && old.status == status);
            let since = same.and_then(|same| same.last_transition_time.clone());
            NodeCondition {
                type_: kind.to_string(),
                status: status.to_string(),
                reason: Some(reason.to_string()),
                message: Some(message),
                last_heartbeat_time: Some(Time(seconds(now))),
                last_transition_time: since.or(Some(Time(seconds(now)))),
            }
        })
        .collect();
    let others = before.iter().filter(|old| !all.iter().any(|own| own.type_ == old.type_));
    let others: Vec<_> = others.cloned().collect();
    all.extend(others);
    all
}

fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Whether two statuses differ in anything but heartbeat times.
fn differs(old: &NodeStatus, new: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        let keep = ["capacity", "allocatable", "addresses", "conditions", "daemonEndpoints"];
        let value = serde_json::to_value(&status).unwrap_or_default();
        let more = ["images", "nodeInfo"];
        keep.iter().chain(&more).map(|key| value.get(*key).cloned()).collect::<Vec<_>>()
    };
    still(old) != still(new)
}

/// Registers the node and keeps its status and lease until `stop`.
pub async fn run(context: Arc<Context>, client: Client, port: u16, stop: CancellationToken) {
    let lease = lease_loop(context.clone(), client.clone());
    let status = Reporter { context, client, port, cidr: None, sent: None }.run();
    tokio::select! {
        () = stop.cancelled() => {}
        () = lease => {}
        () = status => {}
    }
}

/// How long to wait until the next try: eager at first, at most the period.
struct Patience {
    period: Duration,
    next: Duration,
}

impl Patience {
    fn of(period: Duration) -> Self {
        Self { period, next: EAGER.min(period) }
    }

    /// After a try in vain.
    fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.period);
        now
    }

    /// After a try that brought what was wanted.
    fn satisfied(&mut self) -> Duration {
        *self = Self::of(self.period);
        self.period
    }
}

struct Reporter {
    context: Arc<Context>,
    client: Client,
    port: u16,
    cidr: Option<String>,
    sent: Option<Instant>,
}

impl Reporter {
    async fn run(mut self) {
        let period = self.context.config.periods.node_status;
        let mut patience = Patience::of(period);
        loop {
            let pause = match self.once().await {
                Ok(()) if self.cidr.is_some() => patience.satisfied(),
                Ok(()) => patience.next(),
                Err(error) => {
                    tracing::warn!(%error, "node status not sent");
                    patience.next()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    async fn once(&mut self) -> Result<(), KubeError> {
        let node = self.get_or_register().await?;
        let cidr = node.spec.as_ref().and_then(|spec| spec.pod_cidr.clone());
        if let Some(cidr) = cidr.filter(|cidr| self.cidr.as_ref() != Some(cidr)) {
            match self.context.cri.set_pod_cidr(&cidr).await {
                Ok(()) => self.cidr = Some(cidr),
                Err(error) => tracing::warn!(%error, "the runtime does not take the pod CIDR"),
            }
        }
        let old = node.status.unwrap_or_default();
        let new = status(&self.context, &old, &self.facts().await, now());
        let due = self.sent.is_none_or(|sent| sent.elapsed() > HEARTBEAT);
        if due || differs(&old, &new) {
            let patch = patch(&old, &new);
            let params = PatchParams::default();
            let name = &self.context.config.node_name;
            self.nodes().patch_status(name, &params, &Patch::Merge(&patch)).await?;
            self.sent = Some(Instant::now());
        }
        Ok(())
    }

    async fn get_or_register(&self) -> Result<Node, KubeError> {
        let name = &self.context.config.node_name;
        if let Some(node) = self.nodes().get_opt(name).await? {
            return Ok(node);
        }
        let created =
            self.nodes().create(&PostParams::default(), &node(&self.context.config)).await;
        tracing::info!(node = name, "registered the node");
        created
    }

    async fn facts(&self) -> Facts {
        let cri = &self.context.cri;
        Facts {
            runtime: cri.status().await.unwrap_or_default(),
            images: cri.images().await.unwrap_or_default(),
            port: self.port,
        }
    }
}

/// Changed top-level fields only.
fn patch(old: &NodeStatus, new: &NodeStatus) -> Value {
    let (old, new) = (json!(old), json!(new));
    let fields = new.as_object().into_iter().flatten();
    let changed = fields.filter(|(key, value)| old.get(key.as_str()) != Some(value));
    let changed: serde_json::Map<_, _> = changed.map(|(k, v)| (k.clone(), v.clone())).collect();
    json!({ "status": changed })
}

async fn lease_loop(context: Arc<Context>, client: Client) {
    let mut patience = Patience::of(context.config.periods.lease_renew);
    loop {
        let pause = match renew(&context, &client).await {
            Ok(true) => patience.satisfied(),
            Ok(false) => patience.next(),
            Err(error) => {
                tracing::debug!(%error, "node lease not renewed");
                patience.next()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Renews the lease, or makes it; false while the node is not registered: a lease made before that
/// would have no owner and stay when the node goes.
async fn renew(context: &Context, client: &Client) -> Result<bool, KubeError> {
    let name = &context.config.node_name;
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
    match leases.get_opt(name).await? {
        Some(mut lease) => {
            lease.spec = Some(lease_spec(context));
            leases.replace(name, &PostParams::default(), &lease).await?;
        }
        None => {
            let node = Api::<Node>::all(client.clone()).get_opt(name).await?;
            let Some(uid) = node.and_then(|node| node.metadata.uid) else { return Ok(false) };
            leases.create(&PostParams::default(), &lease(context, uid)).await?;
        }
    }
    Ok(true)
}

fn lease_spec(context: &Context) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(context.config.node_name.clone()),
        lease_duration_seconds: i32::try_from(context.config.periods.lease.as_secs()).ok(),
        renew_time: Some(MicroTime(now())),
        ..LeaseSpec::default()
    }
}

/// A lease that goes with its node.
fn lease(context: &Context, node_uid: String) -> Lease {
    let name = context.config.node_name.clone();
    let owner = OwnerReference {
        api_version: "v1".to_string(),
        kind: "Node".to_string(),
        name: name.clone(),
        uid: node_uid,
        ..OwnerReference::default()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(LEASES.to_string()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(lease_spec(context)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, ok: bool) -> cri::RuntimeCondition {
        cri::RuntimeCondition { r#type: kind.to_string(), status: ok, ..Default::default() }
    }

    fn ready(runtime: &[cri::RuntimeCondition]) -> (String, String) {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let all = conditions(&NodeStatus::default(), runtime, now);
        let ready = all.into_iter().find(|found| found.type_ == "Ready").unwrap();
        (ready.status, ready.message.unwrap_or_default())
    }

    #[test]
    fn a_node_is_ready_when_its_runtime_and_network_are() {
        let both = [condition("RuntimeReady", true), condition("NetworkReady", true)];
        assert_eq!(ready(&both).0, "True");
        let no_network = [condition("RuntimeReady", true), condition("NetworkReady", false)];
        let (status, message) = ready(&no_network);
        assert_eq!(status, "False");
        assert!(message.starts_with("container runtime network not ready: NetworkReady=false"));
        assert_eq!(ready(&[]), ("False".into(), "container runtime is down".into()));
    }

    #[test]
    fn conditions_of_others_and_transition_times_stay() {
        let early = Timestamp::from_second(1_000_000).unwrap();
        let late = Timestamp::from_second(2_000_000).unwrap();
        let both = [condition("RuntimeReady", true), condition("NetworkReady", true)];
        let mut old = NodeStatus::default();
        let mut first = conditions(&old, &both, early);
        first.push(NodeCondition { type_: "Theirs".to_string(), ..NodeCondition::default() });
        old.conditions = Some(first);
        let next = NodeStatus { conditions: Some(conditions(&old, &both, late)), ..old.clone() };
        let all = next.conditions.as_ref().unwrap();
        assert!(all.iter().any(|found| found.type_ == "Theirs"));
        assert!(all[..4].iter().all(|c| c.last_transition_time == Some(Time(early))));
        assert!(!differs(&old, &next), "heartbeats alone are no change");
    }

    #[test]
    fn a_cloud_that_knew_only_the_name_does_not_hide_the_address() {
        let mut config = Config::new("n1", "/x", "/r".into());
        config.external_cloud = true;
        let address = |kind: &str, at: &str| NodeAddress { type_: kind.into(), address: at.into() };
        let told = |known: &[NodeAddress]| {
            let old = NodeStatus { addresses: Some(known.to_vec()), ..NodeStatus::default() };
            addresses(&config, &old)
        };
        let own = address("InternalIP", &config.address.to_string());
        assert!(told(&[address("Hostname", "n1")]).contains(&own));
        let of_cloud = [address("ExternalIP", "192.0.2.1"), address("Hostname", "n1")];
        assert_eq!(told(&of_cloud), of_cloud);
    }

    #[test]
    fn who_waits_asks_less_and_less_often() {
        let period = EAGER * 5;
        let mut patience = Patience::of(period);
        let pauses: Vec<Duration> = (0..5).map(|_| patience.next()).collect();
        assert_eq!(pauses, [EAGER, EAGER * 2, EAGER * 4, period, period]);
        assert_eq!(patience.satisfied(), period);
        assert_eq!(patience.next(), EAGER);
    }

    #[test]
    fn a_node_that_waits_for_its_cloud_is_tainted() {
        let mut config = Config::new("n1", "/x", "/r".into());
        config.external_cloud = true;
        let node = node(&config);
        let taints = node.spec.unwrap().taints.unwrap();
        assert_eq!(taints[0].key, "node.cloudprovider.kubernetes.io/uninitialized");
        assert_eq!(node.metadata.labels.unwrap()["kubernetes.io/hostname"], "n1");
    }
}
