//! One pod's worker: looks, plans, acts, reports; and at the end cleans up.
//!
//! A worker lives through these stages, each at most once and in this order:
//! Syncing → Terminating (deletion asked for, or the pod is gone) → Terminated (nothing left).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansa_api::k8s_openapi::api::core::v1::{Container as Spec, Pod, PodStatus};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::api::{ApiError, Kind};
use crate::backoff::Backoff;
use crate::context::{Context, new_backoff, now};
use crate::cri::CriError;
use crate::killer;
use crate::last_words::with_last_words;
use crate::names::identity;
use crate::observed::{Container, Observed};
use crate::plan::{self, Action, Health, Plan, Why, backoff_key};
use crate::probes::Prober;
use crate::starter::{Starter, address_of};
use crate::status::{self, Failure, Waiting};
use crate::volumes::Mounter;

/// After a failure, the next try.
const RETRY: Duration = Duration::from_secs(2);

/// When a status that somebody else has changed is set right, at the earliest: two that do not agree
/// must not write all the time.
const SET_RIGHT: Duration = Duration::from_secs(10);

/// What a worker is told.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The pod as last seen.
    pub pod: Arc<Pod>,
    /// Set once the pod is to end.
    pub end: Option<End>,
}

/// How a pod is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How long its containers may take.
    pub grace: Duration,
    /// Whether the API server has forgotten it already.
    pub gone: bool,
}

/// One pod's worker.
pub struct Worker {
    context: Arc<Context>,
    desired: watch::Receiver<Desired>,
    wake: Arc<Notify>,
    mounter: Mounter,
    volumes: Option<(Instant, HashMap<String, PathBuf>)>,
    prober: Prober,
    backoff: Backoff,
    waiting: HashMap<String, Waiting>,
    failure: Option<Failure>,
    sent: Option<PodStatus>,
}

