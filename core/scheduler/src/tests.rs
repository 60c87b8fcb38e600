//! Whole stories: a pretended cluster, the native policies, and what the scheduler did, line by
//! line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansa_api::k8s_openapi::api::core::v1::{Node, Pod};
use hansa_api::k8s_openapi::api::policy::v1::PodDisruptionBudget;
use hansa_client::Change;
use hansa_extension::ActiveSet;
use hansa_extension::scheduler::SchedulerPolicy;
use serde_json::{Value, json};

use crate::framework::{Action, Facts, Failure, Nominate, Scheduler};
use crate::metrics::Metrics;
use crate::pick::Dice;
use crate::record::DecisionLog;
use crate::shipped::SHIPPED;
use crate::view::Selector;

/// An API server that does what the scheduler says and tells it what came of that.
struct Story {
    scheduler: Scheduler,
    pods: BTreeMap<String, Pod>,
    now: Instant,
    log: DecisionLog,
    policies: Arc<ActiveSet<dyn SchedulerPolicy>>,
    lines: Vec<String>,
}

#[derive(Default)]
struct NoFacts;

impl Facts for NoFacts {
    fn owner_selector(&self, _pod: &Pod) -> Selector {
        Selector::default()
    }
    fn budgets(&self) -> Vec<Arc<PodDisruptionBudget>> {
        Vec::new()
    }
}

impl Story {
    fn new() -> Story {
        let (log, policies) = (DecisionLog::default(), hansa_scheduler_oracle::active());
        let scheduler = Scheduler::new(
            "default-scheduler",
            policies.clone(),
            Dice::new(1),
            log.clone(),
            Arc::new(Metrics::default()),
        );
        let (pods, lines, now) = (BTreeMap::new(), Vec::new(), Instant::now());
        Story { scheduler, pods, now, log, policies, lines }
    }

    fn node(&mut self, name: &str, cpu: u32) -> &mut Story {
        self.node_with(name, cpu, json!({}), json!({}))
    }

    fn node_with(&mut self, name: &str, cpu: u32, labels: Value, spec: Value) -> &mut Story {
        let node: Node = read(json!({
            "metadata": { "name": name, "labels": labels },
            "spec": spec,
            "status": { "allocatable": { "cpu": cpu, "memory": "16Gi", "pods": "110" } },
        }));
        let change = Change::Applied { old: None, new: Arc::new(node) };
        self.scheduler.node_changed(&change, self.now);
        self
    }

    /// A pod of `cpu` CPUs; `spec` is merged in.
    fn pod(&mut self, name: &str, cpu: u32, spec: Value) -> &mut Story {
        let cpu = cpu.to_string();
        let mut pod = json!({
            "metadata": { "name": name, "namespace": "ns", "uid": name,
                "labels": { "app": "web" } },
            "spec": { "schedulerName": "default-scheduler", "containers": [
                { "name": "c", "resources": { "requests": { "cpu": cpu, "memory": "1Gi" } } },
            ]},
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            pod["spec"][key] = value.clone();
        }
        self.apply(read(pod));
        self
    }

    fn apply(&mut self, pod: Pod) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let old = self.pods.insert(name, pod.clone()).map(Arc::new);
        self.scheduler.pod_changed(&Change::Applied { old, new: Arc::new(pod) }, self.now);
    }

    fn delete(&mut self, name: &str) -> &mut Story {
        let pod = self.pods.remove(name).expect("the story created it");
        self.scheduler.pod_changed(&Change::Deleted(Arc::new(pod)), self.now);
        self
    }

    fn wait(&mut self, secs: u64) -> &mut Story {
        self.now += Duration::from_secs(secs);
        self
    }

    /// Lets the scheduler work until it has nothing to do.
    fn run(&mut self) -> &mut Story {
        while let Some(action) = self.scheduler.schedule_one(&NoFacts, self.now) {
            match action {
                Action::Bind { uid, pod, node } => self.bind(&uid, &pod, &node),
                Action::Fail(failure) => self.fail(&failure),
            }
        }
        self
    }

