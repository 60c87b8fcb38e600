//! The shipped scheduler components against their native twins: for random clusters, changes and
//! pods the same verdicts, the same reasons, the same scores.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use hansa_api::k8s_openapi::api::core::v1::{Node, Pod};
use hansa_extension::bitmap;
use hansa_extension::runtime::World;
use hansa_extension::scheduler::{Change, Decision, PluginSet, PodView, UsageRow, Want};
use hansa_plugin_host::{Host, HostConfig, Shipped};
use hansa_scheduler::cache::Cache;
use hansa_scheduler::shipped::SHIPPED;
use hansa_scheduler::view::{self, Selector};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests")
}

/// One host for all cases: compiling the guests is what takes time.
fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| {
        let host = Host::new(&HostConfig::default()).expect("there is an engine");
        for shipped in SHIPPED {
            let file = guests().join(format!("{}.wasm", shipped.guest));
            let bytes = std::fs::read(&file)
                .unwrap_or_else(|e| panic!("{}: {e}; run `cargo xtask guests`", file.display()));
            let component = Shipped {
                name: shipped.name,
                world: World::Scheduler,
                bytes,
                config: Value::Null,
                weight: shipped.weight,
            };
            host.install(component).expect("shipped guests load");
        }
        host
    })
}

/// A change of the cluster.
#[derive(Clone, Debug)]
enum Step {
    Node { name: u8, node: Value },
    RemoveNode(u8),
    Place { uid: u8, node: u8, pod: Value },
    RemovePod(u8),
}

/// A cluster as one set of policies sees it.
struct Side {
    cache: Cache,
    set: PluginSet,
}

impl Side {
    fn apply(&mut self, step: &Step) {
        let mirror = self.set.mirror();
        match step {
            Step::Node { name, node } => {
                let mut node: Node = read(node);
                node.metadata.name = Some(format!("n{name}"));
                self.cache.upsert_node(mirror, &Arc::new(node));
            }
            Step::RemoveNode(name) => self.cache.remove_node(mirror, &format!("n{name}")),
            Step::Place { uid, node, pod } => {
                let pod: Arc<Pod> = Arc::new(read(pod));
                self.cache.put_pod(mirror, &uid.to_string().into(), &pod, &format!("n{node}"));
            }
            Step::RemovePod(uid) => {
                self.cache.remove_pod(mirror, &uid.to_string());
            }
        }
    }

    fn view(&mut self, pod: &Value) -> PodView {
        let pod: Pod = read(pod);
        let mut owners = Selector::default();
        if let Some(labels) = &pod.metadata.labels {
            owners.and_labels(labels);
        }
        view::pod_view(self.set.mirror(), &pod, 0, &owners)
    }
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("the generators write valid objects")
}

/// What a decision says, without the digests of who said it: the nodes that pass, the totals, each
/// plugin's scores, and per rejected node by whom and why.
type Said = (Vec<u8>, Vec<u64>, Vec<Vec<u8>>, Vec<(u32, Value)>);

fn said(decision: &Decision) -> Said {
    let scores = decision.scores.iter().map(|s| s.scores.clone()).collect();
    let rejected = decision.rejections.iter().flat_map(|r| {
        bitmap::ones(&r.nodes).map(move |node| {
            let reason = r.reason(node).expect("reasons were asked");
            (node, json!([r.by.name, reason.texts, reason.preemptible]))
        })
    });
    let rejected = rejected.collect();
    (decision.feasible.clone(), decision.totals.clone(), scores, rejected)
}

fn label() -> impl Strategy<Value = Value> {
    (option::of(0..3u8), option::of(0..4u8), option::of(0..2u8)).prop_map(|(zone, app, num)| {
        let mut labels = json!({});
        if let Some(zone) = zone {
            labels["topology.kubernetes.io/zone"] = json!(format!("z{zone}"));
        }
        if let Some(app) = app {
            labels["app"] = json!(format!("a{app}"));
        }
        if let Some(num) = num {
            labels["num"] = json!((num * 10).to_string());
        }
        labels
    })
}

