//! When a row of successes or failures becomes a verdict. Pure.

use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::Probe;

/// A probe's times and thresholds, with upstream's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Before the first attempt.
    pub initial_delay: Duration,
    /// Between attempts.
    pub period: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// So many successes in a row make a success.
    pub successes: u32,
    /// So many failures in a row make a failure.
    pub failures: u32,
}

impl Rhythm {
    /// A probe's own, with defaults: every 10 s, 1 s each, 1 success, 3 failures.
    #[must_use]
    pub fn of(probe: &Probe) -> Self {
        let secs = |value: Option<i32>, default: u64| {
            let given =
                value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
            Duration::from_secs(given.unwrap_or(default))
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        Self {
            initial_delay: secs(probe.initial_delay_seconds, 0),
            period: secs(probe.period_seconds, 10),
            timeout: secs(probe.timeout_seconds, 1),
            successes: count(probe.success_threshold, 1),
            failures: count(probe.failure_threshold, 3),
        }
    }
}

/// Counts a row of equal results.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    last: Option<bool>,
    row: u32,
}

impl Tally {
    /// One more result; a verdict once its row is long enough.
    pub fn count(&mut self, ok: bool, rhythm: &Rhythm) -> Option<bool> {
        self.row = if self.last == Some(ok) { self.row.saturating_add(1) } else { 1 };
        self.last = Some(ok);
        let needed = if ok { rhythm.successes } else { rhythm.failures };
        (self.row >= needed).then_some(ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_row_makes_a_verdict() {
        let rhythm = Rhythm { successes: 2, ..Rhythm::of(&Probe::default()) };
        let mut tally = Tally::default();
        let results = [false, false, true, false, false, false, true, true];
        let verdicts: Vec<_> = results.map(|ok| tally.count(ok, &rhythm)).into();
        let (no, yes) = (Some(false), Some(true));
        assert_eq!(verdicts, [None, None, None, None, None, no, None, yes]);
    }
}
