//! Everything that is served right now: the built-in table plus custom resources.
//!
//! Discovery, OpenAPI, RBAC and dispatch read one immutable [`Snapshot`]; a change of a
//! CustomResourceDefinition swaps it as a whole, so no reader sees half a change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hansa_api::schema;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::decode::kind_of;
use super::resource::Resource;
use super::strategy::Strategy;

/// One resource and how it behaves.
pub struct Served {
    /// Its names, scope, verbs and subresources.
    pub resource: Resource,
    /// What is special about its kind.
    pub strategy: Arc<dyn Strategy>,
    /// The OpenAPI v3 schema of a custom resource; `None` for built-ins (the bundle has it).
    pub schema: Option<Arc<Value>>,
}

impl Served {
    /// A built-in resource.
    pub fn builtin(resource: Resource, strategy: impl Strategy) -> Self {
        Self { resource, strategy: Arc::new(strategy), schema: None }
    }

    /// Gives an object its defaults, and what is always written though it is empty.
    pub fn default(&self, obj: &mut Value) {
        self.strategy.default(obj);
        if !self.is_custom()
            && let Some(id) = schema::builtin().type_of(&kind_of(&self.resource))
        {
            schema::fill(schema::builtin(), id, obj);
        }
    }

    /// Whether it comes from a CustomResourceDefinition.
    pub fn is_custom(&self) -> bool {
        self.schema.is_some()
    }
}

/// One API group: its versions in order of preference and what each serves.
#[derive(Clone, Default)]
pub struct Group {
    /// Versions, preferred first.
    pub versions: Vec<String>,
    /// Resources per version, in table order.
    pub resources: BTreeMap<String, Vec<Arc<Served>>>,
}

/// What is served at one moment.
#[derive(Default)]
pub struct Snapshot {
    by_path: HashMap<(String, String, String), Arc<Served>>,
    /// Groups by name; the core group is `""`.
    pub groups: BTreeMap<String, Group>,
    /// Goes up with every change; usable as an ETag.
    pub generation: u64,
}

impl Snapshot {
    fn new(served: &[Arc<Served>], generation: u64) -> Self {
        let mut snapshot = Self { generation, ..Self::default() };
        for one in served {
            snapshot.insert(one);
        }
        for group in snapshot.groups.values_mut() {
            group.versions.sort_by(|a, b| compare_versions(b, a));
        }
        snapshot
    }

    fn insert(&mut self, served: &Arc<Served>) {
        let resource = &served.resource;
        let path =
            (resource.group.to_string(), resource.version.to_string(), resource.plural.to_string());
        if self.by_path.contains_key(&path) {
            return;
        }
        let group = self.groups.entry(path.0.clone()).or_default();
        if !group.versions.contains(&path.1) {
            group.versions.push(path.1.clone());
        }
        group.resources.entry(path.1.clone()).or_default().push(served.clone());
        self.by_path.insert(path, served.clone());
    }

    /// What is served under a group, version and plural.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Served>> {
        self.by_path.get(&(group.to_string(), version.to_string(), plural.to_string()))
    }

    /// What is served as a kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Served>> {
        let resources = self.groups.get(group)?.resources.get(version)?;
        resources.iter().find(|served| served.resource.kind == kind)
    }

    /// What is served under a group and plural in the group's most preferred version that has it.
    pub fn preferred(&self, group: &str, plural: &str) -> Option<&Arc<Served>> {
        let group = self.groups.get(group)?;
        let mut versions = group.versions.iter().filter_map(|name| group.resources.get(name));
        versions.find_map(|all| all.iter().find(|served| served.resource.plural == plural))
    }

    /// Whether a group and version is served at all.
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.groups.get(group).is_some_and(|group| group.resources.contains_key(version))
    }

    /// Everything that is served.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.groups.values().flat_map(|group| group.resources.values().flatten())
    }
}

/// The live catalog.
pub struct Catalog {
    current: ArcSwap<Snapshot>,
    parts: Mutex<Parts>,
    changed: watch::Sender<u64>,
}

struct Parts {
    builtin: Vec<Arc<Served>>,
    custom: BTreeMap<String, Vec<Arc<Served>>>,
}

impl Catalog {
    /// A catalog of the built-in table.
    pub fn new(builtin: Vec<Served>) -> Self {
        let builtin: Vec<_> = builtin.into_iter().map(Arc::new).collect();
        let snapshot = Snapshot::new(&builtin, 1);
        Self {
            current: ArcSwap::from_pointee(snapshot),
            parts: Mutex::new(Parts { builtin, custom: BTreeMap::new() }),
            changed: watch::channel(1).0,
        }
    }

    /// What is served right now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// What is served under a group, version and plural.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Served>> {
        self.current.load().get(group, version, plural).cloned()
    }

    /// Replaces what one CustomResourceDefinition (by its name) serves; empty removes it.
    pub fn set_custom(&self, crd: &str, served: Vec<Arc<Served>>) {
        let mut parts = self.parts.lock();
        if served.is_empty() {
            parts.custom.remove(crd);
        } else {
            parts.custom.insert(crd.to_string(), served);
        }
        let all: Vec<_> =
            parts.builtin.iter().chain(parts.custom.values().flatten()).cloned().collect();
        let generation = self.current.load().generation + 1;
        self.current.store(Arc::new(Snapshot::new(&all, generation)));
        self.changed.send_replace(generation);
    }

    /// The snapshots' generation, for whoever caches what it derives from them.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// Upstream's version priority: GA before beta before alpha, higher numbers first, other names last
/// and alphabetically. `Greater` is preferred.
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => std::cmp::Ordering::Greater,
        (None, Some(_)) => std::cmp::Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// `v2beta3` as (stability, major, minor).
fn parse_version(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    for (word, stability) in [("alpha", 0), ("beta", 1)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stability, major.parse().ok()?, minor.parse().ok()?));
        }
    }
    Some((2, rest.parse().ok()?, 0))
}

#[cfg(test)]
mod tests {
    use super::super::strategy::Plain;
    use super::*;

    fn served(group: &'static str, version: &'static str, plural: &'static str) -> Served {
        Served::builtin(Resource::new(group, version, "Thing", plural), Plain)
    }

    #[test]
    fn versions_are_ordered_by_stability_then_number() {
        let mut versions = ["v1alpha1", "foo", "v1", "v2beta1", "v10", "v1beta2", "v2"];
        versions.sort_by(|a, b| compare_versions(b, a));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }

    #[test]
    fn custom_resources_come_and_go_and_never_hide_builtins() {
        let catalog = Catalog::new(vec![served("a.io", "v1", "things")]);
        let mut seen = catalog.subscribe();
        let other = Arc::new(served("b.io", "v1beta1", "others"));
        let thief = Arc::new(served("a.io", "v1", "things"));
        catalog.set_custom("others.b.io", vec![other, thief]);
        assert!(catalog.get("b.io", "v1beta1", "others").is_some());
        assert_eq!(catalog.snapshot().groups["a.io"].resources["v1"].len(), 1);
        assert!(seen.has_changed().unwrap());
        assert_eq!(*seen.borrow_and_update(), 2);
        catalog.set_custom("others.b.io", Vec::new());
        assert!(!catalog.snapshot().has_version("b.io", "v1beta1"));
    }
}
