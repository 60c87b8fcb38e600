//! The components of one process: their states, and a new start after a failure.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const FIRST_RESTART: Duration = Duration::from_millis(500);
const SLOWEST_RESTART: Duration = Duration::from_secs(30);
/// A component that ran this long starts anew without the delays of its earlier failures.
const STEADY: Duration = Duration::from_secs(60);

/// How a component fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub enum Health {
    /// Its task runs.
    Running,
    /// It failed and waits for its next start.
    Restarting,
    /// It ended because the process stops.
    Stopped,
}

/// A component's state, as `hansa status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentState {
    /// How it fares.
    pub health: Health,
    /// Starts after the first.
    pub restarts: u32,
    /// Its last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Runs components until the process stops; one that fails is started again, with back-off.
#[derive(Clone)]
pub struct Supervisor {
    stop: CancellationToken,
    tasks: TaskTracker,
    states: Arc<Mutex<BTreeMap<String, ComponentState>>>,
}

impl Supervisor {
    /// A supervisor whose components all stop with `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, tasks: TaskTracker::new(), states: Arc::default() }
    }

    /// The token that the components stop with.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Starts a component; `start` is called again after each failure (an error, a panic, or an end
    /// that nobody asked for).
    pub fn spawn<F, Fut>(&self, name: impl Into<String>, start: F)
    where
        F: Fn(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let name = name.into();
        let supervisor = self.clone();
        self.record(&name, Health::Running, None);
        self.tasks.spawn(async move { supervisor.keep_running(&name, start).await });
    }

    /// Every component's state, by name.
    pub fn states(&self) -> BTreeMap<String, ComponentState> {
        self.states.lock().clone()
    }

    /// Waits until all components have ended after the stop, at most for `grace`.
    pub async fn join(&self, grace: Duration) {
        self.stop.cancelled().await;
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            let states = self.states();
            let running = states.iter().filter(|(_, state)| state.health != Health::Stopped);
            let names: Vec<_> = running.map(|(name, _)| name.as_str()).collect();
            tracing::warn!(
                ?grace,
                components = names.join(" "),
                "still run after the grace period"
            );
        }
    }

    async fn keep_running<F, Fut>(&self, name: &str, start: F)
    where
        F: Fn(CancellationToken) -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let mut delay = FIRST_RESTART;
        while !self.stop.is_cancelled() {
            let started = tokio::time::Instant::now();
            let outcome = tokio::spawn(start(self.stop.child_token())).await;
            if self.stop.is_cancelled() {
                break;
            }
            let error = describe_end(outcome);
            tracing::error!(component = name, %error, "component failed, starting it again");
            self.record(name, Health::Restarting, Some(error));
            delay = next_delay(delay, started.elapsed());
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(delay) => {}
            }
            self.record(name, Health::Running, None);
        }
        self.record(name, Health::Stopped, None);
    }

    fn record(&self, name: &str, health: Health, error: Option<String>) {
        let mut states = self.states.lock();
        let state = states.entry(name.to_owned()).or_insert(ComponentState {
            health,
            restarts: 0,
            last_error: None,
        });
        state.restarts += u32::from(health == Health::Restarting);
        state.health = health;
        state.last_error = error.or(state.last_error.take());
    }
}

fn describe_end(outcome: Result<anyhow::Result<()>, tokio::task::JoinError>) -> String {
    match outcome {
        Ok(Ok(())) => "ended by itself".into(),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => panic.to_string(),
    }
}

fn next_delay(last: Duration, ran: Duration) -> Duration {
    if ran >= STEADY { FIRST_RESTART } else { (last * 2).min(SLOWEST_RESTART) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_component_starts_again_and_its_error_is_kept() {
        let supervisor = Supervisor::new(CancellationToken::new());
        let starts = Arc::new(AtomicU32::new(0));
        let counted = starts.clone();
        supervisor.spawn("scheduler", move |stop| {
            let nth = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                anyhow::ensure!(nth > 0, "no configuration");
                stop.cancelled().await;
                Ok(())
            }
        });
        while starts.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let state = supervisor.states()["scheduler"].clone();
        assert_eq!((state.health, state.restarts), (Health::Running, 1));
        assert_eq!(state.last_error.as_deref(), Some("no configuration"));
        supervisor.stop().cancel();
        supervisor.join(Duration::from_secs(5)).await;
        assert_eq!(supervisor.states()["scheduler"].health, Health::Stopped);
    }

    #[test]
    fn delays_double_up_to_a_bound_and_start_anew_after_a_steady_run() {
        let second = Duration::from_secs(1);
        assert_eq!(next_delay(FIRST_RESTART, second), second);
        assert_eq!(next_delay(Duration::from_secs(20), second), SLOWEST_RESTART);
        assert_eq!(next_delay(Duration::from_secs(20), STEADY), FIRST_RESTART);
    }
}
