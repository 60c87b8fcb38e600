//! What to do next about one pod: desired and observed in, actions out. Pure.
//!
//! The rules are upstream's: a sandbox first; init containers one after the other, those with
//! `restartPolicy: Always` (sidecars, KEP-753) once started; then all main containers; whatever
//! ended is started again as the restart policy says, after a back-off.

use hansa_api::k8s_openapi::api::core::v1::{Container as Spec, PodSpec};
use jiff::Timestamp;

use crate::backoff::Backoff;
use crate::observed::{Container, Exited, Observed, State};

/// One step. Steps are taken in order; the pod is looked at anew after the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Stop this sandbox and what runs in it: its network is gone.
    StopSandbox {
        /// The runtime's ID.
        id: String,
    },
    /// Make the pod's sandbox.
    CreateSandbox {
        /// Counts the pod's sandboxes.
        attempt: u32,
    },
    /// Start a container in the newest sandbox.
    Start {
        /// Its name in the pod.
        name: String,
        /// How often it was started before.
        attempt: u32,
    },
    /// Stop a container that runs.
    Kill {
        /// The runtime's ID.
        id: String,
        /// Its name in the pod.
        name: String,
        /// Why, for the event.
        why: Why,
    },
}

/// Why a running container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its liveness probe failed.
    Unhealthy,
    /// Its startup probe failed.
    NotStarted,
    /// It serves main containers that have all ended.
    PodDone,
}

/// The steps, and who has to wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub actions: Vec<Action>,
    /// Containers in back-off, and until when.
    pub waiting: Vec<(String, Timestamp)>,
}

/// What probes say about containers that run.
pub trait Health {
    /// Whether the container has passed its startup probe, or has none.
    fn started(&self, container: &Container, spec: &Spec) -> bool;
    /// Why the container has to be stopped, if it has.
    fn condemned(&self, container: &Container) -> Option<Why>;
}

/// Whether an init container is a sidecar.
#[must_use]
pub fn is_sidecar(spec: &Spec) -> bool {
    spec.restart_policy.as_deref() == Some("Always")
}

/// The key of a container's back-off.
#[must_use]
pub fn backoff_key(uid: &str, container: &str) -> String {
    format!("{uid}/{container}")
}

/// How a pod's containers are restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whenever they end.
    Always,
    /// When they end with a code other than 0.
    OnFailure,
    /// Never.
    Never,
}

impl RestartPolicy {
    /// The pod's; Always if it names none.
    #[must_use]
    pub fn of(spec: &PodSpec) -> Self {
        match spec.restart_policy.as_deref() {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended with `code` is started again.
    #[must_use]
    pub fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// Everything the decision depends on.
pub struct Input<'a> {
    /// The pod's UID.
    pub uid: &'a str,
    /// What is wanted.
    pub spec: &'a PodSpec,
    /// What is there.
    pub observed: &'a Observed,
    /// What probes say.
    pub health: &'a dyn Health,
    /// Who has to wait.
    pub backoff: &'a Backoff,
    /// How often containers were restarted according to the pod's status, for when the runtime
    /// has forgotten.
    pub restarts: &'a dyn Fn(&str) -> Option<u32>,
    /// Now.
    pub now: Timestamp,
}

/// The next steps.
#[must_use]
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let sandbox = input.observed.sandbox();
    match sandbox.filter(|sandbox| sandbox.ready) {
        Some(sandbox) => Planner { input, sandbox: &sandbox.id, plan: &mut plan }.containers(),
        None if input.finished() => {}
        None => {
            if let Some(dead) = sandbox {
                plan.actions.push(Action::StopSandbox { id: dead.id.clone() });
            }
            let attempt = sandbox.map_or(0, |dead| dead.attempt + 1);
            plan.actions.push(Action::CreateSandbox { attempt });
        }
    }
    plan
}

impl Input<'_> {
    /// Whether nothing will ever be started again: every main container has ended for good, or
    /// an init container has failed for good.
    fn finished(&self) -> bool {
        let policy = RestartPolicy::of(self.spec);
        let done = |spec: &Spec| match self.observed.latest(&spec.name).map(|found| &found.state) {
            Some(State::Exited(exited)) => !policy.restarts(exited.code),
            _ => false,
        };
        let init_failed = self.init_failed_for_good();
        init_failed || self.spec.containers.iter().all(done)
    }

