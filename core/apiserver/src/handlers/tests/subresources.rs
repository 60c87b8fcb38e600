//! Binding, eviction, scale.

use super::*;

#[tokio::test]
async fn a_pod_is_bound_once_by_either_door() {
    let server = Server::start().await;
    for name in ["p", "q"] {
        server.post(PODS, &pod(name)).await;
    }
    let binding = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}})
    };
    let uri = format!("{PODS}/p/binding");
    let bound = server.post(&uri, &binding("p")).await;
    assert_eq!((bound.code, &bound.body["status"]), (201, &json!("Success")));
    assert_eq!(server.get(&format!("{PODS}/p")).await.body["spec"]["nodeName"], "n1");
    assert_eq!(server.post(&uri, &binding("p")).await.code, 409);
    assert_eq!(server.post(&format!("{PODS}/none/binding"), &binding("none")).await.code, 404);
    let nowhere = json!({"target": {"kind": "Node"}});
    assert_eq!(server.post(&format!("{PODS}/q/binding"), &nowhere).await.code, 422);
    let other = json!({"metadata": {"uid": "other"}, "target": {"name": "n1"}});
    assert_eq!(server.post(&format!("{PODS}/q/binding"), &other).await.code, 409);
}

#[tokio::test]
async fn evictions_respect_the_budget() {
    let server = Server::start().await;
    let budgets = "/apis/policy/v1/namespaces/n/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    assert_eq!(server.post(budgets, &budget).await.code, 201);
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1,
        "desiredHealthy": 1, "currentHealthy": 2, "expectedPods": 2}});
    let uri = format!("{budgets}/b/status");
    assert_eq!(server.patch(&uri, "merge", &status).await.code, 200);
    for name in ["p", "q"] {
        let mut body = pod(name);
        body["metadata"]["labels"] = json!({"app": "web"});
        server.post(PODS, &body).await;
        let running = json!({"status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}]}});
        server.patch(&format!("{PODS}/{name}/status"), "merge", &running).await;
    }
    let eviction = |name: &str| json!({"metadata": {"name": name}});
    let first = server.post(&format!("{PODS}/p/eviction"), &eviction("p")).await;
    assert_eq!(first.code, 201, "{first:?}");
    assert_eq!(server.get(&format!("{PODS}/p")).await.code, 404);
    let second = server.post(&format!("{PODS}/q/eviction"), &eviction("q")).await;
    assert_eq!(second.code, 429);
    assert_eq!(second.body["details"]["causes"][0]["reason"], "DisruptionBudget");
    assert_eq!(server.get(&format!("{PODS}/q")).await.code, 200);
}

#[tokio::test]
async fn scaling_is_an_update_of_the_replicas() {
    let server = Server::start().await;
    let body = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"a": "b"}}, "template": {}}});
    server.post(DEPLOYMENTS, &body).await;
    let uri = format!("{DEPLOYMENTS}/d/scale");
    let mut scale = server.get(&uri).await.body;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    assert_eq!(scale["status"]["selector"], "a=b");
    scale["spec"]["replicas"] = 4.into();
    assert_eq!(server.put(&uri, &scale).await.body["spec"]["replicas"], 4);
    assert_eq!(server.put(&uri, &scale).await.code, 409, "the version is stale now");
    let patch = json!({"spec": {"replicas": 6}});
    assert_eq!(server.patch(&uri, "merge", &patch).await.body["spec"]["replicas"], 6);
    let deployment = server.get(&format!("{DEPLOYMENTS}/d")).await.body;
    assert_eq!(deployment["metadata"]["generation"], 3);
    let below = json!({"spec": {"replicas": -1}});
    assert_eq!(server.patch(&uri, "merge", &below).await.code, 422);
    assert_eq!(server.get(&format!("{MAPS}/a/scale")).await.code, 404);
}
