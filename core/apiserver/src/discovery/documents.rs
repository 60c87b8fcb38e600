//! The plain discovery documents: APIVersions, APIGroupList, APIGroup, APIResourceList.

use serde_json::{Map, Value, json};

use super::merged::{self, GroupView, VersionView};
use crate::aggregation::Routes;
use crate::generic::catalog::Snapshot;
use crate::generic::resource::{Resource, Str, Subresource, api_version};
use crate::openapi::hash_text;

/// `/api`.
pub(super) fn core_versions(snapshot: &Snapshot, address: &str) -> Value {
    let versions = snapshot.groups.get("").map_or(&[][..], |group| &group.versions);
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
pub(super) fn group_list(snapshot: &Snapshot, routes: &Routes) -> Value {
    let groups = merged::groups(snapshot, routes);
    let named = groups.iter().filter(|group| !group.name.is_empty());
    let groups: Vec<Value> = named.map(group_fields).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub(super) fn group(snapshot: &Snapshot, routes: &Routes, name: &str) -> Option<Value> {
    let groups = merged::groups(snapshot, routes);
    let group = groups.iter().find(|group| !name.is_empty() && group.name == name)?;
    let mut document = group_fields(group);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(document)
}

fn group_fields(group: &GroupView<'_>) -> Value {
    let version = |version: &VersionView<'_>| {
        let name = version.name;
        json!({"groupVersion": api_version(group.name, name), "version": name})
    };
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    json!({"name": group.name, "preferredVersion": versions.first(), "versions": versions})
}

/// `/api/VERSION` and `/apis/GROUP/VERSION`.
pub(super) fn resources(snapshot: &Snapshot, group: &str, version: &str) -> Option<Value> {
    let served = snapshot.groups.get(group)?.resources.get(version)?;
    let mut list = Vec::new();
    for resource in served.iter().map(|served| &served.resource) {
        if !resource.verbs.is_empty() {
            list.push(main_resource(resource));
        }
        list.extend(resource.subresources.iter().map(|sub| subresource(resource, sub)));
    }
    list.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let group_version = api_version(group, version);
    let mut document = json!({
        "kind": "APIResourceList", "groupVersion": group_version, "resources": list,
    });
    // The oldest group's list has none.
    if !group.is_empty() {
        document["apiVersion"] = "v1".into();
    }
    Some(document)
}

fn main_resource(resource: &Resource) -> Value {
    let mut entry = Map::new();
    entry.insert("name".into(), text(&resource.plural));
    entry.insert("singularName".into(), text(&resource.singular));
    entry.insert("namespaced".into(), resource.namespaced.into());
    entry.insert("kind".into(), text(&resource.kind));
    entry.insert("verbs".into(), texts(&resource.verbs));
    if !resource.short_names.is_empty() {
        entry.insert("shortNames".into(), texts(&resource.short_names));
    }
    if !resource.categories.is_empty() {
        entry.insert("categories".into(), texts(&resource.categories));
    }
    if resource.verbs.iter().any(|verb| verb == "get") {
        let hash = hash_text(&format!("{}/{}", resource.storage_version, resource.kind), 8);
        entry.insert("storageVersionHash".into(), hash.into());
    }
    Value::Object(entry)
}

fn subresource(resource: &Resource, sub: &Subresource) -> Value {
    let mut entry = Map::new();
    entry.insert("name".into(), format!("{}/{}", resource.plural, sub.name).into());
    entry.insert("singularName".into(), "".into());
    entry.insert("namespaced".into(), resource.namespaced.into());
    if (&sub.group, &sub.version) != (&resource.group, &resource.version) {
        if !sub.group.is_empty() {
            entry.insert("group".into(), text(&sub.group));
        }
        entry.insert("version".into(), text(&sub.version));
    }
    entry.insert("kind".into(), text(&sub.kind));
    entry.insert("verbs".into(), texts(&sub.verbs));
    Value::Object(entry)
}

pub(super) fn text(text: &Str) -> Value {
    Value::String(text.to_string())
}

pub(super) fn texts(list: &[Str]) -> Value {
    list.iter().map(text).collect()
}
