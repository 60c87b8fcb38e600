//! Every door answers bad input in the API's terms, and nothing changes.

use hansa_tests::{Kubectl, Local, hollow, soon};
use serde_json::{Value, json};

use crate::scenario::{config_map, deployment, on};

on!(hollow: broken_files, unknown_fields, bad_names, stale_versions);

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

/// A bad body: what it shows, its media type, itself, and the answer's code, reason and a part of
/// its message.
type Body = (&'static str, &'static str, &'static str, u16, &'static str, &'static str);

const BODIES: &[Body] = &[
    ("cut off", JSON, r#"{"metadata": {"name""#, 400, "BadRequest", "json parse error"),
    ("empty", JSON, "", 400, "BadRequest", ""),
    ("a list", JSON, "[]", 400, "BadRequest", ""),
    ("no text", JSON, "\u{0}\u{1}", 400, "BadRequest", ""),
    ("bad YAML", "application/yaml", "a: [\nb: {", 400, "BadRequest", "yaml parse error"),
    ("two documents", "application/yaml", "a: b\n---\nc: d", 400, "BadRequest", "yaml parse error"),
    ("more behind it", JSON, r#"{"metadata": {"name": "x"}} {}"#, 400, "BadRequest", "json parse"),
    (
        "a bad base of a name",
        JSON,
        r#"{"metadata": {"generateName": "No_"}}"#,
        422,
        "Invalid",
        "metadata.generateName: Invalid value: \"No_\"",
    ),
    (
        "a finalizer of nobody",
        JSON,
        r#"{"metadata": {"name": "x", "finalizers": ["mine"]}}"#,
        422,
        "Invalid",
        "neither a standard finalizer name nor is it fully qualified",
    ),
    (
        "an owner without identity",
        JSON,
        r#"{"metadata": {"name": "x", "ownerReferences": [{"name": "y"}]}}"#,
        422,
        "Invalid",
        "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
    ),
    ("another kind", JSON, r#"{"kind": "Pod", "apiVersion": "v1"}"#, 400, "BadRequest", "Pod"),
    (
        "another version",
        JSON,
        r#"{"kind": "ConfigMap", "apiVersion": "v9"}"#,
        400,
        "BadRequest",
        "v9",
    ),
    (
        "a number for a text",
        JSON,
        r#"{"metadata": {"name": "x"}, "data": {"k": 1}}"#,
        400,
        "BadRequest",
        "data",
    ),
    ("a text for an object", JSON, r#"{"metadata": "x"}"#, 400, "BadRequest", "metadata"),
    ("no name", JSON, r#"{"metadata": {}}"#, 422, "Invalid", "name or generateName is required"),
    ("a bad name", JSON, r#"{"metadata": {"name": "No_Good"}}"#, 422, "Invalid", "RFC 1123"),
    (
        "a bad label",
        JSON,
        r#"{"metadata": {"name": "x", "labels": {"a b": "c"}}}"#,
        422,
        "Invalid",
        "labels",
    ),
    (
        "a bad key",
        JSON,
        r#"{"metadata": {"name": "x"}, "data": {"a/b": "c"}}"#,
        422,
        "Invalid",
        "data",
    ),
    (
        "another namespace",
        JSON,
        r#"{"metadata": {"name": "x", "namespace": "kube-system"}}"#,
        400,
        "BadRequest",
        "namespace",
    ),
    (
        "a version at birth",
        JSON,
        r#"{"metadata": {"name": "x", "resourceVersion": "5"}}"#,
        400,
        "BadRequest",
        "resourceVersion should not be set",
    ),
    ("an unknown form", "text/plain", "hello", 415, "UnsupportedMediaType", ""),
];

#[test]
fn bad_bodies_create_nothing() {
    let server = Local::start();
    let mut before = server.get(MAPS);
    soon("the server has written what it writes at its start", || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = server.get(MAPS);
        std::mem::replace(&mut before, now).version() == before.version()
    });
    for (what, media, body, code, reason, part) in BODIES {
        let answer = server.send("POST", MAPS, media, body.as_bytes());
        assert_eq!((answer.code, answer.reason()), (*code, *reason), "{what}: {}", answer.text);
        assert!(answer.message().contains(part), "{what}: {}", answer.text);
        assert_eq!(answer.body["status"], "Failure", "{what}");
    }
    let after = server.get(MAPS);
    assert_eq!((after.names(), after.version()), (before.names(), before.version()));
}

/// A bad request without a body, and its answer.
const PATHS: &[(&str, &str, u16, &str)] = &[
    ("GET", "/api/v1/gadgets", 404, "NotFound"),
    ("GET", "/apis/apps/v9/deployments", 404, "NotFound"),
    ("GET", "/apis/apps/v1/namespaces/default/gadgets", 404, "NotFound"),
    ("GET", "/api/v1/namespaces/default/configmaps/absent", 404, "NotFound"),
    ("GET", "/api/v1/namespaces/default/configmaps?labelSelector=a+in+(b", 400, "BadRequest"),
    ("GET", "/api/v1/namespaces/default/configmaps?labelSelector=-a", 400, "BadRequest"),
    ("GET", "/api/v1/namespaces/default/configmaps?fieldSelector=a", 400, "BadRequest"),
    ("GET", "/api/v1/namespaces/default/configmaps?fieldSelector=data.k=1", 400, "BadRequest"),
    ("GET", "/api/v1/namespaces/default/configmaps?limit=many", 400, "BadRequest"),
    ("GET", "/api/v1/namespaces/default/configmaps?timeout=soon", 400, "BadRequest"),
    ("GET", "/api/v1/namespaces/default/configmaps?continue=nonsense", 400, "BadRequest"),
    ("GET", "/api/v1/namespaces/default/configmaps?resourceVersion=old", 400, "BadRequest"),
    ("GET", "/api/v1/namespaces/default/configmaps?resourceVersionMatch=Exact", 422, "Invalid"),
    ("GET", "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=x", 500, ""),
    ("GET", "/api/v1/namespaces/default/configmaps?watch=1&sendInitialEvents=true", 422, "Invalid"),
    ("DELETE", "/api/v1/namespaces/default/configmaps/absent", 404, "NotFound"),
    (
        "DELETE",
        "/api/v1/namespaces/default/serviceaccounts/default?propagationPolicy=Some",
        422,
        "Invalid",
    ),
    ("DELETE", "/api/v1/namespaces/default/serviceaccounts/default?dryRun=Maybe", 422, "Invalid"),
    ("DELETE", "/api/v1/namespaces/default", 403, "Forbidden"),
    ("BREW", "/api/v1/namespaces/default/configmaps", 405, "MethodNotAllowed"),
    ("OPTIONS", "/api/v1/configmaps", 405, "MethodNotAllowed"),
    ("POST", "/api/v1/namespaces/default/configmaps/named", 405, "MethodNotAllowed"),
    ("PUT", "/api/v1/namespaces/default/configmaps", 405, "MethodNotAllowed"),
];

#[test]
fn bad_requests_change_nothing() {
    let server = Local::start();
    for (method, path, code, reason) in PATHS {
        let answer = server.send(method, path, "", b"");
        assert_eq!(
            (answer.code, answer.reason()),
            (*code, *reason),
            "{method} {path}: {}",
            answer.text
        );
    }
    assert_eq!(server.get("/api/v1/namespaces/default/serviceaccounts").names(), ["default"]);
}

fn map_of(bytes: usize) -> Vec<u8> {
    json!({"metadata": {"name": "large"}, "data": {"k": "x".repeat(bytes)}})
        .to_string()
        .into_bytes()
}

#[test]
fn bodies_have_a_limit_and_so_have_objects() {
    let server = Local::start();
    let most = 3 << 20;
    let answer = server.send("POST", MAPS, JSON, &map_of(most));
    answer.assert_status(413, "RequestEntityTooLarge");
    assert!(answer.message().contains("limit is 3145728"), "{}", answer.text);
    server.send("POST", MAPS, JSON, &map_of(most - 100)).assert_status(422, "Invalid");
    assert_eq!(server.get(MAPS).names().len(), 0);
    assert_eq!(server.send("POST", MAPS, JSON, &map_of(1000 << 10)).code, 201);
}

#[test]
fn the_wire_has_the_same_limit() {
    let body = String::from_utf8(map_of((3 << 20) - 40)).unwrap();
    let content = [("content-type", JSON)];
    let answer = hollow().http().send("POST", MAPS, &content, &body);
    answer.assert_status(413, "RequestEntityTooLarge");
    assert!(hollow().http().get(&format!("{MAPS}/large")).code == 404);
}

#[test]
fn unknown_fields_are_refused_warned_of_or_ignored() {
    let server = Local::start();
    let body = json!({"metadata": {"name": "odd", "colour": "red"}, "date": {"k": "v"}});
    let post =
        |validation: &str| server.post(&format!("{MAPS}?fieldValidation={validation}"), &body);
    let strict = post("Strict");
    strict.assert_status(400, "BadRequest");
    for field in ["date", "metadata.colour"] {
        assert!(strict.message().contains(&format!("unknown field {field:?}")), "{}", strict.text);
    }
    assert_eq!(server.get(MAPS).names().len(), 0, "refused");
    post("Loud").assert_status(422, "Invalid");
    let warned = post("Warn&dryRun=All");
    assert_eq!(warned.code, 201);
    let warnings: Vec<_> = warned.headers.get_all("warning").iter().collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let ignored = post("Ignore");
    assert_eq!((ignored.code, ignored.headers.get("warning")), (201, None));
    assert_eq!(server.get(&format!("{MAPS}/odd")).body["date"], Value::Null, "dropped");
    let twice = br#"{"metadata": {"name": "twice"}, "data": {"k": "1", "k": "2"}}"#;
    let strict = server.send("POST", &format!("{MAPS}?fieldValidation=Strict"), JSON, twice);
    assert!(strict.message().contains(r#"duplicate field "data.k""#), "{}", strict.text);
}

#[test]
fn what_must_not_change_does_not() {
    let server = Local::start();
    let made = server
        .post(MAPS, &json!({"metadata": {"name": "m"}, "data": {"k": "1"}, "immutable": true}));
    let path = format!("{MAPS}/m");
    let changed = |pointer: &str, value: Value| {
        let mut body = made.body.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        server.put(&path, &body)
    };
    changed("/data/k", json!("2")).assert_status(422, "Invalid");
    changed("/metadata/name", json!("other")).assert_status(400, "BadRequest");
    changed("/metadata/namespace", json!("kube-system")).assert_status(400, "BadRequest");
    changed("/metadata/uid", json!("0")).assert_status(409, "Conflict");
    changed("/metadata/resourceVersion", json!("1")).assert_status(409, "Conflict");
    changed("/metadata/resourceVersion", json!("x")).assert_status(400, "BadRequest");
    let other = json!({"preconditions": {"uid": "0"}});
    server.delete(&path, &other).assert_status(409, "Conflict");
    let other = json!({"preconditions": {"resourceVersion": "1"}});
    server.delete(&path, &other).assert_status(409, "Conflict");
    assert_eq!(server.get(&path).body, made.body);
    let own = json!({"preconditions": {"uid": made.body["metadata"]["uid"]}});
    assert_eq!(server.delete(&path, &own).code, 200);
}

/// JSON and YAML that would cost more than they weigh.
#[test]
fn bombs_are_refused() {
    let server = Local::start();
    let deep = "[".repeat(100_000);
    let mut doubling = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for at in 1..10 {
        let tenfold = vec![format!("*a{}", at - 1); 10].join(", ");
        doubling += &format!("a{at}: &a{at} [{tenfold}]\n");
    }
    for (media, body) in
        [(JSON, &deep), ("application/yaml", &deep), ("application/yaml", &doubling)]
    {
        let answer = server.send("POST", MAPS, media, body.as_bytes());
        answer.assert_status(400, "BadRequest");
        assert!(!answer.message().contains('\n'), "one line: {}", answer.text);
    }
    let copies: Vec<_> = (0..40)
        .map(|at| json!({"op": "copy", "from": "", "path": format!("/data/x{at}")}))
        .collect();
    server.post(MAPS, &json!({"metadata": {"name": "m"}, "data": {"k": "v".repeat(100)}}));
    let copied = server.patch(&format!("{MAPS}/m"), "json", &copies.into());
    copied.assert_status(422, "Invalid");
    let many = vec![json!({"op": "test", "path": "", "value": {}}); 10_001];
    let many = server.patch(&format!("{MAPS}/m"), "json", &many.into());
    many.assert_status(413, "RequestEntityTooLarge");
}

/// A deletion with options that are misread would be one without them.
#[test]
fn odd_options_delete_nothing() {
    let server = Local::start();
    server.post(MAPS, &json!({"metadata": {"name": "m"}}));
    let path = format!("{MAPS}/m");
    for (options, code) in [
        (json!({"preconditions": {"uid": 1}}), 400),
        (json!({"preconditions": "none"}), 400),
        (json!({"gracePeriodSeconds": "now"}), 400),
        (json!({"kind": "Pod"}), 400),
        (json!([]), 400),
        (json!({"propagationPolicy": "Orphan", "orphanDependents": true}), 422),
        (json!({"propagationPolicy": "Some"}), 422),
        (json!({"dryRun": ["Some"]}), 422),
    ] {
        let answer = server.delete(&path, &options);
        assert_eq!(
            (answer.code, server.get(&path).code),
            (code, 200),
            "{options}: {}",
            answer.text
        );
    }
    assert_eq!(server.delete(&path, &json!({})).code, 200);
}

fn broken_files(kubectl: &Kubectl) {
    let error = kubectl.with(&["apply"], "a: [\nb: {").stderr;
    assert!(error.contains("error parsing") || error.contains("error converting"), "{error}");
    let error = kubectl.with(&["apply"], "{\"kind\": \"ConfigMap\"").stderr;
    assert!(error.contains("error"), "{error}");
    let unknown = "apiVersion: test.dev/v1\nkind: Gadget\nmetadata: {name: g}\n";
    let error = kubectl.with(&["apply"], unknown).stderr;
    assert!(error.contains(r#"no matches for kind "Gadget" in version "test.dev/v1""#), "{error}");
    let wrong = deployment("web", 1).replace("replicas: 1", "replicas: one");
    let error = kubectl.with(&["apply"], &wrong).stderr;
    assert!(error.contains("cannot be handled as a Deployment"), "{error}");
    assert_eq!(kubectl.ok(&["get", "deployments", "-o", "name"]), "");
}

fn unknown_fields(kubectl: &Kubectl) {
    let odd = deployment("web", 1).replace("  replicas:", "  replicasses: 2\n  replicas:");
    let error = kubectl.with(&["apply"], &odd).stderr;
    assert!(error.contains(r#"unknown field "spec.replicasses""#), "{error}");
    assert!(kubectl.fails(&["get", "deployment", "web"]).contains("NotFound"));
    let warned = kubectl.with(&["apply", "--validate=warn"], &odd);
    assert!(
        warned.success && warned.stderr.contains(r#"unknown field "spec.replicasses""#),
        "{warned:?}"
    );
    let ignored = kubectl.with(&["apply", "--validate=ignore"], &odd);
    assert!(ignored.success && !ignored.stderr.contains("unknown field"), "{ignored:?}");
}

fn bad_names(kubectl: &Kubectl) {
    let error = kubectl.with(&["create"], &config_map("No_Good", "k", "v")).stderr;
    assert!(error.contains(r#"The ConfigMap "No_Good" is invalid: metadata.name"#), "{error}");
    let mismatched =
        deployment("web", 1).replace("matchLabels: {app: web}", "matchLabels: {app: x}");
    let error = kubectl.with(&["create"], &mismatched).stderr;
    assert!(error.contains("`selector` does not match template `labels`"), "{error}");
    let error = kubectl.with(&["create"], &deployment("web", 1).replace("pause:1", "''")).stderr;
    assert!(error.contains("spec.template.spec.containers[0].image: Required value"), "{error}");
    let error = kubectl.fails(&["create", "namespace", "Loud"]);
    assert!(error.contains("is invalid: metadata.name"), "{error}");
}

fn stale_versions(kubectl: &Kubectl) {
    kubectl.apply(&config_map("m", "k", "1"));
    let old = kubectl.ok(&["get", "configmap", "m", "-o", "yaml"]);
    kubectl.apply(&config_map("m", "k", "2"));
    let output = kubectl.with(&["replace"], &old);
    assert!(
        output.stderr.contains("the object has been modified; please apply your changes"),
        "{output:?}"
    );
    assert_eq!(kubectl.path(&["cm", "m"], "{.data.k}"), "2");
}