impl Worker {
    /// A worker for the pod in `desired`; `wake` makes it look again.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        desired: watch::Receiver<Desired>,
        wake: Arc<Notify>,
    ) -> Self {
        let mounter = Mounter::new(context.api.clone(), context.folders.clone());
        let (events, watched) = (context.clone(), desired.clone());
        let complain = Arc::new(move |container: &str, note: String| {
            let pod = watched.borrow().pod.clone();
            events.event(&pod, container, Kind::Warning, "Unhealthy", note);
        });
        let prober = Prober::new(context.cri.clone(), wake.clone(), complain);
        let backoff = new_backoff(&context.config);
        Self {
            context,
            desired,
            wake,
            mounter,
            volumes: None,
            prober,
            backoff,
            waiting: HashMap::new(),
            failure: None,
            sent: None,
        }
    }

    /// Works until the pod is gone and nothing of it is left.
    pub async fn run(mut self) {
        let mut resync = Instant::now();
        loop {
            let desired = self.desired.borrow_and_update().clone();
            if let Some(end) = desired.end {
                return self.terminate(end).await;
            }
            let overridden = is_overridden(&desired.pod, self.sent.as_ref());
            let longest = self.context.config.periods.resync;
            let longest = if overridden { longest.min(SET_RIGHT) } else { longest };
            if resync.elapsed() > longest {
                resync = Instant::now();
                self.sent = None;
            }
            let pause = match self.reconcile(&desired.pod).await {
                Ok(pause) => pause.min(longest),
                Err(error) => {
                    let (namespace, name, _) = identity(&desired.pod);
                    tracing::warn!(%error, namespace, name, "pod sync failed");
                    RETRY
                }
            };
            tokio::select! {
                changed = self.desired.changed() => if changed.is_err() { return },
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look and its consequences; how long until the next look at the latest.
    async fn reconcile(&mut self, pod: &Pod) -> Result<Duration, CriError> {
        let uid = identity(pod).2;
        let observed = self.context.cri.observe(uid).await?;
        if self.is_over(pod) {
            return self.put_to_rest(pod, &observed).await;
        }
        self.follow_probes(pod, &observed);
        let plan = self.plan(pod, &observed);
        self.note_waiting(pod, &plan);
        if !self.mounted(pod, &observed).await {
            self.report(pod, &observed).await;
            return Ok(RETRY);
        }
        let reported = self.report(pod, &observed).await;
        let done = self.act(pod, &observed, &plan).await;
        self.collect_garbage(pod, &observed).await;
        if !plan.actions.is_empty() {
            let observed = self.context.cri.observe(uid).await?;
            self.follow_probes(pod, &observed);
            self.report(pod, &observed).await;
            return Ok(if done { Duration::from_millis(10) } else { RETRY });
        }
        Ok(if reported { self.pause(pod, &plan) } else { RETRY })
    }

    /// Until the first back-off or the pod's time ends, or the next resync.
    fn pause(&self, pod: &Pod, plan: &Plan) -> Duration {
        let now = now();
        let waits = plan.waiting.iter().map(|(_, until)| *until).chain(deadline(pod));
        let until = waits.map(|until| until.duration_since(now).try_into().unwrap_or_default());
        until.min().unwrap_or(Duration::MAX).min(self.context.config.periods.resync)
    }

    /// Whether the pod has come to its end for good: it is never started again.
    fn is_over(&mut self, pod: &Pod) -> bool {
        if let Some(failure) = deadline_exceeded(pod, now()) {
            self.failure = Some(failure);
        }
        self.failure.is_some() || has_ended(pod)
    }

    async fn put_to_rest(&mut self, pod: &Pod, observed: &Observed) -> Result<Duration, CriError> {
        self.prober.stop();
        if observed.running().next().is_some() {
            killer::stop_all(&self.context, pod, observed, grace_of(pod)).await;
        }
        for sandbox in observed.sandboxes.iter().filter(|sandbox| sandbox.ready) {
            self.context.cri.stop_sandbox(&sandbox.id).await?;
        }
        if self.failure.is_some() {
            let observed = self.context.cri.observe(identity(pod).2).await?;
            self.report(pod, &observed).await;
        }
        Ok(self.context.config.periods.resync)
    }

    fn follow_probes(&mut self, pod: &Pod, observed: &Observed) {
        let Some(sandbox) = observed.sandbox() else { return };
        let running: Vec<(&Container, &Spec)> = observed
            .running()
            .filter_map(|found| Some((found, spec_of(pod, &found.name)?)))
            .collect();
        self.prober.follow(&running, &address_of(&self.context, sandbox));
    }

    fn plan(&self, pod: &Pod, observed: &Observed) -> Plan {
        let spec = pod.spec.clone().unwrap_or_default();
        plan::plan(&plan::Input {
            uid: identity(pod).2,
            spec: &spec,
            observed,
            health: &self.prober,
            backoff: &self.backoff,
            restarts: &|name| restarts_in_status(pod, name),
            now: now(),
        })
    }

    /// Containers in back-off say so; the event comes once per wait.
    fn note_waiting(&mut self, pod: &Pod, plan: &Plan) {
        let (namespace, name, uid) = identity(pod);
        self.waiting.retain(|_, waiting| waiting.reason != "CrashLoopBackOff");
        for (container, _) in &plan.waiting {
            let delay = self.backoff.delay(&backoff_key(uid, container));
            let what = format!("container={container} pod={name}_{namespace}({uid})");
            let message = format!("back-off {}s restarting failed {what}", delay.as_secs());
            let reason = "CrashLoopBackOff".to_string();
            self.waiting.insert(container.clone(), Waiting { reason, message });
            let note = format!(
                "Back-off restarting failed container {container} in pod {name}_{namespace}({uid})"
            );
            self.context.event(pod, container, Kind::Warning, "BackOff", note);
        }
    }

    /// Makes the volumes, or refreshes them now and then. False if one is missing.
    async fn mounted(&mut self, pod: &Pod, observed: &Observed) -> bool {
        let fresh = self.context.config.periods.resync;
        if self.volumes.as_ref().is_some_and(|(since, _)| since.elapsed() < fresh) {
            return true;
        }
        let host_network = pod.spec.as_ref().is_some_and(crate::sandbox::host_network);
        let place = self.context.place(observed, host_network);
        let uid = identity(pod).2;
        let made = std::fs::create_dir_all(self.context.folders.pod(uid));
        if let Err(error) = made {
            tracing::error!(%error, "could not make the pod's folder");
            return false;
        }
        match self.mounter.mount(pod, &place).await {
            Ok(paths) => {
                self.volumes = Some((Instant::now(), paths));
                true
            }
            Err((volume, error)) => {
                let note = format!("MountVolume.SetUp failed for volume {volume:?} : {error}");
                self.context.pod_event(pod, Kind::Warning, "FailedMount", note);
                self.volumes.is_some()
            }
        }
    }

    /// Takes the steps; false if one failed.
    async fn act(&mut self, pod: &Pod, observed: &Observed, plan: &Plan) -> bool {
        let mut done = true;
        for action in &plan.actions {
            if self.desired.borrow().end.is_some() {
                return true;
            }
            done &= self.step(pod, observed, action).await;
        }
        done
    }

    async fn step(&mut self, pod: &Pod, observed: &Observed, action: &Action) -> bool {
        match action {
            Action::StopSandbox { id } => {
                let note = "Pod sandbox changed, it will be killed and re-created.".to_string();
                self.context.pod_event(pod, Kind::Normal, "SandboxChanged", note);
                self.context.cri.stop_sandbox(id).await.is_ok()
            }
            Action::CreateSandbox { attempt } => self.create_sandbox(pod, observed, *attempt).await,
            Action::Start { name, attempt } => self.start(pod, observed, name, *attempt).await,
            Action::Kill { id, name, why } => {
                self.kill(pod, observed, id, *why).await;
                self.waiting.remove(name);
                true
            }
        }
    }

    async fn create_sandbox(&self, pod: &Pod, observed: &Observed, attempt: u32) -> bool {
        let none = HashMap::new();
        let volumes = self.volumes.as_ref().map_or(&none, |(_, paths)| paths);
        let starter = Starter { context: &self.context, pod, observed, volumes };
        match starter.sandbox(attempt).await {
            Ok(()) => true,
            Err(waiting) => {
                tracing::debug!(message = waiting.message, "no sandbox");
                false
            }
        }
    }

    async fn start(&mut self, pod: &Pod, observed: &Observed, name: &str, attempt: u32) -> bool {
        let (Some(sandbox), Some(spec)) = (observed.sandbox(), spec_of(pod, name)) else {
            return false;
        };
        if attempt > 0 {
            self.backoff.next(&backoff_key(identity(pod).2, name), now());
        }
        let none = HashMap::new();
        let volumes = self.volumes.as_ref().map_or(&none, |(_, paths)| paths);
        let starter = Starter { context: &self.context, pod, observed, volumes };
        let mut ended = self.desired.clone();
        let started = tokio::select! {
            started = starter.container(sandbox, spec, attempt) => started,
            _ = ended.wait_for(|desired| desired.end.is_some()) => return true,
        };
        match started {
            Ok(()) => {
                self.waiting.remove(name);
                true
            }
            Err(waiting) => {
                self.waiting.insert(name.to_string(), waiting);
                false
            }
        }
    }

    async fn kill(&mut self, pod: &Pod, observed: &Observed, id: &str, why: Why) {
        let Some(found) = observed.containers.iter().find(|found| found.id == id) else { return };
        let spec = spec_of(pod, &found.name);
        let (probe, text) = match why {
            Why::Unhealthy => (
                spec.and_then(|spec| spec.liveness_probe.as_ref()),
                "failed liveness probe, will be restarted",
            ),
            Why::NotStarted => (
                spec.and_then(|spec| spec.startup_probe.as_ref()),
                "failed startup probe, will be restarted",
            ),
            Why::PodDone => (None, ""),
        };
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        let own = own.and_then(|secs| u64::try_from(secs).ok()).map(Duration::from_secs);
        let grace = own.unwrap_or_else(|| grace_of(pod));
        killer::stop(&self.context, pod, observed, found, grace, text).await;
    }

    /// Keeps the newest two containers of each name and the newest sandbox.
    async fn collect_garbage(&self, pod: &Pod, observed: &Observed) {
        let mut seen: HashMap<&str, u32> = HashMap::new();
        for found in &observed.containers {
            let count = seen.entry(&found.name).or_default();
            *count += 1;
            if *count > 2 && !found.running() {
                let _ = self.context.cri.remove_container(&found.id).await;
                let (namespace, name, uid) = identity(pod);
                let logs = self.context.folders.logs(namespace, name, uid);
                let log = logs.join(crate::names::log_path(&found.name, found.attempt));
                let _ = std::fs::remove_file(log);
            }
        }
        for old in observed.sandboxes.iter().skip(1) {
            let _ = self.context.cri.stop_sandbox(&old.id).await;
            let _ = self.context.cri.remove_sandbox(&old.id).await;
        }
    }

    /// Sends the status if it changed; false if that failed.
    async fn report(&mut self, pod: &Pod, observed: &Observed) -> bool {
        let known = with_status(pod, self.sent.as_ref());
        let observed = &with_last_words(&self.context, pod, observed);
        let prober = &self.prober;
        let spec = |found: &Container| spec_of(pod, &found.name);
        let new = status::status(&status::Input {
            pod: &known,
            observed,
            waiting: &self.waiting,
            ready: &|found| spec(found).is_none_or(|spec| prober.ready(found, spec)),
            started: &|found| spec(found).is_none_or(|spec| prober.started(found, spec)),
            host_ip: &self.context.config.address.to_string(),
            runtime: &self.context.runtime.0,
            failure: self.failure.as_ref(),
            now: now(),
        });
        let (namespace, name, uid) = identity(pod);
        let Some(patch) = status::patch(uid, known.status.as_ref(), &new) else {
            self.sent = Some(new);
            return true;
        };
        match self.context.api.patch_status(namespace, name, &patch).await {
            Ok(()) | Err(ApiError::NotFound | ApiError::Conflict) => {
                self.sent = Some(new);
                true
            }
            Err(error) => {
                tracing::debug!(%error, namespace, name, "status not sent");
                false
            }
        }
    }

    /// Ends the containers, reports, lets the API server forget the pod, removes what is left.
    async fn terminate(mut self, end: End) {
        self.prober.stop();
        let mut end = end;
        while let Err(error) = self.stop_everything(&mut end).await {
            tracing::warn!(%error, "could not end the pod's containers yet");
            tokio::time::sleep(RETRY).await;
        }
        let pod = self.desired.borrow().pod.clone();
        let (namespace, name, uid) = identity(&pod);
        while !self.desired.borrow().end.is_some_and(|end| end.gone) {
            if let Ok(observed) = self.context.cri.observe(uid).await {
                self.report(&pod, &observed).await;
            }
            match self.context.api.delete_pod(namespace, name, uid).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, namespace, name, "could not delete the pod"),
            }
            tokio::time::sleep(RETRY).await;
        }
        self.clean_up(&pod).await;
    }

    /// Stops containers and sandboxes; starts over when the grace period becomes shorter.
    async fn stop_everything(&mut self, end: &mut End) -> Result<(), CriError> {
        let pod = self.desired.borrow().pod.clone();
        let uid = identity(&pod).2;
        loop {
            let observed = self.context.cri.observe(uid).await?;
            let mut desired = self.desired.clone();
            let grace = end.grace;
            let shorter = |desired: &Desired| desired.end.is_some_and(|end| end.grace < grace);
            tokio::select! {
                () = killer::stop_all(&self.context, &pod, &observed, grace) => {}
                Ok(changed) = desired.wait_for(shorter) => {
                    *end = changed.end.unwrap_or(*end);
                    continue;
                }
            }
            for sandbox in &observed.sandboxes {
                self.context.cri.stop_sandbox(&sandbox.id).await?;
            }
            return Ok(());
        }
    }

    async fn clean_up(&self, pod: &Pod) {
        let (namespace, name, uid) = identity(pod);
        let observed = self.context.cri.observe(uid).await.unwrap_or_default();
        for container in &observed.containers {
            let _ = self.context.cri.remove_container(&container.id).await;
        }
        for sandbox in &observed.sandboxes {
            if let Err(error) = self.context.cri.remove_sandbox(&sandbox.id).await {
                tracing::warn!(%error, namespace, name, "could not remove the sandbox");
            }
        }
        let folders = &self.context.folders;
        for dir in [folders.pod(uid), folders.logs(namespace, name, uid)] {
            if let Err(error) = crate::files::remove_dir(&dir) {
                tracing::warn!(%error, dir = %dir.display(), "could not remove");
            }
        }
    }
}

