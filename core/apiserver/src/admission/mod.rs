//! Admission: what may be written, and what every object gets on its way in.
//!
//! One plugin per file, in upstream's order. Each asks for no more of the cluster than it must, from
//! the caches; most writes meet no I/O here.

mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod in_use_protection;
mod limit_ranger;
mod lookup;
mod namespace_lifecycle;
mod pod_resize;
mod pod_security;
mod pod_topology_labels;
mod priority;
mod resource_quota;
mod runtime_class;
mod secrets;
mod service_account;
mod taint_nodes;
mod volume_resize;

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
        Box::new(pod_security::PodSecurity),
        Box::new(priority::Priority),
        Box::new(default_toleration_seconds::DefaultTolerationSeconds),
        Box::new(default_storage_class::DefaultStorageClass),
        Box::new(in_use_protection::StorageObjectInUseProtection),
        Box::new(volume_resize::PersistentVolumeClaimResize),
        Box::new(runtime_class::RuntimeClass),
        Box::new(default_ingress_class::DefaultIngressClass),
        Box::new(pod_topology_labels::PodTopologyLabels),
        Box::new(pod_resize::PodResizeValidator),
        Box::new(resource_quota::ResourceQuota),
    ]))
}

/// Plugins that run one after the other; the first refusal counts.
struct Chain(Vec<Box<dyn Admission>>);

#[async_trait]
impl Admission for Chain {
    async fn mutate(&self, attrs: &Attributes<'_>, obj: &mut Value) -> Result<(), ApiError> {
        for plugin in self.0.iter().filter(|plugin| plugin.concerns(attrs)) {
            plugin.mutate(attrs, obj).await?;
        }
        Ok(())
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        for plugin in self.0.iter().filter(|plugin| plugin.concerns(attrs)) {
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
    attrs.operation == Operation::Create && attrs.is_whole() && attrs.is("", plural)
}

#[cfg(test)]
mod tests;
