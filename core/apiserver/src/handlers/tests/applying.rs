//! Server-side apply over HTTP.

use super::*;

fn deployment(replicas: Option<i64>, image: &str) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}}});
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = replicas.into();
    }
    object
}

#[tokio::test]
async fn apply_creates_changes_and_prunes() {
    let server = Server::start().await;
    let uri = format!("{MAPS}/a");
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let made = server.apply(&uri, "fieldManager=me", &map(json!({"k": "v", "l": "w"}))).await;
    assert_eq!((made.code, &made.body["data"]), (201, &json!({"k": "v", "l": "w"})), "{made:?}");
    assert_eq!(made.managers()[0].0, "me Apply -");
    assert!(!made.body["metadata"]["uid"].as_str().unwrap().is_empty());
    let patch = json!({"data": {"other": "x"}});
    server.patch(&format!("{uri}?fieldManager=other"), "merge", &patch).await;
    let less = server.apply(&uri, "fieldManager=me", &map(json!({"k": "v2"}))).await;
    assert_eq!((less.code, &less.body["data"]), (200, &json!({"k": "v2", "other": "x"})));
    let refused = server.apply(&uri, "fieldManager=you", &map(json!({"k": "y"}))).await;
    assert_eq!(refused.code, 409);
    assert_eq!(refused.message(), r#"Apply failed with 1 conflict: conflict with "me": .data.k"#);
    assert_eq!(
        refused.body["details"],
        json!({"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"me\"",
            "field": ".data.k"}]})
    );
    let forced = server.apply(&uri, "fieldManager=you&force=true", &map(json!({"k": "y"}))).await;
    assert_eq!((forced.code, &forced.body["data"]["k"]), (200, &json!("y")));
    assert_eq!(server.get(&uri).await.body, forced.body);
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused_and_changes_nothing() {
    let server = Server::start().await;
    let made = server.config_map("a").await;
    let uri = format!("{MAPS}/a");
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let me = "fieldManager=me";
    let cases = [
        ("", head.to_string(), 422, "fieldManager: Required value: is required for apply patch"),
        (me, head.replace("v1", "v2"), 400, "invalid object type: /v2, Kind=ConfigMap"),
        (me, head.replace("ConfigMap", "Secret"), 400, "invalid object type: /v1, Kind=Secret"),
        (me, String::new(), 400, "invalid object type: /, Kind="),
        (me, "a: [".into(), 400, "error decoding YAML: error converting YAML to JSON: yaml: "),
        (me, "[]".into(), 400, "cannot unmarshal array into Go value of type"),
        (me, head.replace("name: a", "name: b"), 400, "the name of the object (b) does not match"),
        (
            me,
            head.replace("name: a", "name: a, namespace: m"),
            400,
            "the namespace of the provided object does not match",
        ),
        (
            me,
            head.replace("name: a", "name: a, managedFields: [{}]"),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            me,
            head.replace("name: a", "name: a, resourceVersion: '1'"),
            409,
            "the object has been modified",
        ),
        (
            me,
            format!("{head}date: {{a: b}}\n"),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .date: field not \
             declared in schema",
        ),
        (
            me,
            format!("{head}data: {{a: 1}}\n"),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.a: expected \
             string, got &value.valueUnstructured{Value:1}",
        ),
        (
            "fieldManager=me&fieldValidation=Strict",
            format!("{head}data: {{a: b}}\ndata: {{a: c}}\n"),
            400,
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal \
             errors:\n  line 5: key \"data\" already set in map",
        ),
        ("fieldManager=me&dryRun=Some", head.to_string(), 422, "dryRun"),
        (
            me,
            head.replace("name: a", "name: a, uid: other"),
            422,
            "metadata.uid: Invalid value: \"other\": field is immutable",
        ),
    ];
    for (query, body, code, message) in cases {
        let answer = server.apply_text(&format!("{uri}?{query}"), &body).await;
        assert_eq!(answer.code, code, "{body}: {answer:?}");
        assert!(answer.message().contains(message), "{body}: {answer:?}");
        assert_eq!(answer.body["kind"], "Status");
    }
    assert_eq!(server.get(&uri).await.body, made);
}

#[tokio::test]
async fn a_field_twice_is_warned_of_and_a_dry_run_writes_nothing() {
    let server = Server::start().await;
    let made = server.config_map("a").await;
    let uri = format!("{MAPS}/a");
    let twice =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\ndata: {a: c}\n";
    let warned = server.apply_text(&format!("{uri}?fieldManager=me&dryRun=All"), twice).await;
    assert_eq!((warned.code, &warned.body["data"]["a"]), (200, &json!("c")));
    assert!(warned.headers["warning"].to_str().unwrap().contains("already set in map"));
    assert_eq!(server.get(&uri).await.body, made, "a dry run writes nothing");
}

#[tokio::test]
async fn where_nothing_is_an_object_must_name_itself() {
    let server = Server::start().await;
    let uri = format!("{MAPS}/new");
    let object =
        |metadata: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
    let cases = [
        (json!({}), 400, "was undeterminable: name must be provided"),
        (json!({"name": "new", "uid": "u"}), 409, "uid mismatch: the provided object specified"),
    ];
    for (metadata, code, message) in cases {
        let answer = server.apply(&uri, "fieldManager=me", &object(metadata)).await;
        assert_eq!(answer.code, code, "{answer:?}");
        assert!(answer.message().contains(message), "{answer:?}");
    }
    let named = object(json!({"name": "new", "resourceVersion": "7"}));
    let tried = server.apply(&uri, "fieldManager=me&dryRun=All", &named).await;
    assert_eq!(tried.code, 201);
    assert_eq!(server.get(&uri).await.code, 404);
    let status = server.apply(&format!("{PODS}/none/status"), "fieldManager=me", &json!({})).await;
    assert_eq!(status.code, 404, "only objects are created");
}

