//! Policies that are WASM components: `Plugin` objects of the world `admission`.
//!
//! Somebody else runs them; here it is decided which requests they are asked about ([`current`]),
//! what they are told ([`request`]), what becomes of their answers ([`answer`]), and what a request
//! is worth that they failed on. They have no side effects, so dry runs ask them as well.
//!
//! A policy that must not be left out is missed while it is not there ([`missing`]): right after a
//! start, say, before its component is compiled.

mod answer;
mod current;
mod missing;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hansa_api::ApiError;
use hansa_extension::admission::{AdmissionPolicy, Mutation};
use hansa_extension::runtime::FailurePolicy;
use hansa_extension::{ActiveSet, PluginError};
use serde_json::Value;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::matching::{Seen, is_exempt};
use super::memory::Memory;
use crate::generic::admit::{Attributes, Operation};
use crate::generic::registry::Registry;
use current::{Current, Policy};
use missing::Missing;
use request::Told;

/// The group of the `Plugin` objects.
const GROUP: &str = "plugins.hansa.dev";
/// What is long for a policy to think: to hand its thread's other work over costs less.
const LONG: Duration = Duration::from_millis(5);
/// How long a request waits for its turn with a policy that is busy.
const TURN: Duration = Duration::from_secs(10);

/// All of them.
pub(super) struct Plugins {
    current: Current,
    missing: Missing,
}

/// Why a policy has no say in a request that it should have.
enum Failure {
    /// It said no.
    Refused(ApiError),
    /// It did not decide.
    Broken(PluginError),
}

/// Whether this is about what decides in admission: a bad policy could not be taken back.
fn is_spared(attrs: &Attributes<'_>) -> bool {
    is_exempt(attrs) || attrs.is(GROUP, "plugins")
}

impl Plugins {
    /// Follows who is active, and who ought to be.
    pub(super) async fn follow(
        registry: &Arc<Registry>,
        active: Arc<ActiveSet<dyn AdmissionPolicy>>,
    ) -> Self {
        Self { current: Current::new(active), missing: Missing::follow(registry).await }
    }

    /// Whether there are none, and there ought to be none.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_empty() && self.missing.is_empty()
    }

    /// Lets the policies that are concerned change the object, each what the one before left.
    pub(super) async fn mutate(
        &self,
        attrs: &Attributes<'_>,
        obj: &mut Value,
        memory: &mut Memory,
    ) -> Result<(), ApiError> {
        if self.is_empty() || is_spared(attrs) {
            return Ok(());
        }
        let now = self.current.now();
        self.missing.check(attrs, Some(obj), &now).await?;
        memory.enter(obj);
        for policy in now.policies.iter().filter(|policy| policy.interests.mutates) {
            if memory.skips(&policy.name) {
                continue;
            }
            let Some(seen) = policy.matching.matches(attrs, Some(obj)).await? else { continue };
            let changed = self.change(attrs, &seen, obj, policy).await?;
            memory.called(policy.name.clone(), true, changed);
        }
        memory.leave(obj);
        Ok(())
    }

    /// Whether the policy changed the object.
    async fn change(
        &self,
        attrs: &Attributes<'_>,
        seen: &Seen,
        obj: &mut Value,
        policy: &Policy,
    ) -> Result<bool, ApiError> {
        let request = request::of(attrs, seen, Some(obj), policy.interests.old_object);
        let before: &Value = obj;
        let asked = policy.ask(|guest| {
            let Mutation { verdict, change } = guest.mutate(&request)?;
            let after = match verdict.allowed {
                true => answer::changed(attrs, seen, before, &change)?,
                false => None,
            };
            Ok((verdict, after))
        });
        let decided = match asked.await {
            Ok((verdict, after)) => answer::heed(attrs, &policy.name, verdict).map(|()| after),
            Err(error) => Err(Failure::Broken(error)),
        };
        match decided {
            Ok(None) => Ok(false),
            Ok(Some(after)) => {
                let changed = after != *obj;
                *obj = after;
                Ok(changed)
            }
            Err(failure) => self.settle(policy, failure).map(|()| false),
        }
    }

    /// Asks the policies that are concerned whether the object may be so. Deletions and connections
    /// are shown to those that only change objects, too: they may refuse.
    pub(super) async fn validate(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
    ) -> Result<(), ApiError> {
        if self.is_empty() || is_spared(attrs) {
            return Ok(());
        }
        let unchangeable = matches!(attrs.operation, Operation::Delete | Operation::Connect);
        let now = self.current.now();
        self.missing.check(attrs, obj, &now).await?;
        let mut told = Told::default();
        for policy in now.policies.iter() {
            let validates = policy.interests.validates;
            let may_refuse = policy.interests.mutates && unchangeable;
            if !validates && !may_refuse {
                continue;
            }
            let Some(seen) = policy.matching.matches(attrs, obj).await? else { continue };
            let request = told.of(attrs, &seen, obj, policy.interests.old_object);
            let asked = policy.ask(|guest| match validates {
                true => guest.validate(request),
                false => answer::unchanging(guest.mutate(request)?),
            });
            let decided = match asked.await {
                Ok(verdict) => answer::heed(attrs, &policy.name, verdict),
                Err(error) => Err(Failure::Broken(error)),
            };
            decided.or_else(|failure| self.settle(policy, failure))?;
        }
        Ok(())
    }

    /// What a failure means for the request. A policy that was taken out because of it is none that
    /// anybody relied on.
    fn settle(&self, policy: &Policy, failure: Failure) -> Result<(), ApiError> {
        let error = match failure {
            Failure::Refused(error) => return Err(error),
            Failure::Broken(error) => error,
        };
        let passes = match policy.failure {
            FailurePolicy::Skip => true,
            FailurePolicy::Closed => false,
            FailurePolicy::Fallback => !self.current.now().has(&policy.name),
        };
        let plugin = &policy.name;
        if passes {
            tracing::warn!(plugin, %error, "an admission plugin failed, going on without it");
            return Ok(());
        }
        let why = format!("failed calling admission plugin {plugin:?}: failed to {error}");
        Err(ApiError::internal(why))
    }
}

impl Policy {
    /// Asks when it is this request's turn. Whoever thinks long holds up no other work of this
    /// process (but the first time), only those that have to ask the same policy.
    async fn ask<R>(
        &self,
        mut question: impl FnMut(&mut dyn AdmissionPolicy) -> Result<R, PluginError> + Send,
    ) -> Result<R, PluginError> {
        let turn = tokio::time::timeout(TURN, self.turns.acquire()).await;
        let late = |_| PluginError::Timeout { limit_ms: TURN.as_millis() as u64 };
        let _turn = turn.map_err(late)?;
        let mut ask = || self.pool.ask(&mut |guest| question(guest));
        let (slow, begun) = (self.slow.load(Ordering::Relaxed), Instant::now());
        let answer = match (slow, Handle::current().runtime_flavor()) {
            (true, RuntimeFlavor::MultiThread) => tokio::task::block_in_place(ask),
            _ => ask(),
        };
        self.slow.store(begun.elapsed() > LONG, Ordering::Relaxed);
        answer.map(|(answer, _)| answer)
    }
}
