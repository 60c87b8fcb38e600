//! What is served under one group, version and plural: the data that discovery, routing,
//! RBAC's RESTMapper and the registry read.

use std::borrow::Cow;

/// Text that is static for built-in kinds and owned for custom ones.
pub type Str = Cow<'static, str>;

/// Every verb of a resource that can do everything.
pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Get, patch, update: what `status` and `scale` take.
pub const SUB_VERBS: &[&str] = &["get", "patch", "update"];

/// One served resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: Str,
    /// Version within the group.
    pub version: Str,
    /// The kind, `Deployment`.
    pub kind: Str,
    /// The kind of its lists, `DeploymentList`.
    pub list_kind: Str,
    /// The plural in paths, `deployments`.
    pub plural: Str,
    /// The singular that `kubectl` takes, `deployment`.
    pub singular: Str,
    /// Short names, `deploy`.
    pub short_names: Vec<Str>,
    /// Categories, `all`.
    pub categories: Vec<Str>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of the main resource, sorted.
    pub verbs: Vec<Str>,
    /// Subresources by name.
    pub subresources: Vec<Subresource>,
    /// Prefix of the keys, ending in `/`: `/registry/apps/deployments/`. Versions and groups that
    /// serve the same objects (the two `events`) name the same prefix.
    pub storage_prefix: Str,
    /// The `apiVersion` that objects are stored with (`apps/v1`).
    pub storage_version: Str,
    /// What every answer warns of.
    pub deprecation: Option<Str>,
}

/// One subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `binding`, …
    pub name: Str,
    /// Group of the kind that it takes and returns.
    pub group: Str,
    /// Version of that kind.
    pub version: Str,
    /// That kind: `Scale`, `Eviction`, or the parent's.
    pub kind: Str,
    /// Verbs, sorted.
    pub verbs: Vec<Str>,
}

impl Resource {
    /// A cluster-scoped resource with all verbs, no subresources, and names derived from `kind`.
    pub fn new(
        group: impl Into<Str>,
        version: impl Into<Str>,
        kind: impl Into<Str>,
        plural: impl Into<Str>,
    ) -> Self {
        let (group, version): (Str, Str) = (group.into(), version.into());
        let (kind, plural): (Str, Str) = (kind.into(), plural.into());
        Self {
            list_kind: format!("{kind}List").into(),
            singular: kind.to_lowercase().into(),
            storage_prefix: storage_prefix(&group, &plural).into(),
            storage_version: api_version(&group, &version).into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: false,
            verbs: ALL_VERBS.iter().map(|verb| Str::Borrowed(verb)).collect(),
            subresources: Vec::new(),
            deprecation: None,
            group,
            version,
            kind,
            plural,
        }
    }

    /// Objects live in namespaces.
    pub fn namespaced(mut self) -> Self {
        self.namespaced = true;
        self
    }

    /// Adds short names.
    pub fn short(mut self, names: &[&'static str]) -> Self {
        self.short_names.extend(names.iter().map(|name| Str::Borrowed(*name)));
        self
    }

    /// Adds categories.
    pub fn categories(mut self, names: &[&'static str]) -> Self {
        self.categories.extend(names.iter().map(|name| Str::Borrowed(*name)));
        self
    }

    /// Serves these verbs only.
    pub fn verbs(mut self, verbs: &[&'static str]) -> Self {
        self.verbs = verbs.iter().map(|verb| Str::Borrowed(*verb)).collect();
        self
    }

    /// Adds `status` (get, patch, update).
    pub fn status(self) -> Self {
        let (group, version, kind) = (self.group.clone(), self.version.clone(), self.kind.clone());
        self.sub("status", group, version, kind, SUB_VERBS)
    }

    /// Adds `scale` as autoscaling/v1 `Scale`.
    pub fn scale(self) -> Self {
        self.sub("scale", "autoscaling", "v1", "Scale", SUB_VERBS)
    }

    /// Adds any subresource; group, version and kind are those of its own body.
    pub fn sub(
        mut self,
        name: impl Into<Str>,
        group: impl Into<Str>,
        version: impl Into<Str>,
        kind: impl Into<Str>,
        verbs: &[&'static str],
    ) -> Self {
        self.subresources.push(Subresource {
            name: name.into(),
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            verbs: verbs.iter().map(|verb| Str::Borrowed(*verb)).collect(),
        });
        self
    }

    /// Stores the objects with those of another resource: its key prefix and `apiVersion`.
    pub fn stored_as(mut self, prefix: impl Into<Str>, api_version: impl Into<Str>) -> Self {
        self.storage_prefix = prefix.into();
        self.storage_version = api_version.into();
        self
    }

    /// Warns everybody who uses it.
    pub fn deprecated(mut self, warning: impl Into<Str>) -> Self {
        self.deprecation = Some(warning.into());
        self
    }

    /// `group/version`, or `version` alone in the core group.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// `plural.group`, or `plural` alone in the core group: how messages name the resource.
    pub fn qualified(&self) -> String {
        match self.group.as_ref() {
            "" => self.plural.to_string(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether `status` is separate from the rest of the object.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// The key of one object; `namespace` is ignored for cluster-scoped resources.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{}{namespace}/{name}", self.storage_prefix)
        } else {
            format!("{}{name}", self.storage_prefix)
        }
    }

    /// The prefix of all keys in a namespace; of all keys if `namespace` is empty.
    pub fn key_prefix(&self, namespace: &str) -> String {
        if self.namespaced && !namespace.is_empty() {
            format!("{}{namespace}/", self.storage_prefix)
        } else {
            self.storage_prefix.to_string()
        }
    }
}

/// `group/version`, or `version` alone in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_string() } else { format!("{group}/{version}") }
}

/// Splits an `apiVersion` into group and version.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// `/registry/<group>/<plural>/`, without the group in the core group.
fn storage_prefix(group: &str, plural: &str) -> String {
    if group.is_empty() {
        format!("/registry/{plural}/")
    } else {
        format!("/registry/{group}/{plural}/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_scope_and_group() {
        let pods = Resource::new("", "v1", "Pod", "pods").namespaced();
        assert_eq!(pods.key("default", "web-0"), "/registry/pods/default/web-0");
        assert_eq!(pods.key_prefix(""), "/registry/pods/");
        let roles = Resource::new("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles");
        assert_eq!(
            roles.key("ignored", "view"),
            "/registry/rbac.authorization.k8s.io/clusterroles/view"
        );
        assert_eq!(roles.qualified(), "clusterroles.rbac.authorization.k8s.io");
        assert_eq!(pods.qualified(), "pods");
    }

    #[test]
    fn names_derive_from_the_kind() {
        let resource = Resource::new("apps", "v1", "ReplicaSet", "replicasets").status().scale();
        assert_eq!((&*resource.list_kind, &*resource.singular), ("ReplicaSetList", "replicaset"));
        assert_eq!(resource.subresource("scale").unwrap().kind, "Scale");
        assert!(resource.has_status());
        assert_eq!(resource.storage_version, "apps/v1");
    }
}
