//! ResourceClaimTemplates.

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::field::FieldError;
use hansa_api::meta::{at, fields_mut, list_at};
use hansa_api::status::ApiError;
use jiff::Timestamp;
use serde_json::Value;

use super::{GROUP, claim, request};
use crate::generic::context::Context;
use crate::generic::registry::Registry;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Reservation, Strategy};
use crate::registry::cells;
use crate::registry::check::Check;

pub(in crate::registry) fn resource() -> Resource {
    Resource::new(GROUP, "v1", "ResourceClaimTemplate", "resourceclaimtemplates").namespaced()
}

/// The strategy of ResourceClaimTemplates.
pub(in crate::registry) struct Templates;

#[async_trait]
impl Strategy for Templates {
    fn default(&self, obj: &mut Value) {
        request::default_claim(fields_mut(obj, &["spec", "spec", "devices"]));
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, obj);
            check.frozen("spec", obj, old);
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::age()]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
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
            let requests = list_at(obj, &["spec", "spec", "devices", "requests"]);
            claim::may_share("ResourceClaimTemplate", registry, obj, requests).await?;
        }
        Ok(None)
    }
}

fn validate(check: &mut Check, obj: &Value) {
    check.labels("spec.metadata.labels", at(obj, &["spec", "metadata", "labels"]));
    request::validate_claim(check, "spec.spec.devices", &obj["spec"]["spec"]["devices"]);
}
