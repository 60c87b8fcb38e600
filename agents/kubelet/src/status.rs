//! A pod's status from what was wanted and what was seen. Pure.

use std::collections::HashMap;

use hansa_api::k8s_openapi::api::core::v1::{
    Container as Spec, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::container::qos_class;
use crate::observed::{Container, Exited, Observed, State};
use crate::plan::{RestartPolicy, is_sidecar};
use crate::sandbox::host_network;

/// Why a container does not run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// One word: ContainerCreating, CrashLoopBackOff, ImagePullBackOff and so on.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// The conditions a kubelet owns; others belong to whoever set them.
pub const OWN_CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// A verdict on the whole pod that stands above its containers: DeadlineExceeded, Evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Everything the status depends on.
pub struct Input<'a> {
    /// The pod with its status so far.
    pub pod: &'a Pod,
    /// What is there.
    pub observed: &'a Observed,
    /// Why containers wait, by name.
    pub waiting: &'a HashMap<String, Waiting>,
    /// Whether a running container passes its readiness probe, or has none.
    pub ready: &'a dyn Fn(&Container) -> bool,
    /// Whether a running container has passed its startup probe, or has none.
    pub started: &'a dyn Fn(&Container) -> bool,
    /// The node's address.
    pub host_ip: &'a str,
    /// The runtime's name, the scheme of container IDs.
    pub runtime: &'a str,
    /// A verdict on the whole pod.
    pub failure: Option<&'a Failure>,
    /// Now.
    pub now: Timestamp,
}

/// The status.
#[must_use]
pub fn status(input: &Input<'_>) -> PodStatus {
    let spec = input.pod.spec.clone().unwrap_or_default();
    let old = input.pod.status.clone().unwrap_or_default();
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let init_statuses: Vec<_> = inits.iter().map(|own| one(input, own, true)).collect();
    let statuses: Vec<_> = spec.containers.iter().map(|own| one(input, own, false)).collect();
    let phase = match input.failure {
        Some(_) => "Failed",
        None => phase(&spec, &init_statuses, &statuses),
    };
    let conditions = conditions(input, &spec, phase, &init_statuses, &statuses);
    let addresses = addresses(input, &spec);
    let ips = addresses.iter().map(|ip| PodIP { ip: ip.clone() }).collect::<Vec<_>>();
    PodStatus {
        phase: Some(phase.to_string()),
        conditions: Some(conditions),
        init_container_statuses: (!inits.is_empty()).then_some(init_statuses),
        container_statuses: Some(statuses),
        host_ip: Some(input.host_ip.to_string()),
        host_ips: Some(vec![HostIP { ip: input.host_ip.to_string() }]),
        pod_ip: addresses.first().cloned(),
        pod_ips: (!ips.is_empty()).then_some(ips),
        start_time: old.start_time.or(Some(Time(seconds(input.now)))),
        reason: input.failure.map(|failure| failure.reason.clone()),
        message: input.failure.map(|failure| failure.message.clone()),
        qos_class: old.qos_class.or_else(|| Some(qos_class(Some(&spec)).to_string())),
        observed_generation: input.pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// The pod's addresses: the sandbox's, the node's on the host's network, else those it had.
fn addresses(input: &Input<'_>, spec: &PodSpec) -> Vec<String> {
    let Some(sandbox) = input.observed.sandbox() else {
        let old = input.pod.status.as_ref().and_then(|status| status.pod_ips.as_ref());
        return old.into_iter().flatten().map(|ip| ip.ip.clone()).collect();
    };
    if host_network(spec) {
        return vec![input.host_ip.to_string()];
    }
    sandbox.addresses.clone()
}

/// Times in the API have no fractions.
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn one(input: &Input<'_>, spec: &Spec, init: bool) -> ContainerStatus {
    let latest = input.observed.latest(&spec.name);
    let old = previous_status(input.pod, &spec.name, init);
    let waiting = input.waiting.get(&spec.name);
    let state = state(input, latest, waiting, old.as_ref());
    let running = latest.filter(|found| found.running());
    let started = running.is_some_and(|found| (input.started)(found));
    let terminated_well = state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0);
    let ready = match init && !is_sidecar(spec) {
        true => terminated_well,
        false => started && running.is_some_and(|found| (input.ready)(found)),
    };
    let restart_count = latest.map(|found| i32::try_from(found.attempt).unwrap_or(i32::MAX));
    ContainerStatus {
        name: spec.name.clone(),
        image: latest
            .map(|found| found.image.clone())
            .filter(|image| !image.is_empty())
            .or_else(|| spec.image.clone())
            .unwrap_or_default(),
        image_id: latest.map(|found| found.image_ref.clone()).unwrap_or_default(),
        container_id: latest.map(|found| container_id(input.runtime, &found.id)),
        last_state: last_state(input, latest, &state, old.as_ref()),
        ready,
        started: Some(started),
        restart_count: restart_count.or(old.map(|old| old.restart_count)).unwrap_or(0),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

/// A container's ID as the API shows it.
#[must_use]
pub fn container_id(runtime: &str, id: &str) -> String {
    format!("{runtime}://{id}")
}

fn previous_status(pod: &Pod, name: &str, init: bool) -> Option<ContainerStatus> {
    let status = pod.status.as_ref()?;
    let list = if init { &status.init_container_statuses } else { &status.container_statuses };
    list.iter().flatten().find(|status| status.name == name).cloned()
}

fn state(
    input: &Input<'_>,
    latest: Option<&Container>,
    waiting: Option<&Waiting>,
    old: Option<&ContainerStatus>,
) -> ContainerState {
    let wait = |waiting: &Waiting| ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(waiting.reason.clone()),
            message: (!waiting.message.is_empty()).then(|| waiting.message.clone()),
        }),
        ..ContainerState::default()
    };
    match latest.map(|found| (&found.state, found)) {
        Some((State::Running { started }, _)) => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*started)) }),
            ..ContainerState::default()
        },
        _ if waiting.is_some() => wait(waiting.expect("just seen")),
        Some((State::Exited(exited), found)) => terminated(input.runtime, found, exited),
        _ => match old.and_then(|old| old.state.clone()).filter(|old| old.terminated.is_some()) {
            Some(old) if is_done(input.pod) => old,
            _ => wait(&default_waiting(input)),
        },
    }
}

