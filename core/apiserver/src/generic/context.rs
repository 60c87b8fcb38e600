//! Who asks, and how the write is meant: what strategies and admission may know of a request.

use std::sync::Arc;

use parking_lot::Mutex;

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
    /// Whether `metadata.managedFields` stays as the writer made it: server-side apply, `scale`,
    /// and what the server does to an object by itself.
    pub untracked: bool,
    /// What the client is warned of; shared by everything that is done for one request.
    pub warnings: Warnings,
}

/// Warnings for a client, each told once.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds one.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut all = self.0.lock();
        if !all.contains(&text) {
            all.push(text);
        }
    }

    /// Takes all that were added.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Context {
    /// A write by the server itself.
    pub fn internal(verb: &str, namespace: &str, name: &str) -> Self {
        Self {
            user: Arc::new(Identity::apiserver()),
            verb: verb.into(),
            namespace: namespace.into(),
            name: name.into(),
            field_manager: "kube-apiserver".into(),
            ..Self::default()
        }
    }
}