    fn bind(&mut self, uid: &str, pod: &Pod, node: &str) {
        self.lines.push(format!("{uid} -> {node}"));
        self.scheduler.bound(uid, self.now);
        let mut pod = pod.clone();
        pod.spec.get_or_insert_default().node_name = Some(node.into());
        self.apply(pod);
    }

    fn fail(&mut self, failure: &Failure) {
        let nomination = match &failure.nomination {
            Nominate::Set(node) => format!(" [nominated {node}]"),
            Nominate::Clear => " [nomination cleared]".into(),
            Nominate::Keep => String::new(),
        };
        self.lines.push(format!("{}: {}{nomination}", failure.uid, failure.message));
        for victim in &failure.victims {
            self.lines.push(format!("{} evicted", victim.uid));
            self.delete(&victim.uid);
        }
    }

    fn told(&mut self, expect: &[&str]) {
        assert_eq!(std::mem::take(&mut self.lines), expect);
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the story writes valid objects")
}

#[test]
fn pods_go_where_there_is_room_until_there_is_none() {
    let mut story = Story::new();
    story.node("a", 2).node("b", 2);
    for name in ["p1", "p2", "p3"] {
        story.pod(name, 1, json!({}));
    }
    story.run().lines.sort();
    assert_eq!(story.lines.len(), 3);
    story.lines.clear();
    story.pod("big", 2, json!({})).run().told(&[
        "big: 0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: \
         2 No preemption victims found for incoming pod.",
    ]);
    story.node("c", 2).run().told(&[]);
    story.wait(1).run().told(&["big -> c"]);
}

#[test]
fn the_message_counts_each_reason() {
    let mut story = Story::new();
    let taint = json!({ "taints": [{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }] });
    story.node("small", 1).node_with("gpu", 8, json!({}), taint);
    story.node_with("cordoned", 8, json!({}), json!({ "unschedulable": true }));
    story.node_with("zoned", 8, json!({ "zone": "z" }), json!({}));
    story.pod("p", 4, json!({ "nodeSelector": { "zone": "other" } })).run().told(&[
        "p: 0/4 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 1 node(s) were \
         unschedulable, 2 node(s) didn't match Pod's node affinity/selector. preemption: \
         0/4 nodes are available: 4 Preemption is not helpful for scheduling.",
    ]);
    Story::new().pod("p", 1, json!({})).run().told(&["p: no nodes available to schedule pods"]);
}

#[test]
fn pods_of_other_schedulers_and_gated_pods_are_left_alone() {
    let mut story = Story::new();
    story.node("a", 4);
    story.pod("theirs", 1, json!({ "schedulerName": "other" })).run().told(&[]);
    let gates = json!({ "schedulingGates": [{ "name": "example.com/wait" }] });
    story.pod("gated", 1, gates).run().told(&[]);
    story.pod("gated", 1, json!({})).run().told(&["gated -> a"]);
}

#[test]
fn a_higher_priority_evicts_the_least_and_then_runs_there() {
    let mut story = Story::new();
    story.node("a", 4);
    story.pod("low", 2, json!({ "priority": 1 })).pod("mid", 2, json!({ "priority": 5 })).run();
    story.lines.clear();
    story
        .pod("high", 2, json!({ "priority": 100 }))
        .run()
        .told(&["high: 0/1 nodes are available: 1 Insufficient cpu. [nominated a]", "low evicted"]);
    story.pod("sneaky", 2, json!({ "priority": 5 })).run();
    let sneaky = story.lines.pop().expect("it was tried");
    assert!(sneaky.contains("nominated for pods of the same or higher priority"), "{sneaky}");
    story.wait(1).run();
    assert!(story.lines.contains(&"high -> a".to_owned()), "{:?}", story.lines);
}

#[test]
fn a_pod_that_must_not_preempt_says_so() {
    let mut story = Story::new();
    story.node("a", 1).pod("low", 1, json!({})).run().told(&["low -> a"]);
    let spec = json!({ "priority": 9, "preemptionPolicy": "Never" });
    story.pod("polite", 1, spec).run().told(&[
        "polite: 0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to \
         preemptionPolicy=Never.",
    ]);
}

#[test]
fn a_failed_binding_frees_the_node_and_is_tried_again() {
    let mut story = Story::new();
    story.node("a", 1).pod("p", 1, json!({}));
    let action = story.scheduler.schedule_one(&NoFacts, story.now);
    assert!(matches!(action, Some(Action::Bind { .. })));
    story.scheduler.bind_failed("p", story.now);
    story.run().told(&[]);
    story.wait(1).run().told(&["p -> a"]);
}

#[test]
fn another_set_of_policies_decides_from_the_next_pod_on() {
    let mut story = Story::new();
    story.node("a", 1).pod("p1", 1, json!({})).run().told(&["p1 -> a"]);
    let kept = hansa_scheduler_oracle::shipped().into_iter();
    let without_fit = kept.filter(|(guest, _)| *guest != "scheduler-resources-fit");
    story.policies.swap(without_fit.map(|(_, source)| source).collect());
    story.pod("p2", 1, json!({})).run().told(&["p2 -> a"]);
    let record = story.log.last("ns", "p2").expect("it was decided");
    assert!(record.deciders.iter().all(|d| d.name != "NodeResourcesFit"));
    let before = story.log.last("ns", "p1").expect("it was decided");
    assert!(before.deciders.iter().any(|d| d.name == "NodeResourcesFit" && d.digest == "native"));
}

#[test]
fn hard_spreading_keeps_zones_even() {
    let mut story = Story::new();
    for (name, zone) in [("a1", "z1"), ("a2", "z1"), ("b1", "z2")] {
        story.node_with(name, 8, json!({ "zone": zone }), json!({}));
    }
    let spread = json!({ "topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": "web" } },
    }]});
    for name in ["p1", "p2", "p3", "p4"] {
        story.pod(name, 1, spread.clone());
    }
    story.run();
    let in_b = story.lines.iter().filter(|line| line.ends_with("b1")).count();
    assert_eq!((story.lines.len(), in_b), (4, 2), "{:?}", story.lines);
}

