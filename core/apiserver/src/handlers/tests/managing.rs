//! `metadata.managedFields` of every kind of write.

use super::*;

fn owner<'a>(answer: &'a Answer, who: &str) -> &'a str {
    let entries = answer.body["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["manager"] == who);
    entry.unwrap_or_else(|| panic!("{who} in {answer:?}"))["time"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn every_write_says_who_and_what() {
    let server = Server::start().await;
    let made = server.post(&format!("{MAPS}?fieldManager=maker"), &config_map("a")).await;
    let data = |keys: &[&str]| {
        let mut fields = json!({".": {}});
        keys.iter().for_each(|key| fields[format!("f:{key}")] = json!({}));
        json!({"f:data": fields})
    };
    assert_eq!(made.managers(), [("maker Update -".to_string(), data(&["k"]))]);
    let entry = &made.body["metadata"]["managedFields"][0];
    assert_eq!((&entry["apiVersion"], &entry["fieldsType"]), (&json!("v1"), &json!("FieldsV1")));
    assert_eq!(entry["time"], made.body["metadata"]["creationTimestamp"]);

    let uri = format!("{MAPS}/a");
    let patch = json!({"data": {"l": "w", "k": "x"}});
    let patched = server.patch(&format!("{uri}?fieldManager=patcher"), "merge", &patch).await;
    let patcher = json!({"f:data": {"f:k": {}, "f:l": {}}});
    let maker = json!({"f:data": {}});
    assert_eq!(
        patched.managers(),
        [("maker Update -".into(), maker.clone()), ("patcher Update -".into(), patcher.clone())]
    );
    let mut wanted = patched.body.clone();
    wanted["data"] = json!({"k": "x"});
    wanted["metadata"]["labels"] = json!({"a": "b"});
    let request = Request::builder().method("PUT").uri(&uri).header("user-agent", "curl/8 (x)");
    let put = read(server.send(request.body(full(wanted.to_string())).unwrap()).await).await;
    assert_eq!(
        put.managers(),
        [
            ("curl Update -".into(), json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}})),
            ("maker Update -".into(), maker),
            ("patcher Update -".into(), json!({"f:data": {"f:k": {}}})),
        ]
    );
    assert_eq!(server.get(&uri).await.body, put.body);
}

#[tokio::test]
async fn status_is_managed_apart_and_kept_from_other_writes() {
    let server = Server::start().await;
    let mut new = pod("p");
    new["status"] = json!({"phase": "Running"});
    let made = server.post(&format!("{PODS}?fieldManager=maker"), &new).await;
    let fields = &made.managers()[0].1;
    assert!(fields.get("f:status").is_none() && fields.get("f:spec").is_some(), "{fields}");
    let mut status = made.body.clone();
    status["status"] = json!({"phase": "Running"});
    status["spec"]["containers"][0]["image"] = "other".into();
    let uri = format!("{PODS}/p/status?fieldManager=kubelet");
    let written = server.put(&uri, &status).await;
    assert_eq!(written.body["spec"]["containers"][0]["image"], "i");
    let own = ("kubelet Update status".to_string(), json!({"f:status": {"f:phase": {}}}));
    assert_eq!(written.managers()[0], own);
    assert_eq!(&written.managers()[1].1, fields, "the maker lost nothing");
    // What a write to the pod says of the status changes neither it nor its manager.
    let mut pod = written.body.clone();
    pod["status"] = json!({"phase": "Failed"});
    pod["metadata"]["labels"] = json!({"a": "b"});
    let written = server.put(&format!("{PODS}/p?fieldManager=maker"), &pod).await;
    assert_eq!(written.body["status"]["phase"], "Running");
    assert!(written.managers().contains(&own), "{written:?}");
}

#[tokio::test]
async fn a_write_that_changes_nothing_but_times_is_none() {
    let server = Server::start().await;
    let made = server.config_map("a").await;
    let uri = format!("{MAPS}/a");
    let mut later = made.clone();
    later["metadata"]["managedFields"][0]["time"] = "2020-01-01T00:00:00Z".into();
    assert_eq!(server.put(&uri, &later).await.body, made);
    let applied = server.apply(&uri, "fieldManager=me", &config_map("a")).await;
    assert_ne!(applied.version(), made["metadata"]["resourceVersion"], "it has one more manager");
    let again = server.apply(&uri, "fieldManager=me", &config_map("a")).await;
    assert_eq!((again.code, &again.body), (200, &applied.body));
}

#[tokio::test]
async fn clients_reset_managers_and_cannot_break_them() {
    let server = Server::start().await;
    let made = server.config_map("a").await;
    let uri = format!("{MAPS}/a");
    for odd in [json!([{"manager": "x", "operation": "Guess"}]), json!([{"operation": "Update"}])] {
        let patch = json!({"metadata": {"managedFields": odd}});
        let kept = server.patch(&uri, "merge", &patch).await;
        assert_eq!((kept.code, &kept.body), (200, &made), "{odd}");
    }
    let wrong = json!({"metadata": {"managedFields": [{"time": "yesterday"}]}});
    assert_eq!(server.patch(&uri, "merge", &wrong).await.code, 422);
    for reset in [json!([]), json!([{}])] {
        let set = json!([{"op": "replace", "path": "/metadata/managedFields", "value": reset}]);
        let bare = server.patch(&uri, "json", &set).await;
        assert_eq!((bare.code, bare.managers()), (200, Vec::new()), "{reset}");
        let put = server.put(&uri, &made_with(&bare, "second")).await;
        assert_eq!(put.managers(), Vec::new(), "nothing is followed until the next apply");
        server.delete(&uri, &Value::Null).await;
        server.config_map("a").await;
    }
}

fn made_with(answer: &Answer, value: &str) -> Value {
    let mut object = answer.body.clone();
    object["data"]["k"] = value.into();
    object
}

#[tokio::test]
async fn managers_may_be_renamed_by_who_knows_the_version() {
    let server = Server::start().await;
    server.apply(&format!("{MAPS}/a"), "fieldManager=before", &config_map("a")).await;
    let live = server.get(&format!("{MAPS}/a")).await;
    let mut entries = live.body["metadata"]["managedFields"].clone();
    entries[0]["manager"] = "after".into();
    let migrate = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": live.version()},
    ]);
    let moved = server.patch(&format!("{MAPS}/a"), "json", &migrate).await;
    assert_eq!(moved.managers()[0].0, "after Apply -");
    assert_eq!(owner(&moved, "after"), owner(&live, "before"));
    assert_eq!(server.patch(&format!("{MAPS}/a"), "json", &migrate).await.code, 409);
}
