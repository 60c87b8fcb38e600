//! The flow schemas and priority levels that every server starts with.
//!
//! The mandatory ones are always as they are here. The others follow it as long as they carry the
//! annotation that says so.

use hansa_api::meta;
use serde_json::{Value, json};

use super::GROUP;

const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// A limited level: its name, shares, the percentage that it lends, and how many queues it has and
/// a flow picks from; no queues means that it refuses.
type Level = (&'static str, i64, i64, Option<(i64, i64)>);

const LIMITED: [Level; 7] = [
    ("catch-all", 5, 0, None),
    ("system", 30, 33, Some((64, 6))),
    ("node-high", 40, 25, Some((64, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
    ("global-default", 20, 50, Some((128, 6))),
];

/// A schema: its name, level, precedence, distinguisher, subjects, and what it is about.
type Schema = (&'static str, &'static str, i64, &'static str, &'static [&'static str], About);

/// What a schema is about.
enum About {
    /// Every request.
    All,
    /// These verbs on these resources of a group; whether cluster-scoped ones, too.
    Resources(&'static [(&'static [&'static str], &'static str, &'static [&'static str], bool)]),
    /// Reads of these paths.
    Paths(&'static [&'static str]),
}

const EVERYBODY: &[&str] = &["Group:system:unauthenticated", "Group:system:authenticated"];
const KUBE_SYSTEM: &str = "ServiceAccount:kube-system";
const COORDINATION: &str = "coordination.k8s.io";

const SCHEMAS: [Schema; 11] = [
    ("exempt", "exempt", 1, "", &["Group:system:masters"], About::All),
    ("catch-all", "catch-all", 10_000, "ByUser", EVERYBODY, About::All),
    ("system-nodes", "system", 500, "ByUser", &["Group:system:nodes"], About::All),
    (
        "system-node-high",
        "node-high",
        400,
        "ByUser",
        &["Group:system:nodes"],
        About::Resources(&[
            (&["*"], "", &["nodes", "nodes/status"], true),
            (&["*"], COORDINATION, &["leases"], false),
        ]),
    ),
    ("probes", "exempt", 2, "", EVERYBODY, About::Paths(&["/healthz", "/readyz", "/livez"])),
    (
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        &["User:system:kube-controller-manager", "User:system:kube-scheduler", KUBE_SYSTEM],
        About::Resources(&[(&["get", "create", "update"], COORDINATION, &["leases"], false)]),
    ),
    (
        "kube-controller-manager",
        "workload-high",
        800,
        "ByNamespace",
        &["User:system:kube-controller-manager"],
        About::All,
    ),
    (
        "kube-scheduler",
        "workload-high",
        800,
        "ByNamespace",
        &["User:system:kube-scheduler"],
        About::All,
    ),
    (
        "kube-system-service-accounts",
        "workload-high",
        900,
        "ByNamespace",
        &[KUBE_SYSTEM],
        About::All,
    ),
    (
        "service-accounts",
        "workload-low",
        9000,
        "ByUser",
        &["Group:system:serviceaccounts"],
        About::All,
    ),
    ("global-default", "global-default", 9900, "ByUser", EVERYBODY, About::All),
];

/// Every level, the mandatory ones first.
pub(crate) fn levels() -> Vec<Value> {
    let exempt = level(
        "exempt",
        json!({"type": "Exempt",
        "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
    );
    let limited = LIMITED.iter().map(|(name, shares, lent, queues)| {
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand)) => json!({"type": "Queue", "queuing": {
                "queues": queues, "handSize": hand, "queueLengthLimit": 50}}),
        };
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lent,
            "limitResponse": response});
        level(name, json!({"type": "Limited", "limited": limited}))
    });
    std::iter::once(exempt).chain(limited).collect()
}

/// Every schema.
pub(crate) fn schemas() -> Vec<Value> {
    SCHEMAS.iter().map(schema).collect()
}

/// The level of this name, if every server must have it as it is.
pub(super) fn mandatory_level(name: &str) -> Option<Value> {
    levels().into_iter().find(|level| is_mandatory(level) && meta::name(level) == name)
}

/// The schema of this name, if every server must have it as it is.
pub(super) fn mandatory_schema(name: &str) -> Option<Value> {
    schemas().into_iter().find(|schema| is_mandatory(schema) && meta::name(schema) == name)
}

/// What a live object should become; `None` if it is good as it is.
pub(crate) fn reconciled(live: &Value, wanted: &Value) -> Option<Value> {
    let follows = is_mandatory(wanted) || meta::annotation(live, AUTO_UPDATE) == Some("true");
    let exempt = wanted["spec"]["type"] == "Exempt";
    let differs = live["spec"] != wanted["spec"] && !exempt;
    (follows && differs).then(|| {
        let mut next = live.clone();
        next["spec"] = wanted["spec"].clone();
        next
    })
}

fn is_mandatory(object: &Value) -> bool {
    matches!(meta::name(object), "exempt" | "catch-all")
}

fn level(name: &str, spec: Value) -> Value {
    object("PriorityLevelConfiguration", name, spec)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}},
        "spec": spec,
    })
}

fn schema((name, level, precedence, method, subjects, about): &Schema) -> Value {
    let subjects: Vec<_> = subjects.iter().map(|subject| subject_of(subject)).collect();
    let mut rule = json!({"subjects": subjects});
    let all_paths = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
    match about {
        About::All => {
            rule["resourceRules"] = json!([resource_rule(&["*"], "*", &["*"], true)]);
            rule["nonResourceRules"] = all_paths;
        }
        About::Resources(rules) => {
            let rules = rules.iter();
            rule["resourceRules"] = rules
                .map(|(verbs, group, all, cluster)| resource_rule(verbs, group, all, *cluster))
                .collect();
        }
        About::Paths(paths) => {
            rule["nonResourceRules"] = json!([{"verbs": ["get"], "nonResourceURLs": paths}]);
        }
    }
    let mut spec = json!({"priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence, "rules": [rule]});
    if !method.is_empty() {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    object("FlowSchema", name, spec)
}

fn resource_rule(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources,
        "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}

fn subject_of(text: &str) -> Value {
    let (kind, name) = text.split_once(':').expect("a subject is KIND:NAME");
    match kind {
        "ServiceAccount" => {
            json!({"kind": kind, "serviceAccount": {"namespace": name, "name": "*"}})
        }
        "User" => json!({"kind": kind, "user": {"name": name}}),
        _ => json!({"kind": kind, "group": {"name": name}}),
    }
}
