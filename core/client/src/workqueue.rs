//! A queue of keys: each at most once in it and at most once in work, failures with back-off.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

const BASE_DELAY: Duration = Duration::from_millis(5);
const MAX_DELAY: Duration = Duration::from_secs(1000);

/// A workqueue with the delays of client-go's: 5 ms, doubled per failure, at most 1,000 s.
pub struct Workqueue<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// In `waiting`, or to be put there when its current work is done.
    dirty: HashSet<T>,
    in_work: HashSet<T>,
    failures: HashMap<T, u32>,
    /// Keys that are to come at a time; of several wishes the earliest counts.
    later: HashMap<T, Instant>,
    shut_down: bool,
}

impl<T> Clone for Workqueue<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Clone + Eq + Hash + Send + Sync + 'static> Default for Workqueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash + Send + Sync + 'static> Workqueue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            dirty: HashSet::new(),
            in_work: HashSet::new(),
            failures: HashMap::new(),
            later: HashMap::new(),
            shut_down: false,
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), changed: Notify::new() }) }
    }

    /// Adds a key; one that is waiting is not added again, one in work comes back after it.
    pub fn add(&self, item: T) {
        let mut state = self.inner.state.lock();
        if state.shut_down || !state.dirty.insert(item.clone()) {
            return;
        }
        if !state.in_work.contains(&item) {
            state.waiting.push_back(item);
            self.inner.changed.notify_one();
        }
    }

    /// Adds a key after a delay. A key has one such time: of several wishes the earliest counts, so
    /// that one which asks again and again does not come more and more often.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        let due = Instant::now() + delay;
        {
            let mut state = self.inner.state.lock();
            if state.later.get(&item).is_some_and(|known| *known <= due) {
                return;
            }
            state.later.insert(item.clone(), due);
        }
        let weak = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            if let Some(inner) = weak.upgrade() {
                Workqueue { inner }.add_due(item, due);
            }
        });
    }

    /// Adds a key whose time has come, unless an earlier one took that time's place.
    fn add_due(&self, item: T, due: Instant) {
        {
            let mut state = self.inner.state.lock();
            if state.later.get(&item) != Some(&due) {
                return;
            }
            state.later.remove(&item);
        }
        self.add(item);
    }

    /// Adds a key after the back-off that its failures so far have earned.
    pub fn add_rate_limited(&self, item: T) {
        let failures = {
            let mut state = self.inner.state.lock();
            let count = state.failures.entry(item.clone()).or_insert(0);
            *count += 1;
            *count
        };
        self.add_after(item, backoff(failures));
    }

    /// Clears a key's failures.
    pub fn forget(&self, item: &T) {
        self.inner.state.lock().failures.remove(item);
    }

    /// The next key, or `None` after [`shut_down`](Self::shut_down). Call [`done`](Self::done) when worked.
    pub async fn get(&self) -> Option<T> {
        loop {
            let changed = self.inner.changed.notified();
            {
                let mut state = self.inner.state.lock();
                if let Some(item) = state.waiting.pop_front() {
                    state.dirty.remove(&item);
                    state.in_work.insert(item.clone());
                    if !state.waiting.is_empty() {
                        self.inner.changed.notify_one();
                    }
                    return Some(item);
                }
                if state.shut_down {
                    self.inner.changed.notify_waiters();
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Ends the work on a key; if it was added meanwhile it waits again.
    pub fn done(&self, item: &T) {
        let mut state = self.inner.state.lock();
        state.in_work.remove(item);
        if state.dirty.contains(item) {
            state.waiting.push_back(item.clone());
            self.inner.changed.notify_one();
        }
    }

    /// How many keys wait.
    pub fn len(&self) -> usize {
        self.inner.state.lock().waiting.len()
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes no more keys, and lets all workers end.
    pub fn shut_down(&self) {
        self.inner.state.lock().shut_down = true;
        self.inner.changed.notify_waiters();
        self.inner.changed.notify_one();
    }
}

fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    (BASE_DELAY * 2u32.pow(doublings)).min(MAX_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_waits_once() {
        let queue = Workqueue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.get().await, Some("a"));
        assert_eq!(queue.get().await, Some("b"));
    }

    #[tokio::test]
    async fn a_key_added_in_work_comes_back_after_it() {
        let queue = Workqueue::new();
        queue.add("a");
        queue.get().await;
        queue.add("a");
        assert!(queue.is_empty(), "two workers must not hold one key");
        queue.done(&"a");
        assert_eq!(queue.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_and_are_forgotten() {
        assert_eq!(backoff(1), Duration::from_millis(5));
        assert_eq!(backoff(4), Duration::from_millis(40));
        assert_eq!(backoff(60), MAX_DELAY);
        let queue = Workqueue::new();
        queue.add_rate_limited("a");
        assert!(queue.is_empty());
        assert_eq!(queue.get().await, Some("a"));
        queue.forget(&"a");
        assert!(queue.inner.state.lock().failures.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_later_times_the_earliest_counts_and_only_it() {
        let queue = Workqueue::new();
        let started = Instant::now();
        for secs in [30, 10, 20] {
            queue.add_after("a", Duration::from_secs(secs));
        }
        assert_eq!(queue.get().await, Some("a"));
        assert_eq!(started.elapsed().as_secs(), 10);
        queue.done(&"a");
        let again = tokio::time::timeout(Duration::from_secs(60), queue.get()).await;
        assert!(again.is_err(), "the later wishes were dropped");
        queue.add_after("a", Duration::from_secs(5));
        assert_eq!(queue.get().await, Some("a"), "a new wish counts again");
    }

    #[tokio::test]
    async fn shut_down_ends_all_workers() {
        let queue: Workqueue<&str> = Workqueue::new();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.get().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.shut_down();
        for worker in workers {
            assert_eq!(worker.await.expect("no panic"), None);
        }
    }
}
