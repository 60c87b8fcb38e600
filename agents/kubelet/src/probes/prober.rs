//! One task per container and probe, and what they have found.

use std::collections::HashMap;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::{Container as Spec, Probe};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::check::{self, Target};
use super::tally::{Rhythm, Tally};
use crate::cri::Cri;
use crate::observed::Container;
use crate::plan::{Health, Why};

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Until it passes, the others wait.
    Startup,
    /// When it fails, the container is stopped.
    Liveness,
    /// While it fails, the pod gets no traffic.
    Readiness,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Startup, Kind::Liveness, Kind::Readiness];

    fn of(self, spec: &Spec) -> Option<&Probe> {
        match self {
            Kind::Startup => spec.startup_probe.as_ref(),
            Kind::Liveness => spec.liveness_probe.as_ref(),
            Kind::Readiness => spec.readiness_probe.as_ref(),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

/// Tells that a probe failed: the container's name and the event's text.
pub type Complain = Arc<dyn Fn(&str, String) + Send + Sync>;

/// The probes of one pod.
pub struct Prober {
    cri: Cri,
    wake: Arc<Notify>,
    complain: Complain,
    verdicts: Arc<Mutex<HashMap<(String, Kind), bool>>>,
    tasks: HashMap<(String, Kind), DropGuard>,
}

impl Prober {
    /// No probes yet. `wake` is notified when a verdict changes.
    #[must_use]
    pub fn new(cri: Cri, wake: Arc<Notify>, complain: Complain) -> Self {
        Self { cri, wake, complain, verdicts: Arc::default(), tasks: HashMap::new() }
    }

    /// Probes exactly these running containers from now on.
    pub fn follow(&mut self, running: &[(&Container, &Spec)], address: &str) {
        let alive = |id: &str| running.iter().any(|(container, _)| container.id == id);
        self.tasks.retain(|(id, _), _| alive(id));
        self.verdicts.lock().retain(|(id, _), _| alive(id));
        for (container, spec) in running {
            for kind in Kind::ALL {
                self.follow_one(container, spec, kind, address);
            }
        }
    }

    /// Ends all probes: the pod is ending.
    pub fn stop(&mut self) {
        self.tasks.clear();
    }

    fn follow_one(&mut self, container: &Container, spec: &Spec, kind: Kind, address: &str) {
        let Some(probe) = kind.of(spec) else { return };
        let key = (container.id.clone(), kind);
        let startup_open = kind != Kind::Startup && !self.started(container, spec);
        let startup_done = kind == Kind::Startup && self.verdict(&container.id, kind) == Some(true);
        if startup_done {
            self.tasks.remove(&key);
            return;
        }
        if startup_open || self.tasks.contains_key(&key) {
            return;
        }
        let stop = CancellationToken::new();
        let target = Target {
            container_id: container.id.clone(),
            address: address.to_string(),
            spec: (*spec).clone(),
        };
        let watch = Watch {
            cri: self.cri.clone(),
            kind,
            probe: probe.clone(),
            target,
            wake: self.wake.clone(),
            complain: self.complain.clone(),
            verdicts: self.verdicts.clone(),
        };
        let running = stop.clone().run_until_cancelled_owned(watch.run());
        tokio::spawn(running);
        self.tasks.insert(key, stop.drop_guard());
    }

    fn verdict(&self, id: &str, kind: Kind) -> Option<bool> {
        self.verdicts.lock().get(&(id.to_string(), kind)).copied()
    }

    /// Whether a running container gets traffic: its probe passed, or it has none.
    #[must_use]
    pub fn ready(&self, container: &Container, spec: &Spec) -> bool {
        spec.readiness_probe.is_none() || self.verdict(&container.id, Kind::Readiness) == Some(true)
    }
}

impl Health for Prober {
    fn started(&self, container: &Container, spec: &Spec) -> bool {
        spec.startup_probe.is_none() || self.verdict(&container.id, Kind::Startup) == Some(true)
    }

    fn condemned(&self, container: &Container) -> Option<Why> {
        if self.verdict(&container.id, Kind::Startup) == Some(false) {
            return Some(Why::NotStarted);
        }
        (self.verdict(&container.id, Kind::Liveness) == Some(false)).then_some(Why::Unhealthy)
    }
}

/// One probe of one container.
struct Watch {
    cri: Cri,
    kind: Kind,
    probe: Probe,
    target: Target,
    wake: Arc<Notify>,
    complain: Complain,
    verdicts: Arc<Mutex<HashMap<(String, Kind), bool>>>,
}

impl Watch {
    async fn run(self) {
        let rhythm = Rhythm::of(&self.probe);
        let mut tally = Tally::default();
        tokio::time::sleep(rhythm.initial_delay).await;
        let mut ticks = tokio::time::interval(rhythm.period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let result = check::probe(&self.cri, &self.target, &self.probe, rhythm.timeout).await;
            if let Err(text) = &result {
                let note = format!("{} probe failed: {text}", self.kind.title());
                (self.complain)(&self.target.spec.name, note);
            }
            if let Some(verdict) = tally.count(result.is_ok(), &rhythm) {
                self.decide(verdict);
            }
        }
    }

    fn decide(&self, verdict: bool) {
        let key = (self.target.container_id.clone(), self.kind);
        if self.verdicts.lock().insert(key, verdict) != Some(verdict) {
            self.wake.notify_one();
        }
    }
}
