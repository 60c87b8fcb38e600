//! What a controller has asked for and its informer has not shown yet.
//!
//! Without this, a reconciler that looks at an informer a moment too early would create its pods
//! twice. After five minutes an expectation is given up, as upstream does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hansa_client::ObjectKey;
use parking_lot::Mutex;
use tokio::time::Instant;

const GIVE_UP: Duration = Duration::from_secs(300);

/// Expected creations and deletions, by owner.
#[derive(Clone, Default)]
pub(crate) struct Expectations {
    owners: Arc<Mutex<HashMap<ObjectKey, Expected>>>,
}

struct Expected {
    creations: usize,
    deletions: HashSet<String>,
    since: Instant,
}

impl Default for Expected {
    fn default() -> Self {
        Self { creations: 0, deletions: HashSet::new(), since: Instant::now() }
    }
}

impl Expectations {
    /// Whether everything asked for has been seen (or given up), so that a new plan may be made.
    pub(crate) fn satisfied(&self, owner: &ObjectKey) -> bool {
        self.owners.lock().get(owner).is_none_or(|expected| {
            let seen = expected.creations == 0 && expected.deletions.is_empty();
            seen || expected.since.elapsed() > GIVE_UP
        })
    }

    /// Notes what is about to be asked for.
    pub(crate) fn expect(
        &self,
        owner: &ObjectKey,
        creations: usize,
        deletions: impl IntoIterator<Item = String>,
    ) {
        let deletions = deletions.into_iter().collect();
        let expected = Expected { creations, deletions, since: Instant::now() };
        self.owners.lock().insert(owner.clone(), expected);
    }

    /// A creation was seen, or failed.
    pub(crate) fn created(&self, owner: &ObjectKey) {
        if let Some(expected) = self.owners.lock().get_mut(owner) {
            expected.creations = expected.creations.saturating_sub(1);
        }
    }

    /// A deletion was seen, or failed.
    pub(crate) fn deleted(&self, owner: &ObjectKey, uid: &str) {
        if let Some(expected) = self.owners.lock().get_mut(owner) {
            expected.deletions.remove(uid);
        }
    }

    /// The owner is gone.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        self.owners.lock().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_plan_waits_for_what_was_asked_for_but_not_for_ever() {
        let expectations = Expectations::default();
        let owner = ObjectKey::new("default", "web");
        assert!(expectations.satisfied(&owner));
        expectations.expect(&owner, 1, ["uid".to_owned()]);
        expectations.created(&owner);
        assert!(!expectations.satisfied(&owner), "the deletion is still open");
        expectations.deleted(&owner, "uid");
        assert!(expectations.satisfied(&owner));
        expectations.expect(&owner, 1, []);
        tokio::time::advance(GIVE_UP + Duration::from_secs(1)).await;
        assert!(expectations.satisfied(&owner));
    }
}