#[tokio::test]
async fn a_status_is_applied_by_itself() {
    let server = Server::start().await;
    server.post(&format!("{PODS}?fieldManager=maker"), &pod("p")).await;
    let status = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "stolen"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let uri = format!("{PODS}/p/status");
    let written = server.apply(&uri, "fieldManager=me", &status).await;
    assert_eq!(written.code, 200, "{written:?}");
    assert!(written.body["spec"].get("nodeName").is_none());
    let condition = json!({".": {}, "f:status": {}, "f:type": {}});
    let fields = json!({"f:status": {"f:phase": {},
        "f:conditions": {"k:{\"type\":\"Ready\"}": condition}}});
    assert_eq!(written.managers()[0], ("me Apply status".into(), fields));
    let other = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "status": {"phase": "Failed"}});
    let refused = server.apply(&uri, "fieldManager=you", &other).await;
    assert_eq!(
        refused.message(),
        r#"Apply failed with 1 conflict: conflict with "me" with subresource "status": .status.phase"#
    );
    // Through the pod itself nobody has a say in its status.
    let through = server.apply(&format!("{PODS}/p"), "fieldManager=you&force=true", &other).await;
    assert_eq!((through.code, &through.body["status"]["phase"]), (200, &json!("Running")));
}

#[tokio::test]
async fn replicas_change_hands_through_scale() {
    let server = Server::start().await;
    let uri = format!("{DEPLOYMENTS}/web");
    let made = server.apply(&uri, "fieldManager=me", &deployment(Some(1), "i")).await;
    assert_eq!(made.code, 201, "{made:?}");
    let scale = |replicas: i64| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"},
            "spec": {"replicas": replicas}})
    };
    let at_scale = format!("{uri}/scale");
    let refused = server.apply(&at_scale, "fieldManager=hpa", &scale(3)).await;
    assert_eq!(
        refused.message(),
        r#"Apply failed with 1 conflict: conflict with "me": .spec.replicas"#
    );
    let forced = server.apply(&at_scale, "fieldManager=hpa&force=true", &scale(3)).await;
    assert_eq!((forced.code, &forced.body["spec"]["replicas"]), (200, &json!(3)), "{forced:?}");
    let scaled = server.get(&uri).await;
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    assert!(scaled.managers().contains(&("hpa Apply scale".into(), replicas.clone())));
    let back = server.apply(&uri, "fieldManager=me", &deployment(Some(1), "i")).await;
    assert_eq!(
        back.message(),
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\": \
         .spec.replicas"
    );
    let without = server.apply(&uri, "fieldManager=me", &deployment(None, "j")).await;
    assert_eq!((without.code, &without.body["spec"]["replicas"]), (200, &json!(3)));
    let patched = server.patch(&format!("{at_scale}?fieldManager=cli"), "merge", &scale(5)).await;
    assert_eq!(patched.code, 200, "{patched:?}");
    let scaled = server.get(&uri).await;
    assert_eq!(scaled.body["spec"]["replicas"], 5);
    let managers = scaled.managers();
    assert!(managers.contains(&("cli Update scale".into(), replicas)), "{managers:?}");
    assert!(managers.iter().all(|(who, _)| !who.starts_with("hpa")), "{managers:?}");
}

#[tokio::test]
async fn client_side_apply_hands_over() {
    let server = Server::start().await;
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let plain = deployment(Some(2), "i");
    let mut object = plain.clone();
    object["metadata"]["annotations"] = json!({annotation: plain.to_string()});
    server.post(&format!("{DEPLOYMENTS}?fieldManager=kubectl-client-side-apply"), &object).await;
    let uri = format!("{DEPLOYMENTS}/web");
    let next = deployment(Some(3), "j");
    let refused = server.apply(&uri, "fieldManager=helm", &next).await;
    assert!(refused.message().starts_with("Apply failed with 2 conflicts"), "{refused:?}");
    let taken = server.apply(&uri, "fieldManager=kubectl", &next).await;
    assert_eq!((taken.code, &taken.body["spec"]["replicas"]), (200, &json!(3)), "{taken:?}");
    let kept = taken.body["metadata"]["annotations"][annotation].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(kept).unwrap(), next);
}

#[tokio::test]
async fn lists_of_appliers_do_not_race() {
    let server = Server::start().await;
    let uri = format!("{MAPS}/shared");
    let one = |at: usize| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"},
            "data": {format!("k{at}"): "v"}});
        let (server, uri) = (&server, &uri);
        async move { server.apply(uri, &format!("fieldManager=m{at}"), &object).await }
    };
    let answers = futures::future::join_all((0..8).map(one)).await;
    assert!(answers.iter().all(|answer| matches!(answer.code, 200 | 201)), "{answers:?}");
    let shared = server.get(&uri).await;
    assert_eq!(shared.body["data"].as_object().unwrap().len(), 8);
    assert_eq!(shared.managers().len(), 8);
}
