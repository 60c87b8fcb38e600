//! ResourceClaims.

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::field::FieldError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::meta::{self, at, fields_mut, list_at};
use hansa_api::status::ApiError;
use jiff::Timestamp;
use serde_json::Value;

use super::{GROUP, allocation, request};
use crate::generic::context::Context;
use crate::generic::registry::Registry;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Reservation, Strategy};
use crate::registry::cells;
use crate::registry::check::Check;

const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";

pub(in crate::registry) fn resource() -> Resource {
    Resource::new(GROUP, "v1", "ResourceClaim", "resourceclaims").namespaced().status()
}

/// The strategy of ResourceClaims.
pub(in crate::registry) struct Claims;

#[async_trait]
impl Strategy for Claims {
    fn default(&self, obj: &mut Value) {
        request::default_claim(fields_mut(obj, &["spec", "devices"]));
    }

    /// A device that is no longer allocated has nothing to say.
    fn prepare_status_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        let results = |obj| list_at(obj, &["status", "allocation", "devices", "results"]);
        let ids = |obj| results(obj).iter().map(allocation::device_id).collect::<Vec<_>>();
        let (before, now) = (ids(old), ids(obj));
        if let Some(Value::Array(devices)) = obj["status"].get_mut("devices") {
            devices.retain(|device| {
                let id = allocation::device_id(device);
                !before.contains(&id) || now.contains(&id)
            });
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| request::validate_claim(check, "spec.devices", &obj["spec"]["devices"]))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| check.frozen("spec", obj, old))
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| allocation::validate(check, obj, old))
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::new("State", "How far it is."), Column::age()]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), state(obj).into(), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn status_may_change_metadata(&self) -> bool {
        false
    }

    async fn reserve(
        &self,
        registry: &Arc<Registry>,
        _: &Context,
        obj: &mut Value,
        old: Option<&Value>,
    ) -> Result<Option<Box<dyn Reservation>>, ApiError> {
        if old.is_none() {
            let requests = list_at(obj, &["spec", "devices", "requests"]);
            may_share("ResourceClaim", registry, obj, requests).await?;
        }
        Ok(None)
    }
}

fn state(obj: &Value) -> &'static str {
    let deleted = meta::deletion_timestamp(obj).is_some();
    let allocated = at(obj, &["status", "allocation"]).is_some();
    let reserved = !list_at(obj, &["status", "reservedFor"]).is_empty();
    match (deleted, allocated, reserved) {
        (false, false, _) => "pending",
        (false, true, false) => "allocated",
        (false, true, true) => "allocated,reserved",
        (true, false, _) => "deleted",
        (true, true, false) => "deleted,allocated",
        (true, true, true) => "deleted,allocated,reserved",
    }
}

/// Only namespaces that are marked so may use devices that others have.
pub(super) async fn may_share(
    kind: &str,
    registry: &Arc<Registry>,
    obj: &Value,
    requests: &[Value],
) -> Result<(), ApiError> {
    let Some(path) = request::admin_access(requests) else { return Ok(()) };
    let namespace = registry.get_cached("", "namespaces", "", meta::namespace(obj)).await?;
    if meta::label(&namespace, ADMIN_LABEL) == Some("true") {
        return Ok(());
    }
    let why = format!(
        "admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing \
         namespace"
    );
    let kind = GroupVersionKind::new(GROUP, "v1", kind);
    Err(ApiError::invalid(&kind, meta::name(obj), &[FieldError::forbidden(path, why)]))
}