    fn init_failed_for_good(&self) -> bool {
        let failed = |spec: &Spec| match self.observed.latest(&spec.name).map(|found| &found.state)
        {
            Some(State::Exited(exited)) => exited.code != 0,
            _ => false,
        };
        let mut inits = self.spec.init_containers.iter().flatten();
        let never = RestartPolicy::of(self.spec) == RestartPolicy::Never;
        never && inits.any(|spec| !is_sidecar(spec) && failed(spec))
    }

    fn next_attempt(&self, name: &str) -> u32 {
        let seen = self.observed.containers.iter().filter(|found| found.name == name);
        let seen = seen.map(|found| found.attempt + 1).max();
        seen.or_else(|| (self.restarts)(name).map(|count| count + 1)).unwrap_or(0)
    }
}

struct Planner<'a> {
    input: &'a Input<'a>,
    sandbox: &'a str,
    plan: &'a mut Plan,
}

impl Planner<'_> {
    fn containers(&mut self) {
        if self.input.finished() {
            self.end_sidecars();
            return;
        }
        if self.initialized() {
            for spec in &self.input.spec.containers {
                self.keep(spec, RestartPolicy::of(self.input.spec));
            }
        }
    }

    /// Does what the init containers need; true once main containers may start.
    fn initialized(&mut self) -> bool {
        let main_ran = self.main_ran();
        for spec in self.input.spec.init_containers.iter().flatten() {
            if is_sidecar(spec) {
                self.keep(spec, RestartPolicy::Always);
                if !main_ran && !self.is_started(spec) {
                    return false;
                }
            } else if !main_ran && !self.init_done(spec) {
                return false;
            }
        }
        true
    }

    /// Whether a main container was ever made in this sandbox: then init is behind us.
    fn main_ran(&self) -> bool {
        let seen = |spec: &Spec| self.input.observed.latest_in(self.sandbox, &spec.name).is_some();
        self.input.spec.containers.iter().any(seen)
    }

    fn is_started(&self, spec: &Spec) -> bool {
        let found = self.input.observed.latest_in(self.sandbox, &spec.name);
        found.is_some_and(|found| found.running() && self.input.health.started(found, spec))
    }

    fn init_done(&mut self, spec: &Spec) -> bool {
        let found = self.input.observed.latest_in(self.sandbox, &spec.name);
        if let Some(State::Exited(Exited { code: 0, .. })) = found.map(|found| &found.state) {
            return true;
        }
        let policy = match RestartPolicy::of(self.input.spec) {
            RestartPolicy::Never => RestartPolicy::Never,
            _ => RestartPolicy::OnFailure,
        };
        self.keep(spec, policy);
        false
    }

    /// Sees to it that the container runs, as far as the policy says so.
    fn keep(&mut self, spec: &Spec, policy: RestartPolicy) {
        let Some(found) = self.input.observed.latest_in(self.sandbox, &spec.name) else {
            return self.start(spec);
        };
        match &found.state {
            State::Created => self.start(spec),
            State::Running { .. } => {
                if let Some(why) = self.input.health.condemned(found) {
                    self.kill(found, why);
                }
            }
            State::Exited(exited) if policy.restarts(exited.code) => self.restart(spec, exited),
            State::Exited(_) => {}
        }
    }

    fn restart(&mut self, spec: &Spec, exited: &Exited) {
        let key = backoff_key(self.input.uid, &spec.name);
        match self.input.backoff.waits_until(&key, exited.finished, self.input.now) {
            Some(until) => self.plan.waiting.push((spec.name.clone(), until)),
            None => self.start(spec),
        }
    }

    fn start(&mut self, spec: &Spec) {
        let attempt = self.input.next_attempt(&spec.name);
        self.plan.actions.push(Action::Start { name: spec.name.clone(), attempt });
    }

    fn kill(&mut self, container: &Container, why: Why) {
        let (id, name) = (container.id.clone(), container.name.clone());
        self.plan.actions.push(Action::Kill { id, name, why });
    }

    /// Sidecars end after the containers they serve, last started first.
    fn end_sidecars(&mut self) {
        let sidecars = self.input.spec.init_containers.iter().flatten().rev();
        for spec in sidecars.filter(|spec| is_sidecar(spec)) {
            if let Some(found) = self.input.observed.latest_in(self.sandbox, &spec.name)
                && found.running()
            {
                self.kill(&found.clone(), Why::PodDone);
            }
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
