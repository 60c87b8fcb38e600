//! A template's status from what its members report.

use serde_json::{Map, Value, json};

use crate::kinds::AggregatedStatusItem;
use crate::names;

/// Annotation on manifests: the template's generation that they were made from.
pub const TEMPLATE_GENERATION: &str = "resourcetemplate.karmada.io/generation";

/// How one kind's status is put together.
struct Recipe {
    /// Numbers that are summed.
    sums: &'static [&'static str],
    /// Whether `observedGeneration` and conditions are carried over.
    observed: bool,
}

const DEPLOYMENT: Recipe = Recipe {
    sums: &[
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ],
    observed: true,
};
const REPLICA_SET: Recipe = Recipe {
    sums: &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    observed: true,
};
const STATEFUL_SET: Recipe = Recipe {
    sums: &["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
    observed: true,
};
const DAEMON_SET: Recipe = Recipe {
    sums: &[
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
    ],
    observed: true,
};
const DISRUPTION_BUDGET: Recipe = Recipe {
    sums: &["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"],
    observed: false,
};
const AUTOSCALER: Recipe =
    Recipe { sums: &["currentReplicas", "desiredReplicas"], observed: false };

/// The status that the template should have; nothing for kinds without a rule.
///
/// `targets` is the number of members that are to hold the object: only when all of them report the
/// template's generation does the status speak of it.
pub fn aggregate(
    template: &Value,
    items: &[AggregatedStatusItem],
    targets: usize,
) -> Option<Value> {
    let api_version = template["apiVersion"].as_str()?;
    let status = match (api_version, template["kind"].as_str()?) {
        ("apps/v1", "Deployment") => numbers(template, items, targets, &DEPLOYMENT),
        ("apps/v1", "ReplicaSet") => numbers(template, items, targets, &REPLICA_SET),
        ("v1", "ReplicationController") => numbers(template, items, targets, &REPLICA_SET),
        ("apps/v1", "StatefulSet") => numbers(template, items, targets, &STATEFUL_SET),
        ("apps/v1", "DaemonSet") => numbers(template, items, targets, &DAEMON_SET),
        ("policy/v1", "PodDisruptionBudget") => {
            numbers(template, items, targets, &DISRUPTION_BUDGET)
        }
        ("autoscaling/v2", "HorizontalPodAutoscaler") => {
            numbers(template, items, targets, &AUTOSCALER)
        }
        ("v1", "Service") | ("networking.k8s.io/v1", "Ingress") => addresses(items),
        ("batch/v1", "Job") => job(items, targets),
        ("batch/v1", "CronJob") => cron_job(items),
        ("v1", "Pod") => pod(items),
        ("v1", "PersistentVolumeClaim") => claim(items),
        _ => return None,
    };
    Some(status)
}

fn numbers(
    template: &Value,
    items: &[AggregatedStatusItem],
    targets: usize,
    recipe: &Recipe,
) -> Value {
    let mut status = Map::new();
    for field in recipe.sums {
        let sum: i64 = items.iter().filter_map(|i| i.status[field].as_i64()).sum();
        if sum != 0 {
            status.insert((*field).into(), sum.into());
        }
    }
    if recipe.observed {
        let generation = observed_generation(template, items, targets);
        status.insert("observedGeneration".into(), generation.into());
        let conditions = conditions(items);
        if !conditions.is_empty() {
            status.insert("conditions".into(), conditions.into());
        }
    }
    Value::Object(status)
}

/// The template's generation once every member has observed it, else the one observed before.
fn observed_generation(template: &Value, items: &[AggregatedStatusItem], targets: usize) -> i64 {
    let generation = template.pointer("/metadata/generation").and_then(Value::as_i64);
    let generation = generation.unwrap_or_default();
    let up_to_date = |item: &&AggregatedStatusItem| {
        item.applied
            && item.status["templateGeneration"].as_i64().is_none_or(|g| g >= generation)
            && item.status["observedGeneration"].as_i64() >= item.status["generation"].as_i64()
    };
    if items.iter().filter(up_to_date).count() >= targets.max(1) {
        return generation;
    }
    let before = template.pointer("/status/observedGeneration").and_then(Value::as_i64);
    before.unwrap_or_default().min(generation)
}

/// One condition per type: the worst that any member reports, with the member's name.
fn conditions(items: &[AggregatedStatusItem]) -> Vec<Value> {
    let mut worst: Vec<(String, u8, Value)> = Vec::new();
    for item in items {
        for condition in item.status["conditions"].as_array().into_iter().flatten() {
            let type_ = condition["type"].as_str().unwrap_or_default().to_owned();
            let badness = badness(condition);
            let mut condition = condition.clone();
            let message = condition["message"].as_str().unwrap_or_default();
            condition["message"] = format!("{}: {message}", item.cluster_name).into();
            match worst.iter_mut().find(|w| w.0 == type_) {
                Some(known) if known.1 < badness => *known = (type_, badness, condition),
                Some(_) => {}
                None => worst.push((type_, badness, condition)),
            }
        }
    }
    worst.sort_by(|a, b| a.0.cmp(&b.0));
    worst.into_iter().map(|w| w.2).collect()
}

/// How bad a condition is; those that say failure are bad when true.
fn badness(condition: &Value) -> u8 {
    let status = condition["status"].as_str().unwrap_or_default();
    let failure = condition["type"].as_str().is_some_and(|t| t.contains("Fail"));
    match (status, failure) {
        ("True", false) | ("False", true) => 0,
        ("True", true) | ("False", false) => 2,
        _ => 1,
    }
}

/// Every member's addresses; one without a host name gets the member's name.
fn addresses(items: &[AggregatedStatusItem]) -> Value {
    let mut all = Vec::new();
    for item in items {
        let ingress = item.status.pointer("/loadBalancer/ingress").and_then(Value::as_array);
        for entry in ingress.into_iter().flatten() {
            let mut entry = entry.clone();
            if entry["hostname"].as_str().unwrap_or_default().is_empty() {
                entry["hostname"] = item.cluster_name.clone().into();
            }
            all.push(entry);
        }
    }
    if all.is_empty() {
        return json!({"loadBalancer": {}});
    }
    json!({"loadBalancer": {"ingress": all}})
}

fn job(items: &[AggregatedStatusItem], targets: usize) -> Value {
    let sum = |field: &str| -> i64 { items.iter().filter_map(|i| i.status[field].as_i64()).sum() };
    let mut status = Map::new();
    for field in ["active", "succeeded", "failed"] {
        if sum(field) != 0 {
            status.insert(field.into(), sum(field).into());
        }
    }
    if let Some(start) = texts(items, "startTime").min() {
        status.insert("startTime".into(), start.into());
    }
    let complete: Vec<&Value> =
        items.iter().filter_map(|i| true_condition(i, "Complete")).collect();
    let failed = items.iter().find_map(|i| true_condition(i, "Failed"));
    if let Some(failed) = failed {
        status.insert("conditions".into(), json!([failed]));
    } else if complete.len() >= targets.max(1) {
        status.insert("conditions".into(), json!([complete[0]]));
        if let Some(end) = texts(items, "completionTime").max() {
            status.insert("completionTime".into(), end.into());
        }
    }
    Value::Object(status)
}

fn true_condition<'a>(item: &'a AggregatedStatusItem, type_: &str) -> Option<&'a Value> {
    let mut conditions = item.status["conditions"].as_array()?.iter();
    conditions.find(|c| c["type"] == type_ && c["status"] == "True")
}