/// The container of this name in a pod, init containers included.
#[must_use]
pub fn spec_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a Spec> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|spec| spec.name == name)
}

/// The pod's grace period.
#[must_use]
pub fn grace_of(pod: &Pod) -> Duration {
    let spec = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let secs = pod.metadata.deletion_grace_period_seconds.or(spec).unwrap_or(30);
    Duration::from_secs(u64::try_from(secs).unwrap_or(0))
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// When the pod must have come to its end, if it must and has not.
fn deadline(pod: &Pod) -> Option<Timestamp> {
    if has_ended(pod) {
        return None;
    }
    let most = u64::try_from(pod.spec.as_ref()?.active_deadline_seconds?).ok()?;
    let start = pod.status.as_ref()?.start_time.as_ref()?.0;
    start.checked_add(Duration::from_secs(most)).ok()
}

fn deadline_exceeded(pod: &Pod, now: Timestamp) -> Option<Failure> {
    (deadline(pod)? <= now).then(|| Failure {
        reason: "DeadlineExceeded".to_string(),
        message: "Pod was active on the node longer than the specified deadline".to_string(),
    })
}

/// Whether somebody has changed a condition of ours after it was sent, as a controller does that
/// thinks the node lost. What is seen late is older than what was sent.
fn is_overridden(pod: &Pod, sent: Option<&PodStatus>) -> bool {
    let ours = |status: &PodStatus| {
        let all = status.conditions.clone().unwrap_or_default().into_iter();
        let own = all.filter(|one| status::OWN_CONDITIONS.contains(&one.type_.as_str()));
        own.map(|one| (one.type_, (one.status, one.last_transition_time))).collect()
    };
    let Some((seen, sent)) = pod.status.as_ref().zip(sent) else { return false };
    let (seen, sent): (HashMap<_, _>, HashMap<_, _>) = (ours(seen), ours(sent));
    seen.iter().any(|(kind, (status, since))| {
        sent.get(kind).is_some_and(|(was, at)| was != status && at < since)
    })
}

/// How often a container was restarted according to the status; `None` if it never ran.
fn restarts_in_status(pod: &Pod, name: &str) -> Option<u32> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(status.init_container_statuses.iter());
    let found = all.flatten().find(|status| status.name == name)?;
    found.container_id.as_ref()?;
    u32::try_from(found.restart_count).ok()
}

