//! Puts the checks on RBAC writes and on nodes' writes in front of the other admission plugins.

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::ApiError;
use serde_json::Value;

use super::{ApiServer, Error};
use crate::authz::Authorizer;
use crate::authz::escalation::{Write, check};
use crate::generic::admit::{Admission, Attributes};

struct Guard {
    authorizer: Arc<Authorizer>,
    next: Arc<dyn Admission>,
}

/// Installs the whole admission chain.
pub(super) fn install(server: &Arc<ApiServer>) -> Result<(), Error> {
    let next = crate::admission::chain();
    let guard = Guard { authorizer: server.authorizer.clone(), next };
    server.registry.set_admission(Arc::new(guard));
    Ok(())
}

#[async_trait]
impl Admission for Guard {
    async fn mutate(&self, attrs: &Attributes<'_>, obj: &mut Value) -> Result<(), ApiError> {
        self.next.mutate(attrs, obj).await
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        let write = Write {
            user: &attrs.ctx.user,
            group: &attrs.resource.group,
            resource: &attrs.resource.plural,
            subresource: &attrs.ctx.subresource,
            namespace: &attrs.ctx.namespace,
            old: attrs.old,
            new: obj,
        };
        check(&self.authorizer, &write)?;
        self.next.validate(attrs, obj).await
    }
}
