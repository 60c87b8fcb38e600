//! Every node gets a range of pod addresses of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::Node;
use hansa_client::kube::Api;
use hansa_client::kube::api::{Patch, PatchParams};
use hansa_client::{ObjectKey, Requeue, Workqueue, run_workers};
use serde_json::json;

use crate::Context;
use crate::owned::name_of;
use crate::wiring::enqueue_self;

/// Why no range could be given.
#[derive(Debug, thiserror::Error)]
enum IpamError {
    #[error("parse the cluster CIDR {0}")]
    BadRange(String),
    #[error("find a free pod CIDR in {0}")]
    Exhausted(String),
    #[error("write the node")]
    Api(#[from] hansa_client::kube::Error),
}

pub(crate) async fn run(context: Context) {
    let Some(range) = context.config.cluster_cidr.clone() else {
        return context.stop.cancelled().await;
    };
    let nodes = context.informers.of::<Node>();
    nodes.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&nodes, &queue);
    let prefix = context.config.node_cidr_prefix;
    // Ranges by node that were given and that the informer may not show yet.
    let given = Arc::new(parking_lot::Mutex::new(BTreeMap::new()));
    run_workers(queue, 1, context.stop.clone(), |key: ObjectKey| {
        let (nodes, range, given) = (nodes.clone(), range.clone(), given.clone());
        let api: Api<Node> = Api::all(context.client.clone());
        async move {
            let Some(node) = nodes.get("", &key.name) else {
                return Ok(Requeue::Done);
            };
            if pod_cidr(&node).is_some() {
                return Ok::<_, IpamError>(Requeue::Done);
            }
            let taken = taken(&nodes.list(), &mut given.lock());
            let cidr = plan(&range, prefix, &taken)?;
            let patch = json!({
                "metadata": { "uid": node.metadata.uid },
                "spec": { "podCIDR": cidr, "podCIDRs": [cidr] },
            });
            let params = PatchParams::default();
            api.patch(name_of(&node.metadata), &params, &Patch::Merge(&patch)).await?;
            given.lock().insert(key.name.clone(), cidr);
            Ok(Requeue::Done)
        }
    })
    .await;
}

fn pod_cidr(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref().filter(|cidr| !cidr.is_empty())
}

/// The ranges that nodes have. What a node shows need not be remembered any longer, and what was given
/// to one that is gone is free again.
fn taken(nodes: &[Arc<Node>], given: &mut BTreeMap<String, String>) -> BTreeSet<String> {
    let lacks = |name: &str| {
        let mut found = nodes.iter().filter(|node| name_of(&node.metadata) == name);
        found.any(|node| pod_cidr(node).is_none())
    };
    given.retain(|name, _| lacks(name));
    let shown = nodes.iter().filter_map(|node| pod_cidr(node));
    shown.chain(given.values().map(String::as_str)).map(str::to_owned).collect()
}

/// The first range of this prefix length in `range` that is not taken.
fn plan(range: &str, prefix: u8, taken: &BTreeSet<String>) -> Result<String, IpamError> {
    let bad = || IpamError::BadRange(range.to_owned());
    let (base, length) = range.split_once('/').ok_or_else(bad)?;
    let base: Ipv4Addr = base.parse().map_err(|_| bad())?;
    let length: u8 = length.parse().map_err(|_| bad())?;
    if prefix < length || !(1..=30).contains(&prefix) {
        return Err(bad());
    }
    let size = 1u32 << (32 - prefix);
    let candidates = (0..1u32 << (prefix - length))
        .map(|index| Ipv4Addr::from(u32::from(base).wrapping_add(index.wrapping_mul(size))))
        .map(|first| format!("{first}/{prefix}"));
    candidates
        .into_iter()
        .find(|cidr| !taken.contains(cidr))
        .ok_or_else(|| IpamError::Exhausted(range.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_range_is_given() {
        let taken = BTreeSet::from(["127.64.0.0/24".to_owned()]);
        assert_eq!(plan("127.64.0.0/17", 24, &taken).unwrap(), "127.64.1.0/24");
    }

    #[test]
    fn the_range_of_a_node_that_is_gone_is_free_again() {
        let node = |name: &str, cidr: Option<&str>| {
            let mut node = Node::default();
            node.metadata.name = Some(name.into());
            node.spec.get_or_insert_default().pod_cidr = cidr.map(str::to_owned);
            Arc::new(node)
        };
        let given =
            ["late", "gone", "shown"].map(|name| (name.to_owned(), format!("given-{name}")));
        let mut given = BTreeMap::from(given);
        let nodes = [node("late", None), node("shown", Some("own-shown"))];
        let taken = taken(&nodes, &mut given);
        assert_eq!(Vec::from_iter(taken), ["given-late", "own-shown"]);
        assert_eq!(given.len(), 1, "the rest is forgotten");
    }

    #[test]
    fn a_full_range_is_an_error() {
        let taken = BTreeSet::from(["10.0.0.0/24".to_owned()]);
        assert!(matches!(plan("10.0.0.0/24", 24, &taken), Err(IpamError::Exhausted(_))));
        assert!(matches!(plan("10.0.0.0", 24, &taken), Err(IpamError::BadRange(_))));
    }
}
