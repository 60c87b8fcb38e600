//! Services.

mod allocate;
mod claims;
mod defaults;
mod printer;
mod range;
mod validate;
mod warnings;

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::field::FieldError;
use hansa_api::meta::{list_at, str_at};
use hansa_api::names;
use hansa_api::status::ApiError;
use jiff::Timestamp;
use serde_json::Value;

pub use range::AddressRange;

use super::check::Check;
use crate::generic::context::Context;
use crate::generic::registry::Registry;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Reservation, Strategy};

pub(super) fn resource() -> Resource {
    let proxy = &["create", "delete", "get", "patch", "update"];
    Resource::new("", "v1", "Service", "services")
        .namespaced()
        .short(&["svc"])
        .categories(&["all"])
        .sub("proxy", "", "v1", "ServiceProxyOptions", proxy)
        .status()
}

/// The strategy of Services.
pub(super) struct Services {
    /// Where ClusterIPs come from.
    pub(super) addresses: AddressRange,
    /// Where node ports come from, both ends included.
    pub(super) node_ports: (u16, u16),
}

/// Whether a Service of this kind has a ClusterIP.
pub(super) fn has_cluster_ip(obj: &Value) -> bool {
    str_at(obj, &["spec", "type"]) != "ExternalName"
}

/// Whether a Service can be reached from outside of the cluster.
pub(super) fn is_external(obj: &Value) -> bool {
    match str_at(obj, &["spec", "type"]) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !list_at(obj, &["spec", "externalIPs"]).is_empty(),
        _ => false,
    }
}

/// Whether a Service of this kind has node ports.
pub(super) fn has_node_ports(obj: &Value) -> bool {
    match str_at(obj, &["spec", "type"]) {
        "NodePort" => true,
        "LoadBalancer" => obj["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

#[async_trait]
impl Strategy for Services {
    fn default(&self, obj: &mut Value) {
        defaults::service(obj);
    }

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        defaults::status(obj);
        defaults::pair_cluster_ips(obj);
    }

    fn prepare_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        defaults::follow_cluster_ip(obj, old);
        defaults::keep_allocated(obj, old);
        defaults::drop_unneeded(obj, old);
        defaults::pair_cluster_ips(obj);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate::service(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate::service(check, obj);
            validate::update(check, obj, old);
        })
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1035_label(name)
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        warnings::of(obj)
    }

    fn columns(&self) -> Vec<Column> {
        printer::columns()
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        printer::row(obj, now)
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["spec.clusterIP".into(), "spec.type".into()]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    async fn reserve(
        &self,
        registry: &Arc<Registry>,
        ctx: &Context,
        obj: &mut Value,
        old: Option<&Value>,
    ) -> Result<Option<Box<dyn Reservation>>, ApiError> {
        allocate::reserve(self, registry, ctx, obj, old).await
    }

    async fn released(&self, registry: &Arc<Registry>, obj: &Value) {
        allocate::release(registry, obj).await;
    }
}

#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests;