/// Whether the pod had come to its end before.
fn is_done(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}

fn default_waiting(input: &Input<'_>) -> Waiting {
    let inits = input.pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
    let has_inits = inits.is_some_and(|inits| !inits.is_empty());
    let reason = if has_inits { "PodInitializing" } else { "ContainerCreating" };
    Waiting { reason: reason.to_string(), message: String::new() }
}

fn terminated(runtime: &str, found: &Container, exited: &Exited) -> ContainerState {
    let reason = match (exited.reason.as_str(), exited.code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (given, _) => given,
    };
    let ended = ContainerStateTerminated {
        container_id: Some(container_id(runtime, &found.id)),
        exit_code: exited.code,
        finished_at: Some(Time(exited.finished)),
        started_at: exited.started.map(Time),
        reason: Some(reason.to_string()),
        message: (!exited.message.is_empty()).then(|| exited.message.clone()),
        signal: None,
    };
    ContainerState { terminated: Some(ended), ..ContainerState::default() }
}

/// How the container ended the time before: the latest if it is not the state already, else the
/// one before it, else what the status had.
fn last_state(
    input: &Input<'_>,
    latest: Option<&Container>,
    state: &ContainerState,
    old: Option<&ContainerStatus>,
) -> Option<ContainerState> {
    let latest = latest?;
    let shown = state.terminated.is_some();
    let mut all = input.observed.containers.iter().filter(|found| found.name == latest.name);
    let ended = all.find_map(|found| match &found.state {
        State::Exited(exited) if !(shown && found.id == latest.id) => {
            Some(terminated(input.runtime, found, exited))
        }
        _ => None,
    });
    let before = || {
        let same = old.and_then(|old| old.container_id.clone())
            == Some(container_id(input.runtime, &latest.id));
        let old = old?;
        if same { old.last_state.clone() } else { old.state.clone() }
    };
    ended
        .or_else(|| before().filter(|state| state.terminated.is_some()))
        .or(Some(ContainerState::default()))
}

/// Pending until every container has started once, then Running until all have ended for good.
fn phase(spec: &PodSpec, inits: &[ContainerStatus], all: &[ContainerStatus]) -> &'static str {
    let policy = RestartPolicy::of(spec);
    let ended = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        state.and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code)
    };
    let waits = |status: &ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.waiting.is_some())
    };
    let had_run = |status: &ContainerStatus| {
        status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
    };
    let specs = spec.init_containers.iter().flatten().zip(inits);
    let plain_inits: Vec<_> =
        specs.filter(|(spec, _)| !is_sidecar(spec)).map(|(_, status)| status).collect();
    let init_failed = plain_inits.iter().any(|init| ended(init).is_some_and(|code| code != 0));
    if init_failed && policy == RestartPolicy::Never {
        return "Failed";
    }
    if all.iter().any(|status| waits(status) && !had_run(status)) {
        return "Pending";
    }
    if !all.iter().all(|status| ended(status).is_some_and(|code| !policy.restarts(code))) {
        return "Running";
    }
    if all.iter().all(|status| ended(status) == Some(0)) { "Succeeded" } else { "Failed" }
}

