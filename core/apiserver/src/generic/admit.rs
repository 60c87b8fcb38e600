//! The door between the registry and admission: the registry calls it, `crate::admission` is it.

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::status::ApiError;
use serde_json::Value;

use super::context::Context;
use super::registry::Registry;
use super::resource::Resource;

/// What is being done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object, or a POST to a subresource such as `binding`.
    Create,
    /// A changed object.
    Update,
    /// A deletion.
    Delete,
    /// A connection to what an object stands for: `exec`, `attach`, `portforward`, `proxy`.
    Connect,
}

impl Operation {
    /// The word that webhooks and policies know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// One write, as admission sees it.
pub struct Attributes<'a> {
    /// Who asks for what; `ctx.subresource` names the subresource.
    pub ctx: &'a Context,
    /// The resource written to.
    pub resource: &'a Resource,
    /// What is being done.
    pub operation: Operation,
    /// The object as it was: updates and deletions.
    pub old: Option<&'a Value>,
    /// Reads for plugins that need other objects (the namespace, its LimitRanges, …).
    pub registry: &'a Arc<Registry>,
}

impl Attributes<'_> {
    /// Whether this is about a resource of the given group and plural, whatever the subresource.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural
    }

    /// Whether this is about the object itself, and not a subresource.
    pub fn is_whole(&self) -> bool {
        self.ctx.subresource.is_empty()
    }
}

/// An admission plugin, or a chain of them.
///
/// `mutate` and `validate` run inside the update loop, so they may run more than once per request.
#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Whether the plugin has a say at all; asked first, for every write, so it must be cheap.
    fn concerns(&self, _attrs: &Attributes<'_>) -> bool {
        true
    }

    /// Changes the object before validation. Not called for deletions.
    async fn mutate(&self, _attrs: &Attributes<'_>, _obj: &mut Value) -> Result<(), ApiError> {
        Ok(())
    }

    /// Accepts or refuses; `obj` is the new object, `None` for a deletion.
    async fn validate(
        &self,
        _attrs: &Attributes<'_>,
        _obj: Option<&Value>,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}

/// Admits everything.
pub struct AdmitAll;

#[async_trait]
impl Admission for AdmitAll {}
