//! NamespaceLifecycle: nothing new in a namespace that is missing or going away, and some stay.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::gvk::GroupResource;
use hansa_api::meta::{self, str_at};
use serde_json::Value;

use super::{forbidden, lookup};
use crate::generic::admit::{Admission, Attributes, Operation};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        match attrs.operation {
            Operation::Create => attrs.resource.namespaced,
            Operation::Delete => attrs.is("", "namespaces"),
            Operation::Update | Operation::Connect => false,
        }
    }

    async fn mutate(&self, attrs: &Attributes<'_>, obj: &mut Value) -> Result<(), ApiError> {
        let name = &attrs.ctx.namespace;
        let Some(namespace) = lookup::find(attrs, "", "namespaces", "", name).await? else {
            return Err(ApiError::not_found(&GroupResource::new("", "namespaces"), name));
        };
        if is_terminating(&namespace) {
            return Err(terminating(attrs, obj, name));
        }
        Ok(())
    }

    async fn validate(&self, attrs: &Attributes<'_>, _: Option<&Value>) -> Result<(), ApiError> {
        if attrs.operation != Operation::Delete {
            return Ok(());
        }
        let name = attrs.old.map_or(attrs.ctx.name.as_str(), meta::name);
        match IMMORTAL.contains(&name) {
            true => {
                let resource = GroupResource::new("", "namespaces");
                Err(ApiError::forbidden(&resource, name, "this namespace may not be deleted"))
            }
            false => Ok(()),
        }
    }
}

fn is_terminating(namespace: &Value) -> bool {
    meta::deletion_timestamp(namespace).is_some()
        || str_at(namespace, &["status", "phase"]) == "Terminating"
}

fn terminating(attrs: &Attributes<'_>, obj: &Value, name: &str) -> ApiError {
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    forbidden(attrs, obj, why).with_cause(
        "NamespaceTerminating",
        format!("namespace {name} is being terminated"),
        "metadata.namespace",
    )
}
