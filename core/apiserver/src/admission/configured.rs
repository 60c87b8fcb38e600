//! What is admitted by configuration: policies and webhooks, in upstream's order, and between them
//! the policies that are components.

use std::sync::Arc;

use hansa_api::ApiError;
use hansa_api::meta;
use serde_json::Value;

use super::Active;
use super::memory::Memory;
use super::plugins::Plugins;
use super::policies::{MutatingPolicies, ValidatingPolicies};
use super::webhooks::Webhooks;
use crate::authz::Authorizer;
use crate::generic::admit::{Attributes, Operation};
use crate::generic::registry::Registry;
use crate::generic::strategy::ScalePaths;
use crate::handlers::scale_of;

/// Policies and webhooks of both sorts, and plugins, which are both.
pub(super) struct Configured {
    mutating_policies: MutatingPolicies,
    mutating_webhooks: Webhooks,
    validating_policies: ValidatingPolicies,
    validating_webhooks: Webhooks,
    plugins: Plugins,
}

/// What happened in the first round of mutation, for the second.
#[derive(Default)]
pub(super) struct Memories {
    policies: Memory,
    plugins: Memory,
    webhooks: Memory,
}

impl Memories {
    /// Whether a second round is due; if so, it begins.
    pub(super) fn start_over(&mut self) -> bool {
        let mut all = [&mut self.policies, &mut self.plugins, &mut self.webhooks];
        all.iter_mut().for_each(|memory| memory.start_over());
        all.iter().any(|memory| memory.changed)
    }
}

impl Configured {
    /// Follows everything.
    pub(super) async fn follow(
        registry: &Arc<Registry>,
        authorizer: &Arc<Authorizer>,
        plugins: Active,
    ) -> Self {
        let webhooks = |plural| Webhooks::follow(registry, authorizer, plural);
        Self {
            mutating_policies: MutatingPolicies::follow(registry, authorizer).await,
            mutating_webhooks: webhooks("mutatingwebhookconfigurations").await,
            validating_policies: ValidatingPolicies::follow(registry, authorizer).await,
            validating_webhooks: webhooks("validatingwebhookconfigurations").await,
            plugins: Plugins::follow(registry, plugins).await,
        }
    }

    /// Whether there is nothing that could change anything.
    pub(super) fn changes_nothing(&self) -> bool {
        self.mutating_policies.is_empty()
            && self.mutating_webhooks.is_empty()
            && self.plugins.is_empty()
    }

    /// Lets policies, then plugins, then webhooks change the object.
    pub(super) async fn mutate(
        &self,
        attrs: &Attributes<'_>,
        obj: &mut Value,
        memories: &mut Memories,
    ) -> Result<(), ApiError> {
        let Some(paths) = scale_paths(attrs) else {
            return self.mutate_shown(attrs, obj, memories).await;
        };
        let old = attrs.old.map(|old| scale_of(old, &paths));
        let mut scale = scale_of(obj, &paths);
        let attrs = Attributes { old: old.as_ref(), ..*attrs };
        self.mutate_shown(&attrs, &mut scale, memories).await?;
        let path: Vec<&str> =
            paths.spec_replicas.split('.').filter(|part| !part.is_empty()).collect();
        if let (Some((last, parents)), Some(replicas)) =
            (path.split_last(), meta::at(&scale, &["spec", "replicas"]))
        {
            meta::fields_mut(obj, parents).insert((*last).to_owned(), replicas.clone());
        }
        Ok(())
    }

    async fn mutate_shown(
        &self,
        attrs: &Attributes<'_>,
        obj: &mut Value,
        memories: &mut Memories,
    ) -> Result<(), ApiError> {
        self.mutating_policies.mutate(attrs, obj, &mut memories.policies).await?;
        self.plugins.mutate(attrs, obj, &mut memories.plugins).await?;
        self.mutating_webhooks.mutate(attrs, obj, &mut memories.webhooks).await
    }

    /// Asks policies, then plugins, then webhooks; for deletions and connections the mutating webhooks, too,
    /// which may refuse them.
    pub(super) async fn validate(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
    ) -> Result<(), ApiError> {
        if self.is_empty() {
            return Ok(());
        }
        let Some(paths) = scale_paths(attrs) else { return self.validate_shown(attrs, obj).await };
        let old = attrs.old.map(|old| scale_of(old, &paths));
        let scale = obj.map(|obj| scale_of(obj, &paths));
        let attrs = Attributes { old: old.as_ref(), ..*attrs };
        self.validate_shown(&attrs, scale.as_ref()).await
    }

    fn is_empty(&self) -> bool {
        self.changes_nothing()
            && self.validating_policies.is_empty()
            && self.validating_webhooks.is_empty()
    }

    async fn validate_shown(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
    ) -> Result<(), ApiError> {
        if matches!(attrs.operation, Operation::Delete | Operation::Connect) {
            self.mutating_webhooks.ask_in_turn(attrs, obj).await?;
        }
        self.validating_policies.validate(attrs, obj).await?;
        self.plugins.validate(attrs, obj).await?;
        self.validating_webhooks.validate(attrs, obj).await
    }
}

/// A write to `scale` is shown as the Scale that the client sent, and not as the object behind it.
fn scale_paths(attrs: &Attributes<'_>) -> Option<ScalePaths> {
    if attrs.ctx.subresource != "scale" {
        return None;
    }
    let resource = attrs.resource;
    let served =
        attrs.registry.catalog.get(&resource.group, &resource.version, &resource.plural)?;
    served.strategy.scale_paths()
}
