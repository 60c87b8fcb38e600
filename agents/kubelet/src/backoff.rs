//! Exponential back-off by key, as a crashing container and a failing pull see it. Pure.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

/// How long each key must wait.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    entries: HashMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    since: Timestamp,
}

impl Backoff {
    /// Delays from `first`, doubling, up to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, entries: HashMap::new() }
    }

    /// Until when `key` must wait after it ended at `ended`: `None` if it need not, such as one that
    /// did well for twice the longest delay before that.
    #[must_use]
    pub fn waits_until(&self, key: &str, ended: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key).filter(|entry| !entry.is_stale(self.most, ended))?;
        let until = ended + entry.delay;
        (until > now).then_some(until)
    }

    /// The present delay of `key`.
    #[must_use]
    pub fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |entry| entry.delay)
    }

    /// When `key` was last tried.
    #[must_use]
    pub fn since(&self, key: &str) -> Option<Timestamp> {
        self.entries.get(key).map(|entry| entry.since)
    }

    /// `key` was tried: the next wait is longer. One that was quiet for twice the longest delay
    /// starts over.
    pub fn next(&mut self, key: &str, now: Timestamp) {
        let most = self.most;
        self.entries.retain(|_, entry| !entry.is_stale(most, now));
        let previous = self.entries.get(key).copied();
        let delay = previous.map_or(self.first, |entry| (entry.delay * 2).min(self.most));
        self.entries.insert(key.to_string(), Entry { delay, since: now });
    }

    /// `key` did well.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

impl Entry {
    fn is_stale(&self, most: Duration, now: Timestamp) -> bool {
        Duration::try_from(now.duration_since(self.since)).is_ok_and(|quiet| quiet > most * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_most_and_starts_over_when_it_was_quiet() {
        let secs = Duration::from_secs;
        let mut backoff = Backoff::new(secs(10), secs(300));
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        assert_eq!(backoff.waits_until("a", at(0), at(0)), None, "the first try is free");
        backoff.next("a", at(0));
        assert_eq!(backoff.waits_until("a", at(5), at(6)), Some(at(15)));
        assert_eq!(backoff.waits_until("a", at(5), at(15)), None);
        for _ in 0..6 {
            backoff.next("a", at(20));
        }
        assert_eq!(backoff.delay("a"), secs(300));
        assert_eq!(backoff.waits_until("a", at(620), at(621)), Some(at(920)));
        assert_eq!(backoff.waits_until("a", at(621), at(621)), None, "it did well for long");
        backoff.next("b", at(20 + 601));
        assert_eq!(backoff.entries.len(), 1, "what was quiet is forgotten");
        backoff.next("a", at(20 + 601));
        assert_eq!(backoff.delay("a"), secs(10));
    }
}
