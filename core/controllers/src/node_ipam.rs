//! Every node gets a range of pod addresses of its own.

use std::collections::BTreeSet;
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
    // Ranges that were given and that the informer may not show yet.
    let given = Arc::new(parking_lot::Mutex::new(BTreeSet::new()));
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
            let mut taken: BTreeSet<String> = given.lock().clone();
            taken.extend(nodes.list().iter().filter_map(|node| pod_cidr(node).map(str::to_owned)));
            let cidr = plan(&range, prefix, &taken)?;
            let patch = json!({ "spec": { "podCIDR": cidr, "podCIDRs": [cidr] } });
            let params = PatchParams::default();
            api.patch(name_of(&node.metadata), &params, &Patch::Merge(&patch)).await?;
            given.lock().insert(cidr);
            Ok(Requeue::Done)
        }
    })
    .await;
}

fn pod_cidr(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref().filter(|cidr| !cidr.is_empty())
}

/// The first range of this prefix length in `range` that is not taken.
fn plan(range: &str, prefix: u8, taken: &BTreeSet<String>) -> Result<String, IpamError> {
    let bad = || IpamError::BadRange(range.to_owned());
    let (base, length) = range.split_once('/').ok_or_else(bad)?;
    let base: Ipv4Addr = base.parse().map_err(|_| bad())?;
    let length: u8 = length.parse().map_err(|_| bad())?;
    if prefix < length || prefix > 30 {
        return Err(bad());
    }
    let size = 1u32 << (32 - prefix);
    let candidates = (0..1u32 << (prefix - length))
        .map(|index| Ipv4Addr::from(u32::from(base) + index * size))
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
    fn a_full_range_is_an_error() {
        let taken = BTreeSet::from(["10.0.0.0/24".to_owned()]);
        assert!(matches!(plan("10.0.0.0/24", 24, &taken), Err(IpamError::Exhausted(_))));
        assert!(matches!(plan("10.0.0.0", 24, &taken), Err(IpamError::BadRange(_))));
    }
}
