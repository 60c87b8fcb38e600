//! Waiting for a condition, with a bound.

use std::time::{Duration, Instant};

/// How long anything may take on two busy cores that others use as well before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(50);

/// Polls until the condition answers something.
///
/// # Panics
/// After [`PATIENCE`], naming what did not happen.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "did not happen within {PATIENCE:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Polls until the condition holds.
///
/// # Panics
/// After [`PATIENCE`], naming what did not happen.
pub fn soon(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || condition().then_some(()));
}
