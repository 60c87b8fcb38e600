//! What a user reads in `kubectl get` and `describe`, from what was seen.

use super::*;
use crate::observed::Sandbox;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn pod(policy: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 3},
        "spec": {"restartPolicy": policy, "containers": [{"name": "web", "image": "i:1"}]},
    }))
    .unwrap()
}

fn container(attempt: u32, state: State) -> Container {
    Container {
        id: format!("c{attempt}"),
        name: "web".to_string(),
        sandbox_id: "s".to_string(),
        attempt,
        image: "i:1".to_string(),
        image_ref: "i@sha256:1".to_string(),
        log_path: String::new(),
        state,
    }
}

fn exited(code: i32) -> State {
    State::Exited(Exited {
        started: Some(at(1)),
        finished: at(2),
        code,
        reason: String::new(),
        message: String::new(),
    })
}

fn running() -> State {
    State::Running { started: at(1) }
}

fn seen(containers: Vec<Container>) -> Observed {
    let addresses = vec!["10.0.0.2".to_string()];
    let sandbox = Sandbox { id: "s".to_string(), attempt: 0, ready: true, addresses };
    Observed { sandboxes: vec![sandbox], containers }
}

fn status_of(pod: &Pod, observed: &Observed, waiting: &[(&str, &str)], ready: bool) -> PodStatus {
    let waiting = waiting.iter().map(|(name, reason)| {
        let message = String::new();
        (name.to_string(), Waiting { reason: reason.to_string(), message })
    });
    status(&Input {
        pod,
        observed,
        waiting: &waiting.collect(),
        ready: &|_| ready,
        started: &|_| true,
        host_ip: "192.0.2.1",
        runtime: "test",
        failure: None,
        now: at(9),
    })
}

fn condition_of<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
    status.conditions.as_ref().unwrap().iter().find(|found| found.type_ == kind).unwrap()
}

#[test]
fn from_nothing_to_ready() {
    let pod = pod("Always");
    let new = status_of(&pod, &Observed::default(), &[], true);
    assert_eq!(new.phase.as_deref(), Some("Pending"));
    let web = &new.container_statuses.as_ref().unwrap()[0];
    let waiting = web.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
    assert_eq!(condition_of(&new, "PodReadyToStartContainers").status, "False");

    let up = status_of(&pod, &seen(vec![container(0, running())]), &[], true);
    assert_eq!((up.phase.as_deref(), up.pod_ip.as_deref()), (Some("Running"), Some("10.0.0.2")));
    assert_eq!(condition_of(&up, "Ready").status, "True");
    assert_eq!(up.observed_generation, Some(3));

    let unready = status_of(&pod, &seen(vec![container(0, running())]), &[], false);
    let ready = condition_of(&unready, "Ready");
    assert_eq!(ready.reason.as_deref(), Some("ContainersNotReady"));
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [web]"));
}

#[test]
fn a_crash_loop_shows_its_waiting_and_how_it_ended_before() {
    let observed = seen(vec![container(2, exited(7))]);
    let status = status_of(&pod("Always"), &observed, &[("web", "CrashLoopBackOff")], true);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let web = &status.container_statuses.as_ref().unwrap()[0];
    let waiting = web.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(web.restart_count, 2);
    let before = web.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((before.exit_code, before.reason.as_deref()), (7, Some("Error")));
}

#[test]
fn an_ended_job_succeeds_or_fails() {
    let phase = |policy: &str, code| {
        status_of(&pod(policy), &seen(vec![container(0, exited(code))]), &[], true).phase.unwrap()
    };
    assert_eq!(phase("Never", 0), "Succeeded");
    assert_eq!(phase("Never", 1), "Failed");
    assert_eq!(phase("OnFailure", 0), "Succeeded");
    assert_eq!(phase("OnFailure", 1), "Running");
    assert_eq!(phase("Always", 0), "Running");
}

#[test]
fn a_readiness_gate_holds_ready_back_and_conditions_of_others_stay() {
    let mut pod = pod("Always");
    let gates = json!([{"conditionType": "example.org/lb"}]);
    pod.spec.as_mut().unwrap().readiness_gates = serde_json::from_value(gates).unwrap();
    let observed = seen(vec![container(0, running())]);
    let held = status_of(&pod, &observed, &[], true);
    assert_eq!(condition_of(&held, "Ready").reason.as_deref(), Some("ReadinessGatesNotReady"));
    let gate = json!({"conditions": [{"type": "example.org/lb", "status": "True"}]});
    pod.status = serde_json::from_value(gate).unwrap();
    let open = status_of(&pod, &observed, &[], true);
    assert_eq!(condition_of(&open, "Ready").status, "True");
    assert_eq!(condition_of(&open, "example.org/lb").status, "True");
}

#[test]
fn only_changes_are_sent_and_transition_times_stay() {
    let mut pod = pod("Always");
    let observed = seen(vec![container(0, running())]);
    let first = status_of(&pod, &observed, &[], true);
    assert!(patch("u", None, &first).is_some());
    pod.status = Some(first.clone());
    let again = status(&Input {
        pod: &pod,
        observed: &observed,
        waiting: &HashMap::new(),
        ready: &|_| true,
        started: &|_| true,
        host_ip: "192.0.2.1",
        runtime: "test",
        failure: None,
        now: at(500),
    });
    assert_eq!(patch("u", Some(&first), &again), None);
    let unready = status_of(&pod, &observed, &[], false);
    let sent = patch("u", Some(&first), &unready).unwrap();
    let keys: Vec<_> = sent["status"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["conditions", "containerStatuses"]);
}
