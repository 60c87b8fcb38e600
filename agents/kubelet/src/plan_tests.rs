//! The rules of starting and restarting, one by one.

use std::time::Duration;

use super::*;
use crate::observed::Sandbox;

struct Probes {
    started: bool,
    condemned: Option<Why>,
}

impl Health for Probes {
    fn started(&self, _: &Container, _: &Spec) -> bool {
        self.started
    }

    fn condemned(&self, _: &Container) -> Option<Why> {
        self.condemned
    }
}

const FINE: Probes = Probes { started: true, condemned: None };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn spec(policy: &str, init: &[(&str, bool)], main: &[&str]) -> PodSpec {
    let container = |name: &str| Spec { name: name.to_string(), ..Spec::default() };
    let init = init.iter().map(|(name, sidecar)| Spec {
        restart_policy: sidecar.then(|| "Always".to_string()),
        ..container(name)
    });
    PodSpec {
        restart_policy: Some(policy.to_string()),
        init_containers: Some(init.collect()),
        containers: main.iter().map(|name| container(name)).collect(),
        ..PodSpec::default()
    }
}

fn sandbox(id: &str, attempt: u32, ready: bool) -> Sandbox {
    Sandbox { id: id.to_string(), attempt, ready, addresses: Vec::new() }
}

fn container(name: &str, attempt: u32, state: State) -> Container {
    Container {
        id: format!("{name}-{attempt}"),
        name: name.to_string(),
        sandbox_id: "s0".to_string(),
        attempt,
        image: String::new(),
        image_ref: String::new(),
        log_path: String::new(),
        state,
    }
}

fn running() -> State {
    State::Running { started: at(0) }
}

fn exited(code: i32, second: i64) -> State {
    let (reason, message) = (String::new(), String::new());
    let (started, finished) = (Some(at(0)), at(second));
    State::Exited(Exited { started, finished, code, reason, message })
}

fn run(spec: &PodSpec, observed: Observed, probes: &Probes, backoff: &Backoff, now: i64) -> Plan {
    plan(&Input {
        uid: "u",
        spec,
        observed: &observed,
        health: probes,
        backoff,
        restarts: &|_| None,
        now: at(now),
    })
}

fn simple(spec: &PodSpec, containers: Vec<Container>) -> Vec<Action> {
    let backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
    let observed = Observed { sandboxes: vec![sandbox("s0", 0, true)], containers };
    run(spec, observed, &FINE, &backoff, 100).actions
}

fn start(name: &str, attempt: u32) -> Action {
    Action::Start { name: name.to_string(), attempt }
}

#[test]
fn a_new_pod_gets_a_sandbox_first_and_a_dead_one_is_replaced() {
    let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
    let spec = spec("Always", &[], &["web"]);
    let new = run(&spec, Observed::default(), &FINE, &backoff, 0);
    assert_eq!(new.actions, [Action::CreateSandbox { attempt: 0 }]);
    let dead = Observed {
        sandboxes: vec![sandbox("s0", 0, false)],
        containers: vec![container("web", 0, exited(0, 1))],
    };
    let stop = Action::StopSandbox { id: "s0".to_string() };
    let actions = run(&spec, dead, &FINE, &backoff, 9).actions;
    assert_eq!(actions, [stop, Action::CreateSandbox { attempt: 1 }]);
}

#[test]
fn init_containers_run_one_after_the_other_then_all_main_ones() {
    let spec = spec("Always", &[("one", false), ("two", false)], &["web", "log"]);
    assert_eq!(simple(&spec, vec![]), [start("one", 0)]);
    assert_eq!(simple(&spec, vec![container("one", 0, running())]), []);
    let one = container("one", 0, exited(0, 1));
    assert_eq!(simple(&spec, vec![one.clone()]), [start("two", 0)]);
    let two = container("two", 0, exited(0, 1));
    assert_eq!(simple(&spec, vec![one, two]), [start("web", 0), start("log", 0)]);
}

