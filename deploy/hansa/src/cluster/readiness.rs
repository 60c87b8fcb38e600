//! When the cluster as a whole answers, and what it waits for until then.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::{Node, NodeCondition, ServiceAccount};
use hansa_apiserver::server::ApiServer;
use hansa_client::kube::{Api, Client};

use super::Cluster;

const STARTING: Duration = Duration::from_millis(25);
const STEADY: Duration = Duration::from_secs(2);

/// Keeps `state.json` current until the cluster stops.
pub async fn publish(cluster: Arc<Cluster>, server: Arc<ApiServer>, client: Client) {
    let mut ready = false;
    let stop = cluster.stop();
    let mut last = None;
    while !stop.is_cancelled() {
        let waiting_for = match ready {
            true => None,
            false => waiting_for(&cluster, &server, &client).await,
        };
        if waiting_for.is_none() && !ready {
            tracing::info!(cluster = %cluster.settings.name, "ready");
            ready = true;
        }
        let now = (waiting_for.unwrap_or_default(), cluster.supervisor.states());
        if last.as_ref() != Some(&now) {
            let saved = cluster.instance.save_state(ready, &now.0, &now.1);
            if let Err(error) = saved {
                tracing::warn!(error = %format!("{error:#}"), "the state is not published");
            }
            last = Some(now);
        }
        let pause = if ready { STEADY } else { STARTING };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The first thing that does not answer yet.
async fn waiting_for(cluster: &Cluster, server: &ApiServer, client: &Client) -> Option<String> {
    let soon = Duration::from_secs(1);
    if tokio::time::timeout(soon, server.ready()).await.is_err() {
        return Some("the API server".into());
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    if !matches!(accounts.get_opt("default").await, Ok(Some(_))) {
        return Some("the controllers".into());
    }
    let nodes: Api<Node> = Api::all(client.clone());
    for name in cluster.settings.node_names() {
        let node = nodes.get_opt(&name).await.ok().flatten();
        if !node.as_ref().is_some_and(is_usable) {
            return Some(match node.as_ref().and_then(complaint) {
                Some(why) => format!("node {name} ({why})"),
                None => format!("node {name}"),
            });
        }
    }
    None
}

fn ready_condition(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready")
}

/// Why its kubelet says that it is not ready, such as a runtime without a network.
fn complaint(node: &Node) -> Option<&str> {
    let ready = ready_condition(node).filter(|condition| condition.status != "True")?;
    ready.message.as_deref()
}

/// Ready, and without the taint of a node that the cloud has yet to complete.
fn is_usable(node: &Node) -> bool {
    let ready = ready_condition(node).is_some_and(|condition| condition.status == "True");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let fresh = ["node.cloudprovider.kubernetes.io/uninitialized", "node.kubernetes.io/not-ready"];
    ready && !taints.unwrap_or_default().iter().any(|taint| fresh.contains(&taint.key.as_str()))
}
