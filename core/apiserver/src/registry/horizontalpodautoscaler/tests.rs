//! Both versions of autoscalers.

use super::v1::AutoscalersV1;
use super::*;
use crate::registry::check::{refuses, texts};

fn scaler(more: Value) -> Value {
    let mut spec = json!({"maxReplicas": 5,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut obj = json!({"metadata": {"name": "h", "namespace": "n"}, "spec": spec});
    Autoscalers.default(&mut obj);
    obj
}

#[test]
fn defaults_are_upstreams() {
    let spec = &scaler(json!({"behavior": {"scaleDown": {"selectPolicy": "Min"}}}))["spec"];
    assert_eq!((&spec["minReplicas"], &spec["metrics"]), (&json!(1), &json!([cpu(80)])));
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    assert_eq!(
        spec["behavior"],
        json!({
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                "policies": [pods, percent]},
            "scaleDown": {"selectPolicy": "Min", "policies": [percent]},
        })
    );
}

#[test]
fn mistakes_are_named() {
    let metric = |metric: Value| scaler(json!({"metrics": [metric]}));
    let target = |target: Value| {
        metric(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}))
    };
    let up = |rules: Value| scaler(json!({"behavior": {"scaleUp": rules}}));
    refuses(
        &Autoscalers,
        [
            (
                scaler(json!({"minReplicas": -1})),
                "spec.minReplicas: Invalid value: -1: must be greater than or equal to 1",
            ),
            (
                scaler(json!({"minReplicas": 7})),
                "spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`",
            ),
            (
                scaler(json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}})),
                "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API \
          group",
            ),
            (
                scaler(
                    json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "", "name": "p"}}),
                ),
                "spec.scaleTargetRef.kind: Required value",
            ),
            (
                target(json!({"type": "Utilization"})),
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a \
          target raw value or a target utilization",
            ),
            (
                target(json!({"type": "Utilization", "averageUtilization": 0})),
                "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater \
          than 0",
            ),
            (
                target(json!({"type": "Sum", "averageValue": "1"})),
                "spec.metrics[0].resource.target.type: Invalid value: \"Sum\": must be either \
          Utilization, Value, or AverageValue",
            ),
            (
                metric(json!({"type": "Pods"})),
                "spec.metrics[0].pods: Required value: must populate information for the given metric \
          source",
            ),
            (
                up(json!({"policies": []})),
                "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
            ),
            (
                up(json!({"stabilizationWindowSeconds": 3601})),
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less \
          than or equal to 3600",
            ),
        ],
    );
}

#[test]
fn a_kept_reference_is_not_judged_again() {
    let old = scaler(json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "P", "name": "p"}}));
    assert_eq!(texts(&Autoscalers.validate_update(&old, &old)), [""; 0]);
}

/// An object with everything that v1 has no field for.
fn rich() -> Value {
    let named = json!({"name": "qps"});
    let metrics = json!([
        {"type": "Pods", "pods": {"metric": named,
            "target": {"type": "AverageValue", "averageValue": "1k"}}},
        {"type": "Object", "object": {"metric": named,
            "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
            "target": {"type": "Value", "value": "7"}}},
        {"type": "External", "external": {"metric": named,
            "target": {"type": "AverageValue", "averageValue": "3"}}},
        {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c",
            "target": {"type": "Utilization", "averageUtilization": 70}}},
        cpu(60),
    ]);
    let mut obj = scaler(json!({"metrics": metrics, "behavior": {}}));
    obj["status"] = json!({"currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": [
        {"type": "Pods", "pods": {"metric": named, "current": {"averageValue": "10"}}}],
        "conditions": [{"type": "AbleToScale", "status": "True"}]});
    obj
}

#[test]
fn nothing_is_lost_on_the_way_through_v1() {
    let hub = rich();
    let mut old = hub.clone();
    AutoscalersV1.from_hub(&mut old);
    assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 60);
    assert_eq!(old["metadata"]["annotations"].as_object().unwrap().len(), 4);
    assert!(old["spec"].get("metrics").is_none() && old["status"].get("conditions").is_none());
    AutoscalersV1.to_hub(&mut old);
    assert_eq!(old, hub);
}

#[test]
fn a_writer_of_v1_leaves_the_rest_alone() {
    let mut stored = rich();
    AutoscalersV1.from_hub(&mut stored);
    let mut put = stored.clone();
    put["metadata"]["annotations"] = json!({"mine": "x"});
    AutoscalersV1.prepare_update(&Default::default(), &mut put, &stored);
    AutoscalersV1.to_hub(&mut put);
    assert_eq!(put["status"], rich()["status"]);
    assert_eq!(put["spec"]["metrics"], json!([cpu(60)]));
    assert_eq!(put["metadata"]["annotations"], json!({"mine": "x"}));
}

#[test]
fn v1_has_a_target_of_80_percent() {
    let mut obj = json!({"spec": {"maxReplicas": 3}});
    AutoscalersV1.default(&mut obj);
    assert_eq!(obj["spec"]["targetCPUUtilizationPercentage"], 80);
    let mut hub = obj.clone();
    AutoscalersV1.to_hub(&mut hub);
    assert_eq!(hub["spec"]["metrics"], json!([cpu(80)]));
}

#[test]
fn a_row_shows_two_metrics() {
    let now = Timestamp::now();
    let row = Autoscalers.row(&rich(), now);
    assert_eq!(
        json!(row[..6]),
        json!(["h", "Deployment/web", "10/1k, <unknown>/7 + 3 more...", "1", 5, 2])
    );
    assert_eq!(Autoscalers.row(&scaler(json!({})), now)[2], "cpu: <unknown>/80%");
    let mut old = rich();
    AutoscalersV1.from_hub(&mut old);
    assert_eq!(json!(AutoscalersV1.row(&old, now)), json!(row));
}
