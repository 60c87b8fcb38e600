//! Watches: where they start, what they send, how they end.

use super::*;

#[tokio::test]
async fn a_watch_resumes_where_a_list_ended() {
    let server = Server::start().await;
    server.config_map("a").await;
    let list = server.get(MAPS).await;
    server.config_map("b").await;
    let mut events =
        server.watch(&format!("{MAPS}?watch=1&resourceVersion={}", list.version())).await;
    events.expect("ADDED", "b").await;
    let patch = json!({"data": {"k": "w"}});
    server.patch(&format!("{MAPS}/a"), "merge", &patch).await;
    let event = events.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["data"]["k"]), (&json!("MODIFIED"), &json!("w")));
    assert_eq!(event["object"], server.get(&format!("{MAPS}/a")).await.body);
    server.delete(&format!("{MAPS}/b"), &Value::Null).await;
    let gone = events.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    let now = server.storage.current_revision().await.unwrap();
    assert_eq!(gone["object"]["metadata"]["resourceVersion"], now.to_string());
}

#[tokio::test]
async fn without_a_version_a_watch_begins_with_what_is_there() {
    let server = Server::start().await;
    server.config_map("a").await;
    for version in ["", "&resourceVersion=0"] {
        let mut events = server.watch(&format!("{MAPS}?watch=true{version}")).await;
        events.expect("ADDED", "a").await;
    }
}

#[tokio::test]
async fn a_watch_list_marks_the_end_of_the_initial_state() {
    let server = Server::start().await;
    server.config_map("a").await;
    let uri = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
         &allowWatchBookmarks=true"
    );
    let mut events = server.watch(&uri).await;
    events.expect("ADDED", "a").await;
    let mark = events.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    let metadata = &mark["object"]["metadata"];
    assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
    let now = server.storage.current_revision().await.unwrap();
    assert_eq!(metadata["resourceVersion"], now.to_string());
    server.config_map("b").await;
    events.expect("ADDED", "b").await;
}

#[tokio::test]
async fn a_version_that_is_forgotten_is_gone() {
    let server = Server::start().await;
    server.config_map("a").await;
    server.config_map("b").await;
    server.get(MAPS).await;
    let mut events = server.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await;
    let event = events.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn objects_come_into_and_leave_a_selection() {
    let server = Server::start().await;
    let mut events = server.watch(&format!("{MAPS}?watch=1&labelSelector=in%3Dyes")).await;
    let label = |value: Value| json!({"metadata": {"labels": {"in": value}}});
    server.config_map("a").await;
    server.patch(&format!("{MAPS}/a"), "merge", &label("yes".into())).await;
    events.expect("ADDED", "a").await;
    server.patch(&format!("{MAPS}/a"), "merge", &json!({"data": {"k": "w"}})).await;
    events.expect("MODIFIED", "a").await;
    server.patch(&format!("{MAPS}/a"), "merge", &label("no".into())).await;
    let gone = events.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["metadata"]["labels"]["in"], "yes");
}

#[tokio::test]
async fn narrow_watches_hear_of_their_own_only() {
    let server = Server::start().await;
    let node = "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1";
    let mut on_node = server.watch(node).await;
    let name = format!("{PODS}?watch=1&fieldSelector=metadata.name%3Dp2");
    let mut named = server.watch(&name).await;
    for (pod_name, node) in [("p1", "n2"), ("p2", "n1"), ("p3", "n1")] {
        let mut body = pod(pod_name);
        body["spec"]["nodeName"] = node.into();
        assert_eq!(server.post(PODS, &body).await.code, 201);
    }
    on_node.expect("ADDED", "p2").await;
    on_node.expect("ADDED", "p3").await;
    named.expect("ADDED", "p2").await;
    server.delete(&format!("{PODS}/p3"), &json!({"gracePeriodSeconds": 0})).await;
    on_node.expect("DELETED", "p3").await;
}

#[tokio::test]
async fn a_watch_ends_with_a_bookmark_that_the_next_can_start_from() {
    let server = Server::start().await;
    server.config_map("a").await;
    let uri = format!("{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=3");
    let mut events = server.watch(&uri).await;
    events.expect("ADDED", "a").await;
    let begun = events.next().await.unwrap();
    let annotations = &begun["object"]["metadata"]["annotations"];
    assert_eq!(annotations["k8s.io/initial-events-end"], "true", "the state is whole");
    server.post(PODS, &pod("p")).await;
    let last = events.next().await.unwrap();
    assert_eq!(last["type"], "BOOKMARK");
    let now = server.storage.current_revision().await.unwrap().to_string();
    assert_eq!(last["object"]["metadata"]["resourceVersion"], now, "other kinds' writes count");
    assert!(events.next().await.is_none());
    let mut next = server.watch(&format!("{MAPS}?watch=1&resourceVersion={now}")).await;
    server.config_map("b").await;
    next.expect("ADDED", "b").await;
}

#[tokio::test]
async fn a_slow_watcher_loses_nothing_and_holds_nobody_up() {
    let server = Server::start().await;
    let mut slow = server.watch(&format!("{MAPS}?watch=1")).await;
    let mut quick = server.watch(&format!("{MAPS}?watch=1")).await;
    for at in 0..700 {
        let name = format!("m{at:04}");
        server.config_map(&name).await;
        quick.expect("ADDED", &name).await;
    }
    for at in 0..700 {
        slow.expect("ADDED", &format!("m{at:04}")).await;
    }
}

#[tokio::test]
async fn tables_are_watched_too() {
    let server = Server::start().await;
    let request = Request::builder()
        .uri(format!("{MAPS}?watch=1"))
        .header(ACCEPT, "application/json;as=Table;v=v1;g=meta.k8s.io");
    let response = server.send(request.body(empty()).unwrap()).await;
    let mut events = Events { stream: BodyStream::new(response.into_body()), rest: Vec::new() };
    server.config_map("a").await;
    let event = events.next().await.unwrap();
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["rows"][0]["cells"][0], "a");
}
