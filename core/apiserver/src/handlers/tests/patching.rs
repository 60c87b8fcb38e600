//! PATCH in its three types.

use super::*;

#[tokio::test]
async fn each_type_patches_in_its_way() {
    let server = Server::start().await;
    let uri = format!("{PODS}/p");
    server.post(PODS, &pod("p")).await;
    let strategic = json!({"spec": {"containers": [{"name": "c", "image": "j"}]}});
    let one = server.patch(&uri, "strategic-merge", &strategic).await;
    assert_eq!(one.body["spec"]["containers"][0]["image"], "j", "{one:?}");
    assert_eq!(one.body["spec"]["containers"].as_array().unwrap().len(), 1);
    let merge = json!({"metadata": {"labels": {"a": "b"}, "annotations": null}});
    let two = server.patch(&uri, "merge", &merge).await;
    assert_eq!(two.body["metadata"]["labels"]["a"], "b");
    let ops = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "k"}]);
    let three = server.patch(&uri, "json", &ops).await;
    assert_eq!(three.body["spec"]["containers"][0]["image"], "k");
    assert_eq!(server.get(&uri).await.body, three.body);
}

#[tokio::test]
async fn refused_patches_change_nothing() {
    let server = Server::start().await;
    let made = server.config_map("a").await;
    let uri = format!("{MAPS}/a");
    let version = json!({"metadata": {"resourceVersion": "1"}});
    let cases = [
        ("json", json!({"a": "b"}), 400),
        ("merge", json!([1]), 400),
        ("json", json!([{"op": "test", "path": "/data/k", "value": "w"}]), 422),
        ("json", json!([{"op": "remove", "path": "/data/none"}]), 422),
        ("json", json!([{"op": "brew", "path": "/data/k"}]), 422),
        ("json", json!([1]), 400),
        ("merge", json!({"data": {"k": 1}}), 422),
        ("strategic-merge", json!({"data": {"k": 1}}), 422),
        ("merge", json!({"metadata": {"name": "b"}}), 400),
        ("merge", version, 409),
        ("telepathic", json!({}), 415),
    ];
    for (kind, patch, code) in cases {
        let answer = server.patch(&uri, kind, &patch).await;
        assert_eq!(answer.code, code, "{kind} {patch}: {answer:?}");
        assert_eq!(answer.body["kind"], "Status");
    }
    let missing = server.patch(&format!("{MAPS}/b"), "merge", &json!({})).await;
    assert_eq!(missing.code, 404);
    assert_eq!(server.get(&uri).await.body, made);
}

#[tokio::test]
async fn unknown_fields_are_told_as_the_client_wishes() {
    let server = Server::start().await;
    server.config_map("a").await;
    let patch = json!({"date": {"a": "b"}});
    let uri = format!("{MAPS}/a?fieldValidation=");
    let strict = server.patch(&format!("{uri}Strict"), "merge", &patch).await;
    assert_eq!(strict.code, 422);
    assert!(strict.message().contains(r#"unknown field "date""#), "{strict:?}");
    let warned = server.patch(&format!("{uri}Warn"), "merge", &patch).await;
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"date\"""#);
    let ignored = server.patch(&format!("{uri}Ignore"), "merge", &patch).await;
    assert!(!ignored.headers.contains_key("warning") && ignored.body.get("date").is_none());
}