/// The pod with the status that was sent last, but with conditions of others as last seen.
fn with_status(pod: &Pod, sent: Option<&PodStatus>) -> Pod {
    let Some(sent) = sent else { return pod.clone() };
    let mut status = sent.clone();
    let seen = pod.status.as_ref().and_then(|status| status.conditions.clone());
    let conditions = status.conditions.get_or_insert_default();
    for theirs in seen.unwrap_or_default() {
        if !status::OWN_CONDITIONS.contains(&theirs.type_.as_str()) {
            conditions.retain(|known| known.type_ != theirs.type_);
            conditions.push(theirs);
        }
    }
    Pod { status: Some(status), ..pod.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(ready: &str, since: &str) -> PodStatus {
        let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": since});
        serde_json::from_value(json!({"conditions": [condition]})).unwrap()
    }

    #[test]
    fn only_what_changed_after_it_was_sent_is_overridden() {
        let sent = status("True", "2026-01-01T00:00:10Z");
        let pod = |status: PodStatus| Pod { status: Some(status), ..Pod::default() };
        let late = pod(status("False", "2026-01-01T00:00:09Z"));
        let override_ = pod(status("False", "2026-01-01T00:00:11Z"));
        assert!(!is_overridden(&late, Some(&sent)), "that was before");
        assert!(is_overridden(&override_, Some(&sent)));
        assert!(!is_overridden(&pod(sent.clone()), Some(&sent)));
        assert!(!is_overridden(&override_, None));
    }

    #[test]
    fn a_pods_time_runs_from_its_start_and_not_after_its_end() {
        let mut pod: Pod = serde_json::from_value(json!({
            "spec": {"containers": [], "activeDeadlineSeconds": 60},
            "status": {"startTime": "2026-01-01T00:00:00Z"},
        }))
        .unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(deadline_exceeded(&pod, at("2026-01-01T00:00:59Z")), None);
        let late = deadline_exceeded(&pod, at("2026-01-01T00:01:00Z"));
        assert_eq!(late.map(|failure| failure.reason).as_deref(), Some("DeadlineExceeded"));
        pod.status.as_mut().unwrap().phase = Some("Succeeded".into());
        assert_eq!(deadline_exceeded(&pod, at("2026-01-01T00:01:00Z")), None);
    }
}
