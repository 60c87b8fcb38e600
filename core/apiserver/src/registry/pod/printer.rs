//! The row of a pod in `kubectl get pods`.

use hansa_api::meta::{self, bool_at, list_at, str_at};
use hansa_api::time::{human_duration, seconds_since};
use jiff::Timestamp;
use serde_json::Value;

use crate::generic::strategy::Column;
use crate::registry::cells;

pub(crate) fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Ready", "Containers that are ready, of all."),
        Column::new("Status", "Where the pod stands in its life."),
        Column::new("Restarts", "How often containers were restarted, and how long ago."),
        Column::age(),
        Column::wide("IP", "The pod's address."),
        Column::wide("Node", "The node it is bound to."),
        Column::wide("Nominated Node", "The node where room is being made for it."),
        Column::wide("Readiness Gates", "Conditions that hold, of those it waits for."),
    ]
}

pub(crate) fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let mut summary = Summary::new(pod);
    summary.read_init_containers(pod);
    if !summary.initializing {
        summary.read_containers(pod);
    }
    summary.read_deletion(pod);
    let ready = format!("{}/{}", summary.ready, summary.total);
    let restarts = match &summary.last_restart {
        Some(when) if summary.restarts > 0 => {
            let ago = seconds_since(when, now).map_or_else(|| "<unknown>".into(), human_duration);
            format!("{} ({ago} ago)", summary.restarts)
        }
        _ => summary.restarts.to_string(),
    };
    vec![
        cells::name(pod),
        ready.into(),
        summary.reason.into(),
        restarts.into(),
        cells::age(pod, now),
        cells::or(address(pod), cells::NONE),
        cells::or(str_at(pod, &["spec", "nodeName"]), cells::NONE),
        cells::or(str_at(pod, &["status", "nominatedNodeName"]), cells::NONE),
        readiness_gates(pod),
    ]
}

fn address(pod: &Value) -> &str {
    match list_at(pod, &["status", "podIPs"]).first() {
        Some(first) => str_at(first, &["ip"]),
        None => str_at(pod, &["status", "podIP"]),
    }
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = list_at(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return cells::NONE.into();
    }
    let holds = |gate: &&Value| condition(pod, str_at(gate, &["conditionType"])) == "True";
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len()).into()
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    let mut conditions = list_at(pod, &["status", "conditions"]).iter();
    let found = conditions.find(|condition| str_at(condition, &["type"]) == kind);
    found.map_or("", |condition| str_at(condition, &["status"]))
}

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<String>,
    /// Restarts of sidecars, which count along with the containers'.
    sidecar_restarts: i64,
    sidecar_last: Option<String>,
    initializing: bool,
}

impl Summary {
    fn new(pod: &Value) -> Self {
        let own = str_at(pod, &["status", "reason"]);
        let phase = str_at(pod, &["status", "phase"]);
        let mut reason = if own.is_empty() { phase } else { own }.to_owned();
        let conditions = list_at(pod, &["status", "conditions"]);
        let gated = conditions.iter().any(|condition| {
            str_at(condition, &["type"]) == "PodScheduled"
                && str_at(condition, &["reason"]) == "SchedulingGated"
        });
        if gated {
            reason = "SchedulingGated".into();
        }
        let total = list_at(pod, &["spec", "containers"]).len();
        Self { reason, total, ..Self::default() }
    }

    fn read_init_containers(&mut self, pod: &Value) {
        let declared = list_at(pod, &["spec", "initContainers"]);
        let is_sidecar = |name: &str| {
            declared.iter().any(|container| {
                str_at(container, &["name"]) == name
                    && str_at(container, &["restartPolicy"]) == "Always"
            })
        };
        self.total += declared
            .iter()
            .filter(|container| str_at(container, &["restartPolicy"]) == "Always")
            .count();
        for (at, status) in list_at(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
            let sidecar = is_sidecar(str_at(status, &["name"]));
            self.count_restarts(status);
            if sidecar {
                self.sidecar_restarts += cells::int(status, &["restartCount"]);
                later(&mut self.sidecar_last, last_finish(status));
            }
            if let Some(reason) = init_reason(status, sidecar, at, declared.len()) {
                self.reason = reason;
                self.initializing = true;
                break;
            }
            self.ready += usize::from(sidecar && bool_at(status, &["ready"]));
        }
        if condition(pod, "Initialized") == "True" {
            self.initializing = false;
        }
    }

    fn count_restarts(&mut self, status: &Value) {
        self.restarts += cells::int(status, &["restartCount"]);
        later(&mut self.last_restart, last_finish(status));
    }

