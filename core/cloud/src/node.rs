//! Nodes: what the cloud knows of them is written into them; those whose instance is gone go too.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::{Node, Taint};
use hansa_client::kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use hansa_client::kube::{self, Client, Resource};
use hansa_client::{
    Change, Event, EventType, Informer, Informers, Recorder, Requeue, Workqueue, run_workers,
};
use hansa_extension::cloud::{CloudError, CloudProvider, Code, Instance, InstanceState};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Config, Error, convert};

/// The taint of a node that no cloud controller has seen yet.
pub const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// The taint of a node whose instance is shut down.
pub const SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";

/// What is to be written to a node, as JSON merge patches; null if nothing. Lists are replaced
/// whole, so both name the version that was read: what its kubelet has written meanwhile is not
/// lost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patches {
    /// For the node.
    pub object: Value,
    /// For its `status`.
    pub status: Value,
}

/// What the state of a node's instance asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// All is as it should be.
    Nothing,
    /// The instance is gone: so must the node.
    Delete,
    /// The taints are to become these.
    Taint(Vec<Taint>),
}

/// What a node lacks of what the cloud knows of its instance: providerID, labels, addresses;
/// without the taint [`UNINITIALIZED`] once it has them.
pub fn plan(node: &Node, instance: &Instance) -> Patches {
    let mut object = json!({});
    if let labels @ Value::Object(_) = missing_labels(node, instance) {
        object["metadata"]["labels"] = labels;
    }
    let spec = node.spec.clone().unwrap_or_default();
    if spec.provider_id.as_deref().unwrap_or_default().is_empty()
        && !instance.provider_id.is_empty()
    {
        object["spec"]["providerID"] = instance.provider_id.clone().into();
    }
    if has_taint(node, UNINITIALIZED) {
        object["spec"]["taints"] = without(node, UNINITIALIZED);
    }
    if object != json!({}) {
        object["metadata"]["resourceVersion"] = json!(node.metadata.resource_version);
    }
    let object = if object == json!({}) { Value::Null } else { object };
    Patches { object, status: status_patch(node, instance) }
}

/// What is to be done about a node, given what became of its instance.
pub fn plan_state(node: &Node, state: InstanceState) -> Step {
    let tainted = has_taint(node, SHUTDOWN);
    match state {
        InstanceState::NotFound if !is_ready(node) => Step::Delete,
        InstanceState::ShutDown if !tainted && !is_ready(node) => {
            let mut taints = taints(node).to_vec();
            let effect = "NoSchedule".to_owned();
            taints.push(Taint { key: SHUTDOWN.into(), effect, ..Taint::default() });
            Step::Taint(taints)
        }
        InstanceState::Running if tainted => {
            Step::Taint(taints(node).iter().filter(|t| t.key != SHUTDOWN).cloned().collect())
        }
        _ => Step::Nothing,
    }
}

fn missing_labels(node: &Node, instance: &Instance) -> Value {
    let known = [
        ("node.kubernetes.io/instance-type", &instance.instance_type),
        ("topology.kubernetes.io/zone", &instance.zone),
        ("topology.kubernetes.io/region", &instance.region),
    ];
    let extra = instance.extra_labels.iter().map(|(key, value)| (key.as_str(), value));
    let have = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let missing: Map<String, Value> = known
        .into_iter()
        .chain(extra)
        .filter(|(key, value)| !value.is_empty() && have(key) != Some(*value))
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    if missing.is_empty() { Value::Null } else { Value::Object(missing) }
}

fn status_patch(node: &Node, instance: &Instance) -> Value {
    let wanted: Vec<Value> = instance
        .addresses
        .iter()
        .map(|a| json!({ "type": a.kind.as_str(), "address": a.value }))
        .collect();
    let have = convert::addresses(node).iter();
    let have: Vec<Value> = have.map(|a| json!({ "type": a.type_, "address": a.address })).collect();
    match wanted.is_empty() || wanted == have {
        true => Value::Null,
        false => json!({
            "metadata": { "resourceVersion": node.metadata.resource_version },
            "status": { "addresses": wanted },
        }),
    }
}

fn taints(node: &Node) -> &[Taint] {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.map(Vec::as_slice).unwrap_or_default()
}

fn has_taint(node: &Node, key: &str) -> bool {
    taints(node).iter().any(|taint| taint.key == key)
}

