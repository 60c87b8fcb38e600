//! Aggregated discovery (KEP-3352): every group, version and resource in one document.

use serde_json::{Map, Value, json};

use super::documents::{text, texts};
use super::merged::{self, GroupView, Source, VersionView};
use crate::aggregation::Routes;
use crate::generic::catalog::Snapshot;
use crate::generic::resource::{Resource, Subresource};

/// The APIGroupDiscoveryList of the core group or of all others.
pub(super) fn list(snapshot: &Snapshot, routes: &Routes, core: bool, version: &str) -> Value {
    let groups = merged::groups(snapshot, routes);
    let groups = groups.iter().filter(|group| group.name.is_empty() == core);
    let items: Vec<Value> = groups.map(group_discovery).collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn group_discovery(group: &GroupView<'_>) -> Value {
    let version = |version: &VersionView<'_>| match version.source {
        Source::Remote(backend) => backend.discovery(),
        Source::Local(served) => {
            let resources: Vec<Value> =
                served.iter().map(|served| resource_discovery(&served.resource)).collect();
            json!({"version": version.name, "resources": resources, "freshness": "Current"})
        }
    };
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    let metadata = match group.name {
        "" => json!({"creationTimestamp": null}),
        name => json!({"name": name, "creationTimestamp": null}),
    };
    json!({"metadata": metadata, "versions": versions})
}

fn resource_discovery(resource: &Resource) -> Value {
    let mut entry = Map::new();
    entry.insert("resource".into(), text(&resource.plural));
    let kind = json!({
        "group": resource.group, "version": resource.version, "kind": resource.kind,
    });
    entry.insert("responseKind".into(), kind);
    let scope = if resource.namespaced { "Namespaced" } else { "Cluster" };
    entry.insert("scope".into(), scope.into());
    entry.insert("singularResource".into(), text(&resource.singular));
    entry.insert("verbs".into(), texts(&resource.verbs));
    if !resource.short_names.is_empty() {
        entry.insert("shortNames".into(), texts(&resource.short_names));
    }
    if !resource.categories.is_empty() {
        entry.insert("categories".into(), texts(&resource.categories));
    }
    if !resource.subresources.is_empty() {
        let subresources = resource.subresources.iter().map(subresource_discovery).collect();
        entry.insert("subresources".into(), subresources);
    }
    Value::Object(entry)
}

fn subresource_discovery(sub: &Subresource) -> Value {
    json!({
        "subresource": sub.name,
        "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
        "verbs": sub.verbs,
    })
}
