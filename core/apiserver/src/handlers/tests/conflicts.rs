//! Creation and update: identity, conflicts, what a client may not change.

use super::*;

#[tokio::test]
async fn a_created_object_is_read_back_and_taken_once() {
    let server = Server::start().await;
    let made = server.config_map("a").await;
    assert_eq!(made["metadata"]["namespace"], "n");
    assert!(!made["metadata"]["uid"].as_str().unwrap().is_empty());
    assert!(made["metadata"].get("generation").is_none());
    let read = server.get(&format!("{MAPS}/a")).await;
    assert_eq!((read.code, &read.body), (200, &made));
    let again = server.post(MAPS, &config_map("a")).await;
    assert_eq!((again.code, again.message()), (409, r#"configmaps "a" already exists"#));
    assert_eq!(again.body["reason"], "AlreadyExists");
    let missing = server.get(&format!("{MAPS}/b")).await;
    assert_eq!((missing.code, missing.message()), (404, r#"configmaps "b" not found"#));
}

#[tokio::test]
async fn generated_names_differ() {
    let server = Server::start().await;
    let body = json!({"metadata": {"generateName": "web-"}});
    let (one, two) = (server.post(MAPS, &body).await, server.post(MAPS, &body).await);
    assert_eq!((one.code, two.code), (201, 201));
    let name = |answer: &Answer| answer.body["metadata"]["name"].as_str().unwrap().to_string();
    assert!(name(&one).starts_with("web-") && name(&one) != name(&two));
}

#[tokio::test]
async fn a_stale_update_is_a_conflict_and_changes_nothing() {
    let server = Server::start().await;
    let uri = format!("{MAPS}/a");
    let first = server.config_map("a").await;
    let mut second = first.clone();
    second["data"]["k"] = "second".into();
    let written = server.put(&uri, &second).await;
    assert_eq!(written.code, 200);
    assert_ne!(written.version(), first["metadata"]["resourceVersion"]);
    let mut stale = first.clone();
    stale["data"]["k"] = "stale".into();
    let refused = server.put(&uri, &stale).await;
    assert_eq!(refused.code, 409);
    assert!(refused.message().starts_with("Operation cannot be fulfilled on configmaps \"a\""));
    assert_eq!(server.get(&uri).await.body, written.body);
    stale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let forced = server.put(&uri, &stale).await;
    assert_eq!((forced.code, &forced.body["data"]["k"]), (200, &json!("stale")));
    stale["metadata"]["uid"] = "other".into();
    let other = server.put(&uri, &stale).await;
    assert!(other.code == 409 && other.message().contains("Precondition failed: UID"));
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let server = Server::start().await;
    let made = server.config_map("a").await;
    let before = server.storage.current_revision().await.unwrap();
    let same = server.put(&format!("{MAPS}/a"), &made).await;
    assert_eq!((same.code, &same.body), (200, &made));
    assert_eq!(server.storage.current_revision().await.unwrap(), before);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let server = Server::start().await;
    let uri = format!("{DEPLOYMENTS}/d");
    let body = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"a": "b"}}, "template": {}}, "status": {"replicas": 9}});
    let made = server.post(DEPLOYMENTS, &body).await;
    assert_eq!(made.code, 201, "{made:?}");
    assert_eq!(made.body["status"], json!({}));
    assert_eq!(made.body["metadata"]["generation"], 1);
    let mut wanted = made.body.clone();
    wanted["status"] = json!({"replicas": 2});
    wanted["spec"]["replicas"] = 7.into();
    let status = server.put(&format!("{uri}/status"), &wanted).await;
    assert_eq!(status.body["status"]["replicas"], 2, "{status:?}");
    assert_eq!(status.body["spec"]["replicas"], 2);
    assert_eq!(status.body["metadata"]["generation"], 1);
    wanted["metadata"]["resourceVersion"] = status.version().into();
    wanted["status"] = json!({"replicas": 5});
    let spec = server.put(&uri, &wanted).await;
    assert_eq!(spec.body["spec"]["replicas"], 7);
    assert_eq!(spec.body["status"]["replicas"], 2);
    assert_eq!(spec.body["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_dry_run_answers_and_keeps_nothing() {
    let server = Server::start().await;
    let made = server.post(&format!("{MAPS}?dryRun=All"), &config_map("a")).await;
    assert_eq!(made.code, 201);
    assert_eq!(server.get(&format!("{MAPS}/a")).await.code, 404);
    let kept = server.config_map("a").await;
    let mut other = kept.clone();
    other["data"]["k"] = "other".into();
    let updated = server.put(&format!("{MAPS}/a?dryRun=All"), &other).await;
    assert_eq!(updated.body["data"]["k"], "other");
    server.delete(&format!("{MAPS}/a?dryRun=All"), &Value::Null).await;
    assert_eq!(server.get(&format!("{MAPS}/a")).await.body, kept);
}

#[tokio::test]
async fn concurrent_unconditional_patches_all_count() {
    let server = Arc::new(Server::start().await);
    server.config_map("a").await;
    let patches = (0..20).map(|at| {
        let server = server.clone();
        async move {
            let patch = json!({"data": {format!("k{at}"): "v"}});
            server.patch(&format!("{MAPS}/a"), "merge", &patch).await.code
        }
    });
    let codes = futures::future::join_all(patches).await;
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
    let data = server.get(&format!("{MAPS}/a")).await.body["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 21);
}