fn without(node: &Node, key: &str) -> Value {
    json!(taints(node).iter().filter(|taint| taint.key != key).collect::<Vec<_>>())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether a change may call for a step: a heartbeat does not.
fn concerns(change: &Change<Node>) -> bool {
    let Change::Applied { old: Some(old), new } = change else { return true };
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || convert::addresses(old) != convert::addresses(new)
        || is_ready(old) != is_ready(new)
}

/// Reconciles nodes with the cloud.
pub struct Controller {
    client: Client,
    nodes: Informer<Node>,
    provider: Arc<dyn CloudProvider>,
    recorder: Recorder,
    monitor_period: Duration,
    refresh_period: Duration,
}

impl Controller {
    /// A controller over the informers' nodes.
    pub fn new(
        config: &Config,
        informers: &Informers,
        provider: Arc<dyn CloudProvider>,
        recorder: Recorder,
    ) -> Controller {
        Controller {
            client: informers.client().clone(),
            nodes: informers.of(),
            provider,
            recorder,
            monitor_period: config.monitor_period,
            refresh_period: config.refresh_period,
        }
    }

    /// Works until `stop`.
    pub async fn run(&self, workers: usize, stop: CancellationToken) {
        self.nodes.synced().await;
        let queue = Workqueue::new();
        let mut changes = self.nodes.subscribe();
        let feed = async {
            while let Some(change) = changes.recv().await {
                if concerns(&change) {
                    queue.add(change.key().name);
                }
            }
        };
        let work = run_workers(queue.clone(), workers, stop, |name| self.reconcile(name));
        tokio::join!(feed, work);
    }

    /// Brings one node in line with the cloud.
    ///
    /// # Errors
    /// The provider or the API server failed; nothing is half done that the next try would not
    /// mend.
    pub async fn reconcile(&self, name: String) -> Result<Requeue, Error> {
        let Some(node) = self.nodes.get("", &name) else { return Ok(Requeue::Done) };
        if has_taint(&node, UNINITIALIZED) {
            self.refresh(&node).await?;
            return Ok(Requeue::After(self.refresh_period));
        }
        if !is_ready(&node) || has_taint(&node, SHUTDOWN) {
            self.follow_state(&node).await?;
            return Ok(Requeue::After(self.monitor_period));
        }
        self.refresh(&node).await?;
        Ok(Requeue::After(self.refresh_period))
    }

    async fn refresh(&self, node: &Node) -> Result<(), Error> {
        let instance = self.metadata(node).await?;
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let nodes: Api<Node> = Api::all(self.client.clone());
        let with = PatchParams::default();
        // The status first: the answer is the node as it is then, and what is left is planned on
        // that.
        let mut current = node.clone();
        if let status @ Value::Object(_) = plan(&current, &instance).status {
            current = nodes.patch_status(name, &with, &Patch::Merge(status)).await?;
        }
        if let object @ Value::Object(_) = plan(&current, &instance).object {
            nodes.patch(name, &with, &Patch::Merge(object)).await?;
        }
        if has_taint(node, UNINITIALIZED) {
            let note = "Node synced successfully".to_owned();
            self.event(node, EventType::Normal, "Synced", "Initializing", note).await;
        }
        Ok(())
    }

    /// What the cloud knows; nothing if the provider does not know instances at all.
    async fn metadata(&self, node: &Node) -> Result<Instance, Error> {
        let asked = self.provider.instance_metadata(&[convert::node_ref(node)]).await;
        let answers = match asked {
            Err(error) if error.is_unsupported() => return Ok(Instance::default()),
            answers => answers?,
        };
        one(answers)?.or_else(|error: CloudError| match error {
            error if error.is_unsupported() => Ok(Instance::default()),
            // A node that the cloud does not know, and that was initialised, is left as it is.
            CloudError::Failure { code: Code::NotFound, .. } if !has_taint(node, UNINITIALIZED) => {
                Ok(Instance::default())
            }
            error => Err(error.into()),
        })
    }

    async fn follow_state(&self, node: &Node) -> Result<(), Error> {
        let asked = self.provider.instance_states(&[convert::node_ref(node)]).await;
        let states = match asked {
            Err(error) if error.is_unsupported() => return Ok(()),
            states => states?,
        };
        match plan_state(node, one(states)?) {
            Step::Nothing => Ok(()),
            Step::Delete => self.delete(node).await,
            Step::Taint(taints) => self.taint(node, &taints).await,
        }
    }

    async fn delete(&self, node: &Node) -> Result<(), Error> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let note = format!("Deleting node {name} because it does not exist in the cloud provider");
        self.event(node, EventType::Normal, "DeletingNode", "DeletingNode", note).await;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let this_one = Preconditions { uid: node.metadata.uid.clone(), resource_version: None };
        let gone = nodes.delete(name, &DeleteParams::default().preconditions(this_one)).await;
        match gone {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            gone => Ok(gone.map(|_| ())?),
        }
    }

    async fn taint(&self, node: &Node, taints: &[Taint]) -> Result<(), Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patch = json!({
            "metadata": { "resourceVersion": node.metadata.resource_version },
            "spec": { "taints": taints },
        });
        let name = node.metadata.name.as_deref().unwrap_or_default();
        nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn event(&self, node: &Node, kind: EventType, reason: &str, action: &str, note: String) {
        let event = Event {
            type_: kind,
            reason: reason.into(),
            note: Some(note),
            action: action.into(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &node.object_ref(&())).await {
            tracing::debug!(%error, "could not write an event");
        }
    }
}

/// The one answer to the one question.
fn one<T>(answers: Vec<T>) -> Result<T, Error> {
    let have = answers.len();
    let mut answers = answers.into_iter();
    match (answers.next(), have) {
        (Some(answer), 1) => Ok(answer),
        _ => Err(Error::Answer { have, want: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_extension::cloud::{Address, AddressKind};

    fn node(spec: Value, ready: &str) -> Node {
        let node = json!({
            "metadata": { "name": "n", "resourceVersion": "7", "labels": { "a": "b" } },
            "spec": spec,
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        });
        serde_json::from_value(node).unwrap()
    }

    fn instance() -> Instance {
        Instance {
            provider_id: "local://r/z/n".into(),
            instance_type: "small".into(),
            zone: "z".into(),
            region: "r".into(),
            addresses: vec![Address { kind: AddressKind::InternalIp, value: "10.0.0.1".into() }],
            extra_labels: Vec::new(),
        }
    }

    #[test]
    fn a_heartbeat_asks_the_cloud_nothing() {
        let change =
            |old: Node, new: Node| Change::Applied { old: Some(Arc::new(old)), new: Arc::new(new) };
        let before = node(json!({}), "True");
        let mut beat = before.clone();
        beat.metadata.resource_version = Some("8".into());
        assert!(!concerns(&change(before.clone(), beat)));
        assert!(concerns(&change(before.clone(), node(json!({}), "Unknown"))));
        let tainted = node(json!({ "taints": [taint(UNINITIALIZED)] }), "True");
        assert!(concerns(&change(before.clone(), tainted)));
        assert!(concerns(&Change::Applied { old: None, new: Arc::new(before) }));
    }

    fn taint(key: &str) -> Value {
        json!({ "key": key, "effect": "NoSchedule" })
    }

    #[test]
    fn a_new_node_learns_everything_and_loses_the_taint_but_no_other() {
        let new = node(json!({ "taints": [taint(UNINITIALIZED), taint("mine")] }), "False");
        let patches = plan(&new, &instance());
        assert_eq!(patches.object["spec"]["providerID"], "local://r/z/n");
        assert_eq!(patches.object["spec"]["taints"], json!([taint("mine")]));
        assert_eq!(patches.object["metadata"]["resourceVersion"], "7");
        assert_eq!(
            patches.object["metadata"]["labels"],
            json!({
                "node.kubernetes.io/instance-type": "small",
                "topology.kubernetes.io/zone": "z",
                "topology.kubernetes.io/region": "r",
            })
        );
        let addresses = json!([{ "type": "InternalIP", "address": "10.0.0.1" }]);
        assert_eq!(patches.status["status"]["addresses"], addresses);
    }

    #[test]
    fn a_node_that_knows_everything_is_not_written() {
        let mut known = node(json!({ "providerID": "local://r/z/n" }), "True");
        let labels = [
            ("node.kubernetes.io/instance-type", "small"),
            ("topology.kubernetes.io/zone", "z"),
            ("topology.kubernetes.io/region", "r"),
        ];
        known.metadata.labels = Some(labels.map(|(k, v)| (k.into(), v.into())).into());
        let status = known.status.as_mut().unwrap();
        status.addresses = serde_json::from_value(json!([
            { "type": "InternalIP", "address": "10.0.0.1" },
        ]))
        .unwrap();
        assert_eq!(plan(&known, &instance()), Patches::default());
    }

    #[test]
    fn only_nodes_that_are_not_ready_are_deleted_or_tainted() {
        let (down, up) = (node(json!({}), "Unknown"), node(json!({}), "True"));
        assert_eq!(plan_state(&down, InstanceState::NotFound), Step::Delete);
        assert_eq!(plan_state(&up, InstanceState::NotFound), Step::Nothing);
        assert!(
            matches!(plan_state(&down, InstanceState::ShutDown), Step::Taint(t) if t.len() == 1)
        );
        assert_eq!(plan_state(&down, InstanceState::Running), Step::Nothing);
        let back = node(json!({ "taints": [taint(SHUTDOWN)] }), "True");
        assert_eq!(plan_state(&back, InstanceState::Running), Step::Taint(Vec::new()));
    }
}
