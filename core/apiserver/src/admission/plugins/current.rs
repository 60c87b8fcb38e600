//! The policies that are active, with what they are about in a form that is quick to look at.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use hansa_extension::active::Sources;
use hansa_extension::admission::{AdmissionPolicy, Interests, Pool};
use hansa_extension::runtime::FailurePolicy;
use hansa_extension::{ActiveSet, PolicySource};
use tokio::sync::Semaphore;

use crate::admission::matching::Matching;

/// The most instances of one policy.
const INSTANCES: usize = 8;

/// One active policy.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) matching: Matching,
    pub(super) interests: Interests,
    pub(super) failure: FailurePolicy,
    pub(super) pool: Pool,
    /// As many as there are processors: to think is all that policies do.
    pub(super) turns: Semaphore,
    /// Whether it thought long the last time; nobody knows of one that was never asked.
    pub(super) slow: AtomicBool,
}

/// Everybody who is active, made anew when that changes.
pub(super) struct Current {
    active: Arc<ActiveSet<dyn AdmissionPolicy>>,
    compiled: ArcSwap<Compiled>,
}

/// The active policies, of one moment.
#[derive(Default)]
pub(super) struct Compiled {
    of: Arc<Sources<dyn AdmissionPolicy>>,
    pub(super) policies: Vec<Arc<Policy>>,
    /// Everybody who ever was active in this process.
    known: BTreeSet<String>,
}

impl Compiled {
    /// Whether a policy of this name is active.
    pub(super) fn has(&self, name: &str) -> bool {
        self.policies.iter().any(|policy| policy.name == name)
    }

    /// Whether one was.
    pub(super) fn knew(&self, name: &str) -> bool {
        self.known.contains(name)
    }
}

impl Current {
    /// Follows a set.
    pub(super) fn new(active: Arc<ActiveSet<dyn AdmissionPolicy>>) -> Self {
        Self { active, compiled: ArcSwap::default() }
    }

    /// Whether nobody is active.
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Everybody, in the order in which they came.
    pub(super) fn now(&self) -> Arc<Compiled> {
        let (now, compiled) = (self.active.current(), self.compiled.load_full());
        if Arc::ptr_eq(&compiled.of, &now) {
            return compiled;
        }
        let policies = compile(&now, &compiled.policies);
        let mut known = compiled.known.clone();
        known.extend(policies.iter().map(|policy| policy.name.clone()));
        let fresh = Arc::new(Compiled { of: now, policies, known });
        self.compiled.store(fresh.clone());
        fresh
    }
}

/// Those that go on as they were keep their instances.
fn compile(now: &Sources<dyn AdmissionPolicy>, before: &[Arc<Policy>]) -> Vec<Arc<Policy>> {
    let goes_on = |source: &Arc<dyn PolicySource<dyn AdmissionPolicy>>| {
        before.iter().find(|policy| Arc::ptr_eq(policy.pool.source(), source)).cloned()
    };
    now.iter().filter_map(|source| goes_on(source).or_else(|| policy(source))).collect()
}

/// Whoever is about nothing is asked nothing.
fn policy(source: &Arc<dyn PolicySource<dyn AdmissionPolicy>>) -> Option<Arc<Policy>> {
    let scope = source.scope()?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Some(Arc::new(Policy {
        name: source.identity().name.clone(),
        matching: Matching::policy(&scope.constraints),
        interests: scope.interests,
        failure: scope.failure,
        pool: Pool::new(source.clone()),
        turns: Semaphore::new(processors.min(INSTANCES)),
        slow: AtomicBool::new(true),
    }))
}
