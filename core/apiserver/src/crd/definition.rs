//! What a CustomResourceDefinition says, in the terms of the catalog.

use std::sync::Arc;

use hansa_api::meta;
use serde_json::Value;

use super::conversion::Conversion;
use super::kind::Custom;
use crate::generic::catalog::Served;
use crate::generic::resource::{Resource, SUB_VERBS, Str, Subresource, api_version};

/// The names that a definition claims within its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) plural: String,
    pub(super) singular: String,
    pub(super) kind: String,
    pub(super) list_kind: String,
    pub(super) short: Vec<String>,
    pub(super) categories: Vec<String>,
}

impl Names {
    /// Reads `spec.names` (or `status.acceptedNames`).
    pub(super) fn read(names: &Value) -> Self {
        let text = |field: &str| meta::str_at(names, &[field]).to_string();
        let list = |field: &str| -> Vec<String> {
            let items = meta::list_at(names, &[field]).iter();
            items.filter_map(Value::as_str).map(str::to_string).collect()
        };
        Self {
            plural: text("plural"),
            singular: text("singular"),
            kind: text("kind"),
            list_kind: text("listKind"),
            short: list("shortNames"),
            categories: list("categories"),
        }
    }

    /// Every name that may stand in a path or on a command line.
    pub(super) fn resources(&self) -> impl Iterator<Item = &str> {
        let own = [self.plural.as_str(), self.singular.as_str()].into_iter();
        own.chain(self.short.iter().map(String::as_str)).filter(|name| !name.is_empty())
    }

    /// Both kinds.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &str> {
        [self.kind.as_str(), self.list_kind.as_str()].into_iter().filter(|name| !name.is_empty())
    }
}

/// The group that a definition adds to.
pub(super) fn group(crd: &Value) -> &str {
    meta::str_at(crd, &["spec", "group"])
}

/// The version that objects are stored as.
pub(super) fn storage_version(crd: &Value) -> &str {
    let versions = meta::list_at(crd, &["spec", "versions"]);
    let stored = versions.iter().find(|version| meta::bool_at(version, &["storage"]));
    stored.map_or("", |version| meta::str_at(version, &["name"]))
}

/// Everything that a definition serves under the names that it has.
pub(super) fn served(
    crd: &Value,
    names: &Names,
    conversion: Option<&Arc<Conversion>>,
) -> Vec<Arc<Served>> {
    let versions = meta::list_at(crd, &["spec", "versions"]).iter();
    let served = versions.filter(|version| meta::bool_at(version, &["served"]));
    served.map(|version| Arc::new(served_version(crd, version, names, conversion))).collect()
}

fn served_version(
    crd: &Value,
    version: &Value,
    names: &Names,
    conversion: Option<&Arc<Conversion>>,
) -> Served {
    let schema = meta::at(version, &["schema", "openAPIV3Schema"]).cloned().unwrap_or_default();
    let resource = resource(crd, version, names);
    Served {
        strategy: Arc::new(Custom::new(
            version,
            &schema,
            conversion.cloned(),
            meta::deletion_timestamp(crd).is_some(),
        )),
        resource,
        schema: Some(Arc::new(schema)),
    }
}

/// What whoever uses a deprecated version is told.
fn deprecation(version: &Value, resource: &Resource) -> Option<Str> {
    if !meta::bool_at(version, &["deprecated"]) {
        return None;
    }
    let own = version["deprecationWarning"].as_str();
    let usual = || format!("{} {} is deprecated", resource.api_version(), resource.kind);
    Some(own.map_or_else(usual, str::to_string).into())
}

fn resource(crd: &Value, version: &Value, names: &Names) -> Resource {
    let names = names.clone();
    let version_name = meta::str_at(version, &["name"]).to_string();
    let mut resource = Resource::new(
        group(crd).to_string(),
        version_name,
        names.kind.clone(),
        names.plural.clone(),
    );
    resource.list_kind = names.list_kind.into();
    resource.singular = names.singular.into();
    resource.short_names = names.short.into_iter().map(Str::from).collect();
    resource.categories = names.categories.into_iter().map(Str::from).collect();
    resource.namespaced = meta::str_at(crd, &["spec", "scope"]) == "Namespaced";
    resource.storage_version = api_version(group(crd), storage_version(crd)).into();
    resource.subresources = subresources(&resource, version);
    resource.deprecation = deprecation(version, &resource);
    resource
}

fn subresources(resource: &Resource, version: &Value) -> Vec<Subresource> {
    let verbs: Vec<Str> = SUB_VERBS.iter().map(|verb| Str::Borrowed(*verb)).collect();
    let mut found = Vec::new();
    if meta::at(version, &["subresources", "status"]).is_some() {
        found.push(Subresource {
            name: "status".into(),
            group: resource.group.clone(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
            verbs: verbs.clone(),
        });
    }
    if meta::at(version, &["subresources", "scale"]).is_some() {
        found.push(Subresource {
            name: "scale".into(),
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
            verbs,
        });
    }
    found
}