fn effect() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("NoSchedule"), Just("PreferNoSchedule"), Just("NoExecute")]
}

fn node() -> impl Strategy<Value = Value> {
    let taint = (0..3u8, effect())
        .prop_map(|(key, effect)| json!({ "key": format!("k{key}"), "effect": effect }));
    (label(), vec(taint, 0..3), any::<bool>(), 1..16u32, 1..32u32, 1..8u32, option::of(0..4u32))
        .prop_map(|(labels, taints, cordoned, cpu, memory, pods, gpus)| {
            let mut allocatable = json!({
                "cpu": format!("{}m", cpu * 500), "memory": format!("{memory}Gi"), "pods": pods,
            });
            allocatable["pods"] = json!(pods.to_string());
            if let Some(gpus) = gpus {
                allocatable["example.com/gpu"] = json!(gpus.to_string());
            }
            json!({
                "metadata": { "labels": labels },
                "spec": { "taints": taints, "unschedulable": cordoned && cpu % 4 == 0 },
                "status": { "allocatable": allocatable },
            })
        })
}

fn expression() -> impl Strategy<Value = Value> {
    let key = prop_oneof![Just("app"), Just("topology.kubernetes.io/zone"), Just("num")];
    let operator = prop_oneof![
        Just("In"),
        Just("NotIn"),
        Just("Exists"),
        Just("DoesNotExist"),
        Just("Gt"),
        Just("Lt"),
    ];
    let value = prop_oneof![Just("a1"), Just("z1"), Just("5"), Just("10")];
    (key, operator, value).prop_map(|(key, operator, value)| {
        let values = match operator {
            "Exists" | "DoesNotExist" => json!([]),
            _ => json!([value]),
        };
        json!({ "key": key, "operator": operator, "values": values })
    })
}

