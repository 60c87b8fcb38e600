//! Quotas against writes: one table per resource.

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000_000).unwrap()
}

fn quota(hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

fn pod(resources: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "resources": resources}]}})
}

fn charged(quota: &Value, plural: &str, new: &Value, old: Option<&Value>) -> Result<Value, String> {
    let evaluator = Evaluator::of("", plural).unwrap();
    let write = Write { evaluator: &evaluator, new, old, lenient: false, now: now() };
    charge(quota, &write).map(|used| used.map_or(Value::Null, |used| to_value(&used)))
}

#[test]
fn pods_are_charged_with_what_they_ask_for() {
    let hard = json!({"pods": "2", "requests.cpu": "2", "requests.a.io/gpu": "3", "services": "1"});
    let zero = json!({"pods": "0", "requests.cpu": "1", "requests.a.io/gpu": "0", "services": "0"});
    let quota = quota(hard, zero);
    let asks = json!({"requests": {"cpu": "500m", "a.io/gpu": "2"}});
    assert_eq!(
        charged(&quota, "pods", &pod(asks), None).unwrap(),
        json!({"pods": "1", "requests.cpu": "1500m", "requests.a.io/gpu": "2", "services": "0"})
    );
    let asks = json!({"requests": {"cpu": "1500m", "a.io/gpu": "9"}});
    assert_eq!(
        charged(&quota, "pods", &pod(asks), None).unwrap_err(),
        "exceeded quota: q, requested: requests.a.io/gpu=9,requests.cpu=1500m, used: \
         requests.a.io/gpu=0,requests.cpu=1, limited: requests.a.io/gpu=3,requests.cpu=2"
    );
    assert_eq!(
        charged(&quota, "pods", &pod(json!({})), None).unwrap_err(),
        "failed quota: q: must specify requests.cpu for: a"
    );
    let mut ended = pod(json!({"requests": {"cpu": "9"}}));
    ended["status"]["phase"] = "Failed".into();
    assert_eq!(charged(&quota, "pods", &ended, None).unwrap(), Value::Null);
}

#[test]
fn a_quota_that_is_not_counted_yet_admits_nothing() {
    let quota = quota(json!({"count/pods": "2", "pods": "2"}), json!({"pods": "0"}));
    assert_eq!(
        charged(&quota, "pods", &pod(json!({})), None).unwrap_err(),
        "status unknown for quota: q, resources: count/pods,pods"
    );
    assert_eq!(charged(&quota, "configmaps", &json!({}), None).unwrap(), Value::Null);
}

#[test]
fn changes_are_charged_with_the_difference() {
    let service = |kind: &str, ports: usize| json!({"spec": {"type": kind, "ports": vec![json!({"port": 1}); ports]}});
    let hard = json!({"services": "1", "services.nodeports": "2", "services.loadbalancers": "1"});
    let used = json!({"services": "1", "services.nodeports": "0", "services.loadbalancers": "0"});
    let quota = quota(hard, used);
    let old = service("ClusterIP", 2);
    assert_eq!(charged(&quota, "services", &old, Some(&old)).unwrap(), Value::Null);
    let used = charged(&quota, "services", &service("LoadBalancer", 2), Some(&old)).unwrap();
    assert_eq!(
        used,
        json!({"services": "1", "services.nodeports": "2", "services.loadbalancers": "1"})
    );
    let error = charged(&quota, "services", &service("NodePort", 3), Some(&old)).unwrap_err();
    assert_eq!(
        error,
        "exceeded quota: q, requested: services.nodeports=3, used: services.nodeports=0, limited: \
         services.nodeports=2"
    );
}

#[test]
fn storage_counts_by_class_too() {
    let claim = json!({"spec": {"storageClassName": "gold",
        "resources": {"requests": {"storage": "1.5"}}}});
    let by_class = "gold.storageclass.storage.k8s.io/requests.storage";
    let quota = quota(json!({by_class: "5Gi"}), json!({by_class: "0"}));
    let used = charged(&quota, "persistentvolumeclaims", &claim, None).unwrap();
    assert_eq!(used, json!({by_class: "2"}));
    let mut other = claim.clone();
    other["spec"]["storageClassName"] = "tin".into();
    assert_eq!(charged(&quota, "persistentvolumeclaims", &other, None).unwrap(), Value::Null);
}

#[test]
fn scopes_choose_pods() {
    let best_effort = pod(json!({}));
    let burstable = pod(json!({"requests": {"cpu": "1"}}));
    let mut terminating = burstable.clone();
    terminating["spec"]["activeDeadlineSeconds"] = 5.into();
    let mut important = burstable.clone();
    important["spec"]["priorityClassName"] = "high".into();
    let mut across = burstable.clone();
    across["spec"]["affinity"]["podAffinity"] = json!({
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"podAffinityTerm": {"namespaceSelector": {}}}]});
    let cases = [
        ("BestEffort", "Exists", json!([]), [true, false, false, false, false]),
        ("NotBestEffort", "Exists", json!([]), [false, true, true, true, true]),
        ("Terminating", "Exists", json!([]), [false, false, true, false, false]),
        ("NotTerminating", "Exists", json!([]), [true, true, false, true, true]),
        ("PriorityClass", "Exists", json!([]), [false, false, false, true, false]),
        ("PriorityClass", "In", json!(["high"]), [false, false, false, true, false]),
        ("PriorityClass", "NotIn", json!(["high"]), [true, true, true, false, true]),
        ("PriorityClass", "DoesNotExist", json!([]), [true, true, true, false, true]),
        ("CrossNamespacePodAffinity", "Exists", json!([]), [false, false, false, false, true]),
    ];
    let pods = [&best_effort, &burstable, &terminating, &important, &across];
    for (scope, operator, values, expected) in cases {
        let quota = json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": scope, "operator": operator, "values": values}]}}});
        let found = pods.map(|pod| Evaluator::Pods.in_scopes(&quota, pod));
        assert_eq!(found, expected, "{scope} {operator}");
    }
    assert!(
        !Evaluator::Services.in_scopes(&json!({"spec": {"scopes": ["BestEffort"]}}), &json!({}))
    );
}

#[test]
fn anything_can_be_counted() {
    let evaluator = Evaluator::of("apps", "deployments").unwrap();
    assert!(evaluator.measures("count/deployments.apps") && !evaluator.measures("deployments"));
    let evaluator = Evaluator::of("", "secrets").unwrap();
    assert!(evaluator.measures("count/secrets") && evaluator.measures("secrets"));
    assert_eq!(Evaluator::of("", "events"), None);
}