#[test]
fn a_failed_init_container_is_tried_again_unless_never() {
    let failed = || vec![container("one", 0, exited(3, 1))];
    assert_eq!(simple(&spec("Always", &[("one", false)], &["web"]), failed()), [start("one", 1)]);
    assert_eq!(simple(&spec("Never", &[("one", false)], &["web"]), failed()), []);
}

#[test]
fn init_containers_do_not_run_again_when_the_runtime_has_forgotten_them() {
    let spec = spec("Always", &[("one", false)], &["web"]);
    assert_eq!(simple(&spec, vec![container("web", 0, running())]), []);
}

#[test]
fn a_sidecar_must_have_started_and_is_kept_and_ended_last() {
    let spec = spec("Never", &[("mesh", true)], &["job"]);
    let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
    let observed = |containers| Observed { sandboxes: vec![sandbox("s0", 0, true)], containers };
    let slow = Probes { started: false, condemned: None };
    let mesh = container("mesh", 0, running());
    assert_eq!(run(&spec, observed(vec![mesh.clone()]), &slow, &backoff, 0).actions, []);
    assert_eq!(simple(&spec, vec![mesh.clone()]), [start("job", 0)]);
    let crashed = container("mesh", 0, exited(1, 1));
    let job = container("job", 0, running());
    assert_eq!(simple(&spec, vec![crashed, job]), [start("mesh", 1)]);
    let done = container("job", 0, exited(0, 1));
    let kill = Action::Kill { id: mesh.id.clone(), name: "mesh".into(), why: Why::PodDone };
    assert_eq!(simple(&spec, vec![mesh, done]), [kill]);
}

#[test]
fn the_restart_policy_decides_and_attempts_count_up() {
    let ended = |code| vec![container("web", 4, exited(code, 1))];
    let with = |policy| spec(policy, &[], &["web"]);
    assert_eq!(simple(&with("Always"), ended(0)), [start("web", 5)]);
    assert_eq!(simple(&with("OnFailure"), ended(0)), []);
    assert_eq!(simple(&with("OnFailure"), ended(1)), [start("web", 5)]);
    assert_eq!(simple(&with("Never"), ended(1)), []);
}

#[test]
fn a_container_that_keeps_ending_waits() {
    let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
    backoff.next("u/web", at(0));
    let observed = Observed {
        sandboxes: vec![sandbox("s0", 0, true)],
        containers: vec![container("web", 1, exited(1, 5))],
    };
    let spec = spec("Always", &[], &["web"]);
    let waiting = run(&spec, observed.clone(), &FINE, &backoff, 6);
    assert_eq!(waiting, Plan { actions: vec![], waiting: vec![("web".to_string(), at(15))] });
    assert_eq!(run(&spec, observed, &FINE, &backoff, 15).actions, [start("web", 2)]);
}

#[test]
fn a_failed_probe_kills_and_nothing_else_is_disturbed() {
    let sick = Probes { started: true, condemned: Some(Why::Unhealthy) };
    let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
    let observed = Observed {
        sandboxes: vec![sandbox("s0", 0, true)],
        containers: vec![container("web", 0, running())],
    };
    let actions = run(&spec("Always", &[], &["web"]), observed, &sick, &backoff, 0).actions;
    let kill = Action::Kill { id: "web-0".into(), name: "web".into(), why: Why::Unhealthy };
    assert_eq!(actions, [kill]);
}

#[test]
fn a_pod_that_is_done_is_left_alone_even_without_a_sandbox() {
    let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
    let done = Observed { sandboxes: vec![], containers: vec![container("job", 0, exited(0, 1))] };
    let plan = run(&spec("OnFailure", &[], &["job"]), done, &FINE, &backoff, 0);
    assert_eq!(plan, Plan::default());
}

#[test]
fn restarts_count_on_from_the_status_when_the_runtime_has_forgotten() {
    let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
    let observed = Observed { sandboxes: vec![sandbox("s0", 0, true)], containers: vec![] };
    let plan = plan(&Input {
        uid: "u",
        spec: &spec("Always", &[], &["web"]),
        observed: &observed,
        health: &FINE,
        backoff: &backoff,
        restarts: &|_| Some(2),
        now: at(0),
    });
    assert_eq!(plan.actions, [start("web", 3)]);
}
