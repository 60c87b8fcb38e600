//! Admission: what may be written, and what every object gets on its way in.
//!
//! One plugin per file, in upstream's order. Each asks for no more of the cluster than it must,
//! from
//! the caches; most writes meet no I/O here.

mod default_toleration_seconds;
mod limit_ranger;
mod lookup;
mod namespace_lifecycle;
mod priority;
mod resource_quota;
mod service_account;
mod taint_nodes;

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::gvk::GroupResource;
use hansa_api::meta;
use serde_json::Value;

use crate::generic::admit::{Admission, Attributes, Operation};

/// The plugins that are always on, as one.
pub fn chain() -> Arc<dyn Admission> {
    Arc::new(Chain(vec![
        Box::new(namespace_lifecycle::NamespaceLifecycle),
        Box::new(limit_ranger::LimitRanger),
        Box::new(service_account::ServiceAccount),
        Box::new(taint_nodes::TaintNodesByCondition),
        Box::new(priority::Priority),
        Box::new(default_toleration_seconds::DefaultTolerationSeconds),
        Box::new(resource_quota::ResourceQuota),
    ]))
}

/// Plugins that run one after the other; the first refusal counts.
struct Chain(Vec<Box<dyn Admission>>);

#[async_trait]
impl Admission for Chain {
    async fn mutate(&self, attrs: &Attributes<'_>, obj: &mut Value) -> Result<(), ApiError> {
        for plugin in &self.0 {
            plugin.mutate(attrs, obj).await?;
        }
        Ok(())
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        for plugin in &self.0 {
            plugin.validate(attrs, obj).await?;
        }
        Ok(())
    }
}

/// The resource that is written to, as errors name it.
fn group_resource(attrs: &Attributes<'_>) -> GroupResource {
    GroupResource::new(&*attrs.resource.group, &*attrs.resource.plural)
}

/// 403 for the object at hand.
fn forbidden(attrs: &Attributes<'_>, obj: &Value, why: impl std::fmt::Display) -> ApiError {
    let name = match meta::name(obj) {
        "" => &attrs.ctx.name,
        name => name,
    };
    ApiError::forbidden(&group_resource(attrs), name, why)
}

/// Whether this is the creation of an object of a core resource (and not of a subresource).
fn creates(attrs: &Attributes<'_>, plural: &str) -> bool {
    attrs.operation == Operation::Create
        && attrs.ctx.subresource.is_empty()
        && attrs.resource.group.is_empty()
        && attrs.resource.plural == plural
}

#[cfg(test)]
mod tests;