fn texts<'a>(
    items: &'a [AggregatedStatusItem],
    field: &'a str,
) -> impl Iterator<Item = &'a str> + 'a {
    items.iter().filter_map(move |i| i.status[field].as_str())
}

fn cron_job(items: &[AggregatedStatusItem]) -> Value {
    let active: Vec<Value> =
        items.iter().filter_map(|i| i.status["active"].as_array()).flatten().cloned().collect();
    let mut status = Map::new();
    if !active.is_empty() {
        status.insert("active".into(), active.into());
    }
    for field in ["lastScheduleTime", "lastSuccessfulTime"] {
        if let Some(latest) = texts(items, field).max() {
            status.insert(field.into(), latest.into());
        }
    }
    Value::Object(status)
}

/// The worst phase of any copy, and every copy's containers.
fn pod(items: &[AggregatedStatusItem]) -> Value {
    let order = ["Failed", "Pending", "Unknown", "Running", "Succeeded"];
    let phases: Vec<&str> = texts(items, "phase").collect();
    let phase = order.iter().find(|p| phases.contains(p)).unwrap_or(&"Pending");
    let containers: Vec<Value> = items
        .iter()
        .filter_map(|i| i.status["containerStatuses"].as_array())
        .flatten()
        .cloned()
        .collect();
    json!({"phase": phase, "containerStatuses": containers})
}