#[test]
fn the_oracle_is_what_is_shipped() {
    let native = hansa_scheduler_oracle::shipped();
    let native: Vec<_> =
        native.iter().map(|(g, s)| (*g, s.identity().name.clone(), s.weight())).collect();
    let shipped = SHIPPED.map(|s| (s.guest, s.name.to_owned(), s.weight));
    assert_eq!(native, shipped);
}

#[test]
fn promises_survive_a_restart_and_end_when_the_status_is_emptied() {
    let mut story = Story::new();
    story.node("a", 2);
    let nominated = |node: &str| {
        read::<Pod>(json!({
            "metadata": { "name": "high", "namespace": "ns", "uid": "high" },
            "spec": { "schedulerName": "default-scheduler", "priority": 9,
                "schedulingGates": [{ "name": "example.com/hold" }],
                "containers": [{ "name": "c", "resources": { "requests": { "cpu": "2" } } }] },
            "status": { "nominatedNodeName": node },
        }))
    };
    story.apply(nominated("a"));
    story.pod("low", 1, json!({})).run();
    let why = story.lines.pop().expect("it was tried");
    assert!(why.contains("nominated for pods of the same or higher priority"), "{why}");
    story.apply(nominated(""));
    story.node("b", 1).wait(1).run();
    assert_eq!(story.lines.len(), 1, "{:?}", story.lines);
    story.pod("low2", 1, json!({})).run();
    assert_eq!(story.lines.len(), 2, "node a is free again: {:?}", story.lines);
}