    fn read_containers(&mut self, pod: &Value) {
        self.restarts = self.sidecar_restarts;
        self.last_restart = self.sidecar_last.clone();
        let mut running = false;
        for status in list_at(pod, &["status", "containerStatuses"]).iter().rev() {
            self.count_restarts(status);
            let ready = bool_at(status, &["ready"]);
            let is_running = status["state"].get("running").is_some();
            match container_reason(status) {
                Some(reason) => self.reason = reason,
                None if ready && is_running => {
                    running = true;
                    self.ready += 1;
                }
                None => {}
            }
        }
        if self.reason == "Completed" && running {
            let ready = condition(pod, "Ready") == "True";
            self.reason = if ready { "Running" } else { "NotReady" }.into();
        }
    }

    fn read_deletion(&mut self, pod: &Value) {
        if meta::deletion_timestamp(pod).is_none() {
            return;
        }
        let lost = str_at(pod, &["status", "reason"]) == "NodeLost";
        let over = matches!(str_at(pod, &["status", "phase"]), "Succeeded" | "Failed");
        if lost {
            self.reason = "Unknown".into();
        } else if !over {
            self.reason = "Terminating".into();
        }
    }
}

fn later(latest: &mut Option<String>, candidate: Option<&str>) {
    if let Some(candidate) = candidate.filter(|when| latest.as_deref().is_none_or(|l| l < *when)) {
        *latest = Some(candidate.into());
    }
}

fn last_finish(status: &Value) -> Option<&str> {
    let text = str_at(status, &["lastState", "terminated", "finishedAt"]);
    (!text.is_empty()).then_some(text)
}

/// Why initialization is not past this container; `None` if it is.
fn init_reason(status: &Value, sidecar: bool, at: usize, count: usize) -> Option<String> {
    let state = &status["state"];
    if let Some(terminated) = state.get("terminated") {
        let code = cells::int(terminated, &["exitCode"]);
        if code == 0 {
            return None;
        }
        return Some(format!("Init:{}", exit_reason(terminated)));
    }
    if sidecar && bool_at(status, &["started"]) {
        return None;
    }
    match str_at(state, &["waiting", "reason"]) {
        "" | "PodInitializing" => Some(format!("Init:{at}/{count}")),
        reason => Some(format!("Init:{reason}")),
    }
}

/// What a container's state says of the pod.
fn container_reason(status: &Value) -> Option<String> {
    let state = &status["state"];
    match str_at(state, &["waiting", "reason"]) {
        "" => {}
        reason => return Some(reason.into()),
    }
    state.get("terminated").map(exit_reason)
}

fn exit_reason(terminated: &Value) -> String {
    let reason = str_at(terminated, &["reason"]);
    let signal = cells::int(terminated, &["signal"]);
    if !reason.is_empty() {
        reason.into()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", cells::int(terminated, &["exitCode"]))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(status: Value) -> Vec<String> {
        let pod = json!({"metadata": {"name": "p"}, "status": status,
            "spec": {"containers": [{"name": "a"}, {"name": "b"}],
                "initContainers": [{"name": "i"}]}});
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        row(&pod, now)[1..4].iter().map(|cell| cell.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn status_is_the_most_telling_thing() {
        let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
        let waiting = json!({"ready": false, "restartCount": 2,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}}});
        let done = json!({"ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let failed = json!({"ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 3}}});
        let cases = [
            (json!({"phase": "Pending"}), ["0/2", "Pending", "0"]),
            (
                json!({"phase": "Running", "containerStatuses": [running, running]}),
                ["2/2", "Running", "0"],
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running, waiting]}),
                ["1/2", "CrashLoopBackOff", "2 (5m ago)"],
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running, done],
                    "conditions": [{"type": "Ready", "status": "False"}]}),
                ["1/2", "NotReady", "0"],
            ),
            (
                json!({"phase": "Succeeded", "containerStatuses": [done, done]}),
                ["0/2", "Completed", "0"],
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [failed, failed]}),
                ["0/2", "ExitCode:3", "0"],
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [running]}),
                ["0/2", "Init:0/1", "0"],
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [waiting]}),
                ["0/2", "Init:CrashLoopBackOff", "2 (5m ago)"],
            ),
        ];
        for (status, expected) in cases {
            assert_eq!(shown(status.clone()), expected, "{status}");
        }
    }

    #[test]
    fn a_pod_that_is_being_deleted_terminates() {
        let mut pod = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{}]}, "status": {"phase": "Running"}});
        assert_eq!(row(&pod, Timestamp::now())[2], "Terminating");
        pod["status"] = json!({"phase": "Running", "reason": "NodeLost"});
        assert_eq!(row(&pod, Timestamp::now())[2], "Unknown");
    }
}