fn conditions(
    input: &Input<'_>,
    spec: &PodSpec,
    phase: &str,
    inits: &[ContainerStatus],
    all: &[ContainerStatus],
) -> Vec<PodCondition> {
    let sandbox = input.observed.sandbox().is_some_and(|sandbox| sandbox.ready);
    let initialized = initialized(spec, phase, inits, all);
    let containers_ready = containers_ready(phase, all);
    let ready = gates(input, spec, &containers_ready);
    let plain = |ok: bool| (ok, String::new(), String::new());
    let own = [
        ("PodReadyToStartContainers", plain(sandbox)),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", plain(true)),
    ];
    let old = input.pod.status.as_ref().and_then(|status| status.conditions.clone());
    let old = old.unwrap_or_default();
    let mut conditions: Vec<_> =
        own.into_iter().map(|(kind, verdict)| condition(input, &old, kind, verdict)).collect();
    let ours = |kind: &str| conditions.iter().any(|own| own.type_ == kind);
    let others: Vec<_> = old.iter().filter(|other| !ours(&other.type_)).cloned().collect();
    conditions.extend(others);
    conditions
}

type Verdict = (bool, String, String);

fn condition(
    input: &Input<'_>,
    old: &[PodCondition],
    kind: &str,
    (ok, reason, message): Verdict,
) -> PodCondition {
    let status = if ok { "True" } else { "False" };
    let before = old.iter().find(|old| old.type_ == kind && old.status == status);
    let since = before.and_then(|before| before.last_transition_time.clone());
    PodCondition {
        type_: kind.to_string(),
        status: status.to_string(),
        last_transition_time: since.or(Some(Time(seconds(input.now)))),
        reason: (!reason.is_empty()).then_some(reason),
        message: (!message.is_empty()).then_some(message),
        observed_generation: input.pod.metadata.generation,
        last_probe_time: None,
    }
}

fn listing(statuses: &[&ContainerStatus]) -> String {
    let names: Vec<_> = statuses.iter().map(|status| status.name.as_str()).collect();
    format!("[{}]", names.join(" "))
}

fn initialized(
    spec: &PodSpec,
    phase: &str,
    inits: &[ContainerStatus],
    all: &[ContainerStatus],
) -> Verdict {
    let completed = || (true, "PodCompleted".to_string(), String::new());
    if phase == "Succeeded" {
        return completed();
    }
    let began = all.iter().any(|status| status.container_id.is_some());
    let specs = spec.init_containers.iter().flatten().zip(inits);
    let open: Vec<_> = specs
        .filter(
            |(spec, status)| {
                if is_sidecar(spec) { status.started != Some(true) } else { !status.ready }
            },
        )
        .map(|(_, status)| status)
        .collect();
    if open.is_empty() || began {
        return (true, String::new(), String::new());
    }
    let message = format!("containers with incomplete status: {}", listing(&open));
    (false, "ContainersNotInitialized".to_string(), message)
}

fn containers_ready(phase: &str, all: &[ContainerStatus]) -> Verdict {
    match phase {
        "Succeeded" => return (false, "PodCompleted".to_string(), String::new()),
        "Failed" => return (false, "PodFailed".to_string(), String::new()),
        _ => {}
    }
    let unready: Vec<_> = all.iter().filter(|status| !status.ready).collect();
    if unready.is_empty() {
        return (true, String::new(), String::new());
    }
    let message = format!("containers with unready status: {}", listing(&unready));
    (false, "ContainersNotReady".to_string(), message)
}

/// Ready is ContainersReady and every readiness gate (KEP-580).
fn gates(input: &Input<'_>, spec: &PodSpec, containers: &Verdict) -> Verdict {
    if !containers.0 {
        return containers.clone();
    }
    let old = input.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let open = |kind: &str| {
        let found = old.into_iter().flatten().find(|condition| condition.type_ == kind);
        found.is_none_or(|condition| condition.status != "True")
    };
    for gate in spec.readiness_gates.iter().flatten() {
        if open(&gate.condition_type) {
            let text = format!(
                "the status of pod readiness gate {:?} is not \"True\"",
                gate.condition_type
            );
            return (false, "ReadinessGatesNotReady".to_string(), text);
        }
    }
    (true, String::new(), String::new())
}

/// What to send so that the API server's status becomes `new`: changed top-level fields only,
/// `None` if there is nothing to send.
#[must_use]
pub fn patch(uid: &str, old: Option<&PodStatus>, new: &PodStatus) -> Option<Value> {
    let old = object(old.cloned().unwrap_or_default());
    let new = object(new.clone());
    let mut changed = Map::new();
    for (key, value) in &new {
        if old.get(key) != Some(value) {
            changed.insert(key.clone(), value.clone());
        }
    }
    for key in ["reason", "message", "podIP", "podIPs"] {
        if old.contains_key(key) && !new.contains_key(key) {
            changed.insert(key.to_string(), Value::Null);
        }
    }
    (!changed.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": changed}))
}

fn object(status: PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
