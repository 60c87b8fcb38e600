//! Policies that ought to decide and are not there: what they are about waits for them.
//!
//! A request that a `Closed` policy would have been asked about fails while it is not active. The
//! same goes for one of the default kind that decided before, which its status tells: right after a
//! start the old order of things has to hold before the components are loaded.

use std::sync::Arc;

use hansa_api::ApiError;
use hansa_api::meta::{self, at, str_at};
use serde_json::Value;

use super::current::Compiled;
use crate::admission::index::{Index, Source};
use crate::admission::matching::Matching;
use crate::authn::Identity;
use crate::generic::admit::Attributes;
use crate::generic::registry::Registry;

/// A `Plugin` of the world `admission` that must not be left out.
pub(super) struct Wanted {
    name: String,
    /// Whatever becomes of it. Others are done without once their host took them out.
    always: bool,
    matching: Matching,
}

fn compile(plugin: &Value) -> Vec<Wanted> {
    let spec = &plugin["spec"];
    let decided = !str_at(plugin, &["status", "activeDigest"]).is_empty();
    let missed = match str_at(spec, &["failurePolicy"]) {
        "Closed" => true,
        "Skip" => false,
        _ => decided,
    };
    let leaves = meta::deletion_timestamp(plugin).is_some();
    if str_at(spec, &["world"]) != "admission" || !missed || leaves {
        return Vec::new();
    }
    let constraints = at(spec, &["matchConstraints"]).unwrap_or(&Value::Null);
    vec![Wanted {
        name: meta::name(plugin).to_owned(),
        always: str_at(spec, &["failurePolicy"]) == "Closed",
        matching: Matching::policy(constraints),
    }]
}

/// Everybody who must not be left out.
pub(super) struct Missing(Arc<Index<Wanted>>);

impl Missing {
    /// Follows the `Plugin` objects.
    pub(super) async fn follow(registry: &Arc<Registry>) -> Self {
        let source = Source { group: super::GROUP, plural: "plugins", compile };
        Self(Index::follow(registry, source).await)
    }

    /// Whether nobody is missed, whatever happens.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses what an absent policy would have been asked about; but not what this server does by
    /// itself, or nobody would ever be there.
    pub(super) async fn check(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
        now: &Compiled,
    ) -> Result<(), ApiError> {
        let wanted = self.0.all();
        if wanted.is_empty() || attrs.ctx.user.name == Identity::apiserver().name {
            return Ok(());
        }
        for wanted in wanted.iter() {
            let missed = !now.has(&wanted.name) && (wanted.always || !now.knew(&wanted.name));
            if missed && wanted.matching.matches(attrs, obj).await?.is_some() {
                let why = "it does not decide (yet)";
                let name = &wanted.name;
                return Err(ApiError::internal(format!(
                    "failed calling admission plugin {name:?}: {why}"
                )));
            }
        }
        Ok(())
    }
}