fn claim(items: &[AggregatedStatusItem]) -> Value {
    let order = ["Lost", "Pending", "Bound"];
    let phases: Vec<&str> = texts(items, "phase").collect();
    let phase = order.iter().find(|p| phases.contains(p)).unwrap_or(&"Pending");
    json!({"phase": phase})
}

/// The status of the object that a manifest's status speaks of, with the template's generation.
pub fn stamp(status: &mut Value, manifest: &Value) {
    let annotations = &manifest["metadata"]["annotations"];
    let generation = annotations[TEMPLATE_GENERATION].as_str().and_then(|g| g.parse::<i64>().ok());
    if let (Some(status), Some(generation)) = (status.as_object_mut(), generation) {
        status.insert("templateGeneration".into(), generation.into());
    }
}

/// Whether a template's own reports come from a binding's members: those of the hub itself do not.
pub fn is_template(object: &Value) -> bool {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    labels.is_none_or(|l| !l.contains_key(names::MANAGED_LABEL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(cluster: &str, status: Value) -> AggregatedStatusItem {
        AggregatedStatusItem {
            cluster_name: cluster.into(),
            status,
            applied: true,
            ..Default::default()
        }
    }

    fn web(generation: i64) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"generation": generation}, "status": {"observedGeneration": 1}})
    }

    fn replicas(ready: i64, template_generation: i64) -> Value {
        json!({"replicas": ready, "readyReplicas": ready, "updatedReplicas": ready,
            "availableReplicas": ready, "observedGeneration": 4, "generation": 4,
            "templateGeneration": template_generation,
            "conditions": [{"type": "Available", "status": "True", "message": "ok"}]})
    }

    #[test]
    fn a_deployment_of_six_is_six_of_six() {
        let items = [item("eu", replicas(4, 2)), item("us", replicas(2, 2))];
        let status = aggregate(&web(2), &items, 2).unwrap();
        assert_eq!(status["readyReplicas"], 6);
        assert_eq!(status["availableReplicas"], 6);
        assert_eq!(status["observedGeneration"], 2);
        assert_eq!(status["conditions"][0]["status"], "True");
    }

    #[test]
    fn a_generation_is_observed_only_when_every_member_has_seen_it() {
        let items = [item("eu", replicas(4, 2)), item("us", replicas(2, 1))];
        assert_eq!(aggregate(&web(2), &items, 2).unwrap()["observedGeneration"], 1);
        assert_eq!(aggregate(&web(2), &items[..1], 2).unwrap()["observedGeneration"], 1);
    }

    #[test]
    fn the_worst_condition_wins_and_names_its_cluster() {
        let mut bad = replicas(1, 2);
        bad["conditions"][0]["status"] = "False".into();
        bad["conditions"][0]["message"] = "no".into();
        let items = [item("eu", replicas(4, 2)), item("us", bad)];
        let status = aggregate(&web(2), &items, 2).unwrap();
        assert_eq!(status["conditions"][0]["message"], "us: no");
    }

    #[test]
    fn load_balancers_addresses_carry_their_cluster() {
        let service = json!({"apiVersion": "v1", "kind": "Service"});
        let at = |ip: &str| json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
        let items = [item("eu", at("1.1.1.1")), item("us", at("2.2.2.2"))];
        let status = aggregate(&service, &items, 2).unwrap();
        assert_eq!(
            status["loadBalancer"]["ingress"],
            json!([{"ip": "1.1.1.1", "hostname": "eu"}, {"ip": "2.2.2.2", "hostname": "us"}])
        );
        assert_eq!(aggregate(&service, &[], 0).unwrap(), json!({"loadBalancer": {}}));
    }

    #[test]
    fn a_job_completes_with_its_last_member() {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job"});
        let done = |end: &str| {
            json!({"succeeded": 1, "startTime": "a", "completionTime": end,
            "conditions": [{"type": "Complete", "status": "True"}]})
        };
        let half = aggregate(&job, &[item("eu", done("b")), item("us", json!({"active": 1}))], 2);
        assert!(half.unwrap().get("completionTime").is_none());
        let whole = aggregate(&job, &[item("eu", done("b")), item("us", done("c"))], 2).unwrap();
        assert_eq!(whole["completionTime"], "c");
        assert_eq!(whole["succeeded"], 2);
    }

    #[test]
    fn other_kinds_statuses_are_theirs() {
        let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget"});
        assert_eq!(aggregate(&widget, &[item("eu", json!({"x": 1}))], 1), None);
    }
}