fn affinity() -> impl Strategy<Value = Value> {
    let terms = || vec(vec(expression(), 0..3), 1..3);
    (option::of(terms()), vec((1..100i32, vec(expression(), 0..2)), 0..3)).prop_map(
        |(required, preferred)| {
            let term = |expressions: &Vec<Value>| json!({ "matchExpressions": expressions });
            let preferred: Vec<Value> = preferred
                .iter()
                .map(|(weight, e)| json!({ "weight": weight, "preference": term(e) }))
                .collect();
            let mut affinity =
                json!({ "preferredDuringSchedulingIgnoredDuringExecution": preferred });
            if let Some(required) = required {
                let terms: Vec<Value> = required.iter().map(term).collect();
                affinity["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!({ "nodeSelectorTerms": terms });
            }
            json!({ "nodeAffinity": affinity })
        },
    )
}

fn spread() -> impl Strategy<Value = Value> {
    let key = prop_oneof![Just("topology.kubernetes.io/zone"), Just("app"), Just("absent")];
    (key, 1..3u8, any::<bool>(), option::of(1..4u8), any::<bool>(), any::<bool>()).prop_map(
        |(key, skew, hard, min_domains, ignore, taints)| {
            json!({
                "topologyKey": key,
                "maxSkew": skew,
                "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
                "minDomains": min_domains.filter(|_| hard),
                "nodeAffinityPolicy": if ignore { "Ignore" } else { "Honor" },
                "nodeTaintsPolicy": if taints { "Honor" } else { "Ignore" },
                "labelSelector": { "matchExpressions": [{ "key": "app", "operator": "Exists" }] },
            })
        },
    )
}

fn toleration() -> impl Strategy<Value = Value> {
    (option::of(0..3u8), option::of(effect())).prop_map(|(key, effect)| {
        json!({ "key": key.map(|key| format!("k{key}")), "operator": "Exists", "effect": effect })
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let requests = (option::of(0..8u32), option::of(0..8u32), option::of(0..3u32));
    (
        label(),
        requests,
        vec(toleration(), 0..3),
        option::of(affinity()),
        vec(spread(), 0..3),
        option::of((80..83u16, any::<bool>())),
    )
        .prop_map(|(labels, (cpu, memory, gpus), tolerations, affinity, spreads, port)| {
            let mut requests = json!({});
            if let Some(cpu) = cpu {
                requests["cpu"] = json!(format!("{}m", cpu * 250));
            }
            if let Some(memory) = memory {
                requests["memory"] = json!(format!("{memory}Gi"));
            }
            if let Some(gpus) = gpus.filter(|gpus| gpus % 2 == 1) {
                requests["example.com/gpu"] = json!(gpus.to_string());
            }
            let ports: Vec<Value> = port
                .map(|(port, udp)| {
                    let protocol = if udp { "UDP" } else { "TCP" };
                    json!({ "containerPort": port, "hostPort": port, "protocol": protocol })
                })
                .into_iter()
                .collect();
            json!({
                "metadata": { "name": "p", "namespace": "ns", "labels": labels },
                "spec": {
                    "containers": [{
                        "name": "c", "resources": { "requests": requests }, "ports": ports,
                    }],
                    "tolerations": tolerations,
                    "affinity": affinity,
                    "topologySpreadConstraints": spreads,
                },
            })
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..20u8, node()).prop_map(|(name, node)| Step::Node { name, node }),
        1 => (0..20u8).prop_map(Step::RemoveNode),
        6 => (0..60u8, 0..20u8, pod()).prop_map(|(uid, node, pod)| Step::Place { uid, node, pod }),
        1 => (0..60u8).prop_map(Step::RemovePod),
    ]
}

/// Some steps, then a pod that wants a node; several times, so that deltas are fed as well.
type Round = (Vec<Step>, Value);

fn compare(rounds: &[Round]) -> Result<(), TestCaseError> {
    let side = |active| Side { cache: Cache::default(), set: PluginSet::new(active) };
    let mut guests = side(host().scheduler());
    let mut natives = side(hansa_scheduler_oracle::active());
    let want = Want { filter: true, score: true, reasons: true };
    for (steps, pod) in rounds {
        let mut decided = Vec::new();
        for side in [&mut guests, &mut natives] {
            steps.iter().for_each(|step| side.apply(step));
            let view = side.view(pod);
            let decision = side.set.decide(&view, want).expect("somebody decides");
            let emptied = Change { usage: Some(UsageRow::default()), ..Change::default() };
            let fits_when_empty = match side.cache.ix("n0") {
                None => None,
                Some(ix) => {
                    let usage = emptied.usage.clone().map(|usage| UsageRow { ix, ..usage });
                    let change = Change { usage, ..emptied };
                    Some(side.set.what_if(&view, ix, &change).expect("somebody decides"))
                }
            };
            decided.push((said(&decision), fits_when_empty));
        }
        prop_assert_eq!(&decided[0], &decided[1]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn components_decide_as_their_native_twins(
        rounds in vec((vec(step(), 5..40), pod()), 1..4)
    ) {
        compare(&rounds)?;
    }
}

#[test]
fn every_decision_names_the_components_that_made_it() {
    let mut set = PluginSet::new(host().scheduler());
    let mut cache = Cache::default();
    let node = json!({ "metadata": { "name": "a" }, "status": { "allocatable": {
        "cpu": "1", "memory": "1Gi", "pods": "1" } } });
    cache.upsert_node(set.mirror(), &Arc::new(read::<Node>(&node)));
    let want = Want { filter: true, score: true, reasons: false };
    let decision = set.decide(&PodView::default(), want).expect("somebody decides");
    assert_eq!(decision.decided_by.len(), SHIPPED.len());
    assert!(decision.decided_by.iter().all(|by| by.digest.starts_with("sha256:")));
}
