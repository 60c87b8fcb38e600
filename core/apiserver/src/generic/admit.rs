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

/// A chain of admission plugins.
///
/// Both methods run inside the update loop, so they may run more than once per request.
#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Changes the object before validation. Not called for deletions.
    async fn mutate(&self, attrs: &Attributes<'_>, obj: &mut Value) -> Result<(), ApiError>;

    /// Accepts or refuses; `obj` is the new object, `None` for a deletion.
    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError>;
}

/// Admits everything.
pub struct AdmitAll;

#[async_trait]
impl Admission for AdmitAll {
    async fn mutate(&self, _: &Attributes<'_>, _: &mut Value) -> Result<(), ApiError> {
        Ok(())
    }

    async fn validate(&self, _: &Attributes<'_>, _: Option<&Value>) -> Result<(), ApiError> {
        Ok(())
    }
}
