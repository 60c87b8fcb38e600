//! Who asks, and how the write is meant: what strategies and admission may know of a request.

use std::sync::Arc;

pub use crate::authn::Identity;

/// One write request, for strategies and admission.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Who asks.
    pub user: Arc<Identity>,
    /// The API verb: `create`, `update`, `patch`, `delete`, `deletecollection`, `get`, …
    pub verb: String,
    /// The namespace of the request, empty for cluster-scoped resources.
    pub namespace: String,
    /// The name in the path, empty on creation.
    pub name: String,
    /// The subresource, empty for the object itself.
    pub subresource: String,
    /// Whether nothing may be persisted (`dryRun=All`).
    pub dry_run: bool,
    /// `fieldManager`, or what the user agent says before its first `/`.
    pub field_manager: String,
}

impl Context {
    /// A write by the server itself.
    pub fn internal(verb: &str, namespace: &str, name: &str) -> Self {
        Self {
            user: Arc::new(Identity::apiserver()),
            verb: verb.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Self::default()
        }
    }
}
