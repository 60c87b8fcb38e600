//! Deletion: now, gracefully, held by finalizers, in bulk.

use super::*;

#[tokio::test]
async fn a_plain_object_goes_at_once() {
    let server = Server::start().await;
    let made = server.config_map("a").await;
    let uri = format!("{MAPS}/a");
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert_eq!(server.delete(&uri, &wrong).await.code, 409);
    let stale = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(server.delete(&uri, &stale).await.code, 409);
    let gone = server.delete(&uri, &Value::Null).await;
    assert_eq!((gone.code, &gone.body["status"]), (200, &json!("Success")));
    assert_eq!(gone.body["details"]["uid"], made["metadata"]["uid"]);
    assert_eq!(server.delete(&uri, &Value::Null).await.code, 404);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_off() {
    let server = Server::start().await;
    let mut body = config_map("a");
    body["metadata"]["finalizers"] = json!(["a.io/b"]);
    server.post(MAPS, &body).await;
    let uri = format!("{MAPS}/a");
    let mut events = server.watch(&format!("{MAPS}?watch=1")).await;
    events.expect("ADDED", "a").await;
    let foreground = json!({"propagationPolicy": "Foreground"});
    let marked = server.delete(&uri, &foreground).await;
    assert_eq!(marked.code, 200);
    let metadata = &marked.body["metadata"];
    assert_eq!(metadata["finalizers"], json!(["a.io/b", "foregroundDeletion"]));
    assert!(metadata["deletionTimestamp"].is_string());
    events.expect("MODIFIED", "a").await;
    let more = json!({"metadata": {"finalizers": ["a.io/b", "c.io/d"]}});
    let refused = server.patch(&uri, "merge", &more).await;
    assert_eq!(refused.code, 422, "{refused:?}");
    let off = json!({"metadata": {"finalizers": null}});
    assert_eq!(server.patch(&uri, "merge", &off).await.code, 200);
    events.expect("DELETED", "a").await;
    assert_eq!(server.get(&uri).await.code, 404);
}

#[tokio::test]
async fn a_bound_pod_waits_for_its_node_to_confirm() {
    let server = Server::start().await;
    let uri = format!("{PODS}/p");
    let mut body = pod("p");
    body["spec"]["nodeName"] = "n1".into();
    server.post(PODS, &body).await;
    let dying = server.delete(&uri, &Value::Null).await;
    assert_eq!(dying.body["metadata"]["deletionGracePeriodSeconds"], 30);
    let uid = dying.body["metadata"]["uid"].clone();
    assert_eq!(server.get(&uri).await.code, 200);
    let status = json!({"status": {"phase": "Succeeded"}});
    assert_eq!(server.patch(&format!("{uri}/status"), "merge", &status).await.code, 200);
    let confirm = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
    let gone = server.delete(&uri, &confirm).await;
    assert_eq!(gone.body["status"]["phase"], "Succeeded");
    assert_eq!(server.get(&uri).await.code, 404);
    server.post(PODS, &pod("q")).await;
    let unbound = server.delete(&format!("{PODS}/q"), &Value::Null).await;
    assert_eq!(unbound.body["kind"], "Pod");
    assert_eq!(server.get(&format!("{PODS}/q")).await.code, 404);
}

#[tokio::test]
async fn a_collection_is_deleted_as_selected() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        let mut map = config_map(name);
        map["metadata"]["labels"] = json!({"name": name});
        server.post(MAPS, &map).await;
    }
    let uri = format!("{MAPS}?labelSelector=name+in+(a,c)");
    let deleted = server.delete(&uri, &Value::Null).await;
    assert_eq!(deleted.names(), ["a", "c"]);
    assert_eq!(server.get(MAPS).await.names(), ["b"]);
    assert_eq!(server.delete("/api/v1/configmaps", &Value::Null).await.code, 405);
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_finalized() {
    let server = Server::start().await;
    let uri = "/api/v1/namespaces/gone";
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "gone"}})).await;
    let marked = server.delete(uri, &Value::Null).await;
    assert!(marked.body["metadata"]["deletionTimestamp"].is_string(), "{marked:?}");
    let mut namespace = server.get(uri).await.body;
    namespace["spec"] = json!({});
    let done = server.put(&format!("{uri}/finalize"), &namespace).await;
    assert_eq!(done.code, 200, "{done:?}");
    assert_eq!(server.get(uri).await.code, 404);
}
