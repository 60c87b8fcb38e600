//! Which kinds the server has: for controllers that work on all of them.

use std::collections::BTreeMap;

use hansa_client::kube::core::ApiResource;
use hansa_client::kube::core::discovery::v2::{
    APIGroupDiscovery, APIResourceDiscovery, APIVersionDiscovery,
};
use hansa_client::kube::{Client, Error};

/// A kind that the server has, in the group's preferred version that has it.
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

/// What discovery says.
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    pub(crate) kinds: Kinds,
    /// Group versions behind API servers that do not answer: of these, `kinds` has what is known of
    /// earlier, if anything.
    pub(crate) silent: Vec<String>,
}

/// The key of a kind, whatever its version.
pub(crate) fn key(group: &str, kind: &str) -> String {
    format!("{group}/{kind}")
}

/// Asks the server, in two requests however many groups there are.
pub(crate) async fn discover(client: &Client) -> Result<Discovered, Error> {
    let core = client.list_core_api_versions_aggregated().await?;
    let groups = client.list_api_groups_aggregated().await?;
    let mut found = Discovered::default();
    for group in core.items.into_iter().chain(groups.items) {
        found.add(group);
    }
    Ok(found)
}

impl Discovered {
    fn add(&mut self, group: APIGroupDiscovery) {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        for version in group.versions {
            self.add_version(&name, version);
        }
    }

    /// Versions come with the preferred one first, and a kind stays what the first says.
    fn add_version(&mut self, group: &str, version: APIVersionDiscovery) {
        let name = version.version.unwrap_or_default();
        let api_version = match group {
            "" => name.clone(),
            group => format!("{group}/{name}"),
        };
        if version.freshness.as_deref() == Some("Stale") {
            self.silent.push(api_version.clone());
        }
        for resource in version.resources {
            if let Some(served) = served(group, &name, &api_version, resource) {
                let key = key(group, &served.resource.kind);
                self.kinds.entry(key).or_insert(served);
            }
        }
    }
}

fn served(
    group: &str,
    version: &str,
    api_version: &str,
    found: APIResourceDiscovery,
) -> Option<Served> {
    let resource = ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: api_version.into(),
        kind: found.response_kind?.kind?,
        plural: found.resource?,
    };
    let namespaced = found.scope.as_deref() == Some("Namespaced");
    Some(Served { resource, namespaced, verbs: found.verbs })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(name: &str, freshness: &str, kinds: &[&str]) -> serde_json::Value {
        let resource = |kind: &&str| {
            json!({"resource": format!("{}s", kind.to_lowercase()), "scope": "Namespaced",
                "responseKind": {"group": "", "version": "", "kind": kind}, "verbs": ["list"]})
        };
        let resources: Vec<_> = kinds.iter().map(resource).collect();
        json!({"version": name, "freshness": freshness, "resources": resources})
    }

    #[test]
    fn a_kind_is_followed_in_the_first_version_that_has_it() {
        let group = json!({"metadata": {"name": "a.io"}, "versions": [
            version("v2", "Current", &["Toy"]), version("v1", "Stale", &["Toy", "Old"])]});
        let mut found = Discovered::default();
        found.add(serde_json::from_value(group).unwrap());
        let versions: Vec<_> = found
            .kinds
            .iter()
            .map(|(key, served)| (key.as_str(), served.resource.api_version.as_str()))
            .collect();
        assert_eq!(versions, [("a.io/Old", "a.io/v1"), ("a.io/Toy", "a.io/v2")]);
        assert_eq!(found.silent, ["a.io/v1"]);
        assert!(found.kinds["a.io/Toy"].supports(&["list"]));
    }
}
