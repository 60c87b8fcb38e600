//! Which kinds the server has: for controllers that work on all of them.

use std::collections::BTreeMap;

use hansa_client::kube::core::ApiResource;
use hansa_client::kube::discovery::{Discovery, Scope};
use hansa_client::kube::{Client, Error};

/// A kind that the server has, in the group's preferred version.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Served {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    /// Verbs that it supports.
    pub(crate) verbs: Vec<String>,
}

impl Served {
    pub(crate) fn supports(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|known| known == verb))
    }
}

/// All kinds, by `group/Kind`.
pub(crate) type Kinds = BTreeMap<String, Served>;

/// The key of a kind, whatever its version.
pub(crate) fn key(group: &str, kind: &str) -> String {
    format!("{group}/{kind}")
}

/// Asks the server. Groups that do not answer are left out, as upstream's controllers do.
pub(crate) async fn discover(client: &Client) -> Result<Kinds, Error> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut kinds = Kinds::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let served = Served {
                namespaced: capabilities.scope == Scope::Namespaced,
                verbs: capabilities.operations,
                resource,
            };
            kinds.insert(key(&served.resource.group, &served.resource.kind), served);
        }
    }
    Ok(kinds)
}
