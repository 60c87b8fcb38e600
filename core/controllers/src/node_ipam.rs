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
    let reserved = context.config.node_cidr_reserved.clone();
    // Ranges by node that were given and that the informer may not show yet.
    let given = Arc::new(parking_lot::Mutex::new(BTreeMap::new()));
    run_workers(queue, 1, context.stop.clone(), |key: ObjectKey| {
        let (nodes, range, given) = (nodes.clone(), range.clone(), given.clone());
        let reserved = reserved.clone();
        let api: Api<Node> = Api::all(context.client.clone());
        async move {
            let Some(node) = nodes.get("", &key.name) else {
                return Ok(Requeue::Done);
            };
            if pod_cidr(&node).is_some() {
                return Ok::<_, IpamError>(Requeue::Done);
            }
            let mut taken = taken(&nodes.list(), &mut given.lock());
            taken.extend(reserved);
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

/// The first range of this prefix length in `range` that overlaps none that is taken.
fn plan(range: &str, prefix: u8, taken: &BTreeSet<String>) -> Result<String, IpamError> {
    let bad = || IpamError::BadRange(range.to_owned());
    let whole = Span::parse(range).ok_or_else(bad)?;
    if !(1..=30).contains(&prefix) || whole.size() < Span::size_of(prefix) {
        return Err(bad());
    }
    let mut taken: Vec<Span> = taken.iter().filter_map(|cidr| Span::parse(cidr)).collect();
    taken.sort_unstable();
    let mut taken = taken.into_iter().peekable();
    let mut first = whole.first;
    while first + Span::size_of(prefix) - 1 <= whole.last {
        let candidate = Span { first, last: first + Span::size_of(prefix) - 1 };
        while taken.next_if(|span| span.last < candidate.first).is_some() {}
        match taken.peek() {
            Some(span) if span.first <= candidate.last => first = candidate.last + 1,
            _ => return Ok(format!("{}/{prefix}", candidate.address())),
        }
    }
    Err(IpamError::Exhausted(range.to_owned()))
}

/// The first and the last address of a range, as numbers that cannot overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    first: u64,
    last: u64,
}

impl Span {
    fn parse(cidr: &str) -> Option<Self> {
        let (base, length) = cidr.split_once('/')?;
        let base: Ipv4Addr = base.parse().ok()?;
        let length: u8 = length.parse().ok().filter(|length| *length <= 32)?;
        let first = u64::from(u32::from(base)) & !(Self::size_of(length) - 1);
        Some(Self { first, last: first + Self::size_of(length) - 1 })
    }

    fn size_of(prefix: u8) -> u64 {
        1 << (32 - u32::from(prefix))
    }

    fn size(self) -> u64 {
        self.last - self.first + 1
    }

    fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::try_from(self.first).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_range_is_given() {
        let taken = BTreeSet::from(["127.64.0.0/24".to_owned()]);
        assert_eq!(plan("127.64.0.0/17", 24, &taken).unwrap(), "127.64.1.0/24");
        assert_eq!(plan("127.64.0.0/17", 28, &taken).unwrap(), "127.64.1.0/28");
        let taken = ["127.64.0.16/28", "127.64.1.0/24"].map(str::to_owned).into();
        assert_eq!(plan("127.64.0.0/17", 28, &taken).unwrap(), "127.64.0.0/28");
        assert_eq!(plan("127.64.0.0/17", 24, &taken).unwrap(), "127.64.2.0/24");
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
