//! Puts the checks on RBAC writes, on nodes' writes, on certificates and on creations by the way in
//! front of the other admission plugins.

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::ApiError;
use serde_json::Value;

use super::{ApiServer, Error};
use crate::authz::escalation::{Write, check};
use crate::authz::{Attributes, Authorizer, Decision, signers};
use crate::generic::admit::{self, Admission, Operation};
use crate::objects::RegistryObjects;

struct Guard {
    authorizer: Arc<Authorizer>,
    next: Arc<dyn Admission>,
}

/// Installs the whole admission chain.
pub(super) async fn install(server: &Arc<ApiServer>) -> Result<(), Error> {
    let components = server.config.admission.clone();
    let next = crate::admission::chain(&server.registry, &server.authorizer, components).await;
    let guard = Guard { authorizer: server.authorizer.clone(), next };
    server.registry.set_admission(Arc::new(guard));
    Ok(())
}

impl Guard {
    /// Whoever creates by PUT or by server-side apply must be allowed to create.
    async fn check_creation(&self, attrs: &admit::Attributes<'_>) -> Result<(), ApiError> {
        let ctx = attrs.ctx;
        let by_the_way = matches!(ctx.verb.as_str(), "update" | "patch");
        if attrs.operation != Operation::Create || !by_the_way {
            return Ok(());
        }
        let question = Attributes {
            user: &ctx.user,
            verb: "create",
            namespace: &ctx.namespace,
            group: &attrs.resource.group,
            resource: &attrs.resource.plural,
            subresource: &ctx.subresource,
            name: &ctx.name,
            path: "",
            is_resource: true,
            field_selector: "",
        };
        match self.authorizer.authorize(&question, &RegistryObjects(attrs.registry)).await {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) => Err(question.forbidden(&reason)),
        }
    }
}

#[async_trait]
impl Admission for Guard {
    async fn mutate(&self, attrs: &admit::Attributes<'_>, obj: &mut Value) -> Result<(), ApiError> {
        self.next.mutate(attrs, obj).await
    }

    async fn validate(
        &self,
        attrs: &admit::Attributes<'_>,
        obj: Option<&Value>,
    ) -> Result<(), ApiError> {
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
        signers::check(&self.authorizer, &write)?;
        self.check_creation(attrs).await?;
        self.next.validate(attrs, obj).await
    }
}
