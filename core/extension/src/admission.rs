//! The `admission` world: what an object may look like.
//!
//! [`AdmissionPolicy`] is one policy. The API server decides by each source's [`Scope`] which
//! requests it is asked about, and asks through a [`Pool`], because it is asked by many at once.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::active::{Identity, PolicySource};
use crate::error::PluginError;
pub use crate::federation::Gvk;
use crate::runtime::FailurePolicy;
use crate::seat::{Question, Seat};

/// What is being done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    #[default]
    Create,
    /// A changed object.
    Update,
    /// A deletion.
    Delete,
    /// A connection to what an object stands for.
    Connect,
}

/// A group, version and plural.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gvr {
    /// The group, empty for the core one.
    pub group: String,
    /// The version.
    pub version: String,
    /// The plural.
    pub resource: String,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The unique ID, if there is one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    pub extra: Vec<(String, Vec<String>)>,
}

/// One write, as the policies see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Of the object.
    pub kind: Gvk,
    /// What is written to.
    pub resource: Gvr,
    /// The subresource, empty for the object itself.
    pub subresource: String,
    /// The namespace, empty if there is none.
    pub namespace: String,
    /// The name, empty if it is not known yet.
    pub name: String,
    /// What is being done.
    pub operation: Operation,
    /// Who asks.
    pub user: User,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// The object as JSON.
    pub object: Option<Vec<u8>>,
    /// The object as it was, as JSON: deletions, and updates for those who want it.
    pub old_object: Option<Vec<u8>>,
}

/// Yes or no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Yes.
    pub allowed: bool,
    /// The HTTP status of a no.
    pub code: u16,
    /// Why not.
    pub message: String,
    /// For the client, whatever the verdict.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub audit: Vec<(String, String)>,
}

/// What becomes of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    #[default]
    Unchanged,
    /// A JSON Patch, as JSON.
    Patch(Vec<u8>),
    /// Another object, as JSON.
    Replace(Vec<u8>),
}

/// A verdict with a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mutation {
    /// Yes or no.
    pub verdict: Verdict,
    /// What becomes of the object if it is a yes.
    pub change: Change,
}

/// What a policy wants to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interests {
    /// [`AdmissionPolicy::mutate`].
    pub mutates: bool,
    /// [`AdmissionPolicy::validate`].
    pub validates: bool,
    /// [`Request::old_object`] of updates.
    pub old_object: bool,
}

/// What a policy is about, and what its failure means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// `matchConstraints`, as of a ValidatingAdmissionPolicy.
    pub constraints: Value,
    /// What it wants to be asked.
    pub interests: Interests,
    /// What happens to a request that it fails to decide.
    pub failure: FailurePolicy,
}

/// One admission policy. After an error the instance is dead: drop it and make another.
pub trait AdmissionPolicy: Send {
    /// Changes an object.
    fn mutate(&mut self, request: &Request) -> Result<Mutation, PluginError>;
    /// Says yes or no to an object.
    fn validate(&mut self, request: &Request) -> Result<Verdict, PluginError>;
}

/// The instances of one source: as many as were asked at once, reused.
pub struct Pool {
    source: Arc<dyn PolicySource<dyn AdmissionPolicy>>,
    idle: Mutex<Vec<Seat<dyn AdmissionPolicy>>>,
}

impl Pool {
    /// A pool without an instance; the first question makes one.
    pub fn new(source: Arc<dyn PolicySource<dyn AdmissionPolicy>>) -> Self {
        Self { source, idle: Mutex::default() }
    }

    /// Whose instances they are.
    pub fn source(&self) -> &Arc<dyn PolicySource<dyn AdmissionPolicy>> {
        &self.source
    }

    /// Asks an instance that nobody else asks now. Blocks for as long as the policy thinks, at most
    /// its limit for a call (and for making an instance), once per version that steps in. Returns
    /// the answer and who gave it.
    ///
    /// # Errors
    /// The version that decides failed, and so did all that step in for it.
    pub fn ask<R>(
        &self,
        question: Question<'_, dyn AdmissionPolicy, R>,
    ) -> Result<(R, Identity), PluginError> {
        let free = self.idle().pop();
        let mut seat = free.unwrap_or_else(|| Seat::new(Arc::clone(&self.source)));
        let answer = seat.call(&|_| Ok(()), question);
        self.idle().push(seat);
        answer
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Seat<dyn AdmissionPolicy>>> {
        // Nothing panics while it is held, and a list of seats is whole at any time.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::active::NativeSource;

    struct Counting;

    impl AdmissionPolicy for Counting {
        fn mutate(&mut self, _: &Request) -> Result<Mutation, PluginError> {
            Err(PluginError::Trap("mutate".into()))
        }
        fn validate(&mut self, _: &Request) -> Result<Verdict, PluginError> {
            Ok(Verdict::default())
        }
    }

    #[test]
    fn instances_are_reused_and_made_again_after_a_failure() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let source = NativeSource::<dyn AdmissionPolicy>::new("counting", 1, move || {
            count.fetch_add(1, Ordering::Relaxed);
            Box::new(Counting)
        });
        let pool = Pool::new(source);
        let request = Request::default();
        for _ in 0..2 {
            pool.ask(&mut |policy| policy.validate(&request)).unwrap();
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
        pool.ask(&mut |policy| {
            pool.ask(&mut |other| other.validate(&request)).unwrap();
            policy.validate(&request)
        })
        .unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 2, "two are asked at once");
        pool.ask(&mut |policy| policy.mutate(&request)).unwrap_err();
        assert_eq!(made.load(Ordering::Relaxed), 3, "a rebuilt instance gets one more chance");
    }
}
