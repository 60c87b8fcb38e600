//! Admission: what may be written, and what every object gets on its way in.
//!
//! One plugin per file, in upstream's order. Each asks for no more of the cluster than it must,
//! from the caches; most writes meet no I/O here.

mod authorizer;
mod conditions;
mod configured;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
pub(crate) mod expressions;
mod in_use_protection;
mod index;
mod limit_ranger;
mod lookup;
mod matching;
mod memory;
mod namespace_lifecycle;
mod node_restriction;
mod plugins;
mod pod_resize;
mod pod_security;
mod pod_topology_labels;
mod policies;
mod priority;
mod resource_quota;
mod runtime_class;
mod secrets;
mod service_account;
mod taint_nodes;
mod volume_resize;
mod webhooks;

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::gvk::GroupResource;
use hansa_api::meta;
use hansa_extension::ActiveSet;
use hansa_extension::admission::AdmissionPolicy;
use serde_json::Value;

use crate::authz::Authorizer;
use crate::generic::admit::{Admission, Attributes, Operation};
use crate::generic::registry::Registry;
use configured::{Configured, Memories};

/// The policies that are components, whoever runs them.
pub type Active = Arc<ActiveSet<dyn AdmissionPolicy>>;

/// Everything: the plugins that are always on, and what policies, components and webhooks are
/// configured.
pub async fn chain(
    registry: &Arc<Registry>,
    authorizer: &Arc<Authorizer>,
    components: Active,
) -> Arc<dyn Admission> {
    Arc::new(Chain {
        plugins: plugins(),
        configured: Configured::follow(registry, authorizer, components).await,
        quota: resource_quota::ResourceQuota,
    })
}

fn plugins() -> Vec<Box<dyn Admission>> {
    vec![
        Box::new(namespace_lifecycle::NamespaceLifecycle),
        Box::new(limit_ranger::LimitRanger),
        Box::new(service_account::ServiceAccount),
        Box::new(node_restriction::NodeRestriction),
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
    ]
}

/// Plugins that run one after the other, then what is configured, then quotas; the first refusal
/// counts.
struct Chain {
    plugins: Vec<Box<dyn Admission>>,
    configured: Configured,
    quota: resource_quota::ResourceQuota,
}

impl Chain {
    async fn run_plugins(&self, attrs: &Attributes<'_>, obj: &mut Value) -> Result<(), ApiError> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.concerns(attrs)) {
            plugin.mutate(attrs, obj).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Admission for Chain {
    /// What webhooks, components or policies changed is shown once more to everybody.
    async fn mutate(&self, attrs: &Attributes<'_>, obj: &mut Value) -> Result<(), ApiError> {
        self.run_plugins(attrs, obj).await?;
        if self.configured.changes_nothing() {
            return Ok(());
        }
        let mut memories = Memories::default();
        self.configured.mutate(attrs, obj, &mut memories).await?;
        if memories.start_over() {
            self.run_plugins(attrs, obj).await?;
            self.configured.mutate(attrs, obj, &mut memories).await?;
        }
        Ok(())
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.concerns(attrs)) {
            plugin.validate(attrs, obj).await?;
        }
        self.configured.validate(attrs, obj).await?;
        match self.quota.concerns(attrs) {
            true => self.quota.validate(attrs, obj).await,
            false => Ok(()),
        }
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
