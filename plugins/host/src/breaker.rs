//! When a version that fails is fenced off.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hansa_extension::PluginError;

/// Failures within [`WINDOW`] that fence off a version which has decided well before.
const BUDGET: usize = 3;
/// The window.
const WINDOW: Duration = Duration::from_secs(60);

/// The failures of one version.
#[derive(Debug, Default)]
pub struct Breaker {
    good: u64,
    failures: VecDeque<Instant>,
}

impl Breaker {
    /// Notes a good answer.
    pub fn succeeded(&mut self) {
        self.good += 1;
    }

    /// Whether it ever decided well.
    pub fn is_proven(&self) -> bool {
        self.good > 0
    }

    /// Notes a failure; true if the version is to be fenced off. A version that never decided well
    /// has one chance, except that a late answer may be a busy machine's fault and counts as one of
    /// three.
    pub fn failed(&mut self, error: &PluginError, now: Instant) -> bool {
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|first| now - *first > WINDOW) {
            self.failures.pop_front();
        }
        let unproven = !self.is_proven() && !matches!(error, PluginError::Timeout { .. });
        unproven || self.failures.len() >= BUDGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trap() -> PluginError {
        PluginError::Trap("unreachable".into())
    }

    #[test]
    fn a_new_version_has_one_chance_and_a_proven_one_three() {
        let now = Instant::now();
        assert!(Breaker::default().failed(&trap(), now));
        let mut proven = Breaker::default();
        proven.succeeded();
        let fenced: Vec<bool> = (0..3).map(|_| proven.failed(&trap(), now)).collect();
        assert_eq!(fenced, [false, false, true]);
    }

    #[test]
    fn failures_that_are_long_ago_do_not_count() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        breaker.succeeded();
        for minute in 0..10 {
            let now = start + Duration::from_secs(61) * minute;
            assert!(!breaker.failed(&trap(), now), "minute {minute}");
        }
    }

    #[test]
    fn one_late_answer_is_forgiven() {
        let now = Instant::now();
        let late = PluginError::Timeout { limit_ms: 250 };
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(&late, now) && !breaker.failed(&late, now));
        assert!(breaker.failed(&late, now));
    }
}
