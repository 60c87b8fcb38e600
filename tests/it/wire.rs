//! The encodings of the wire: what protobuf and YAML say is what JSON says, for every kind.

use hansa_apiserver::protobuf;
use hansa_tests::{Answer, Local};
use serde_json::{Value, json};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A collection and an object for it.
fn samples() -> Vec<(&'static str, Value)> {
    let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}}});
    let labels = json!({"app": "a"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container],
        "volumes": [{"name": "v", "configMap": {"name": "m", "defaultMode": 420}}]}});
    let set = json!({"selector": {"matchLabels": labels}, "template": template});
    let role = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let port = json!([{"port": 80, "targetPort": "http", "protocol": "TCP"}]);
    let of = |spec: Value| json!({"metadata": {"name": "a"}, "spec": spec});
    let apps = |plural: &'static str| (plural, of(set.clone()));
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = "Never".into();
    vec![
        (
            MAPS,
            json!({"metadata": {"name": "a", "annotations": {"k": "v"}},
            "data": {"x": "y"}, "binaryData": {"b": "AQID"}}),
        ),
        (
            "/api/v1/namespaces/default/secrets",
            json!({"metadata": {"name": "a"}, "stringData": {"p": "geheim"}}),
        ),
        ("/api/v1/namespaces/default/pods", of(template["spec"].clone())),
        ("/api/v1/namespaces/default/services", of(json!({"ports": port, "selector": labels}))),
        ("/api/v1/namespaces/default/resourcequotas", of(json!({"hard": {"pods": "100"}}))),
        (
            "/api/v1/nodes",
            json!({"metadata": {"name": "n", "labels": {"zone": "z"}},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {"capacity": {"cpu": "4"}}}),
        ),
        apps("/apis/apps/v1/namespaces/default/deployments"),
        apps("/apis/apps/v1/namespaces/default/daemonsets"),
        apps("/apis/apps/v1/namespaces/default/replicasets"),
        ("/apis/batch/v1/namespaces/default/jobs", of(json!({"template": job}))),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            of(json!({
            "holderIdentity": "me", "renewTime": "2026-01-02T03:04:05.000006Z"})),
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            of(json!({
            "minAvailable": "50%", "selector": {"matchLabels": labels}})),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
            json!({"metadata": {"name": "a"}, "rules": role}),
        ),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition()),
    ]
}

fn definition() -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"size": {"type": "integer", "default": 3, "maximum": 9}},
        "x-kubernetes-preserve-unknown-fields": true}}});
    json!({"metadata": {"name": "toys.ex.org"}, "spec": {"group": "ex.org", "scope": "Namespaced",
        "names": {"plural": "toys", "kind": "Toy"}, "versions": [{"name": "v1", "served": true,
            "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

fn get(server: &Local, path: &str, accept: &str) -> Answer {
    server.send_with("GET", path, &[("accept", accept)], b"")
}

/// A tree without what Go's protobuf cannot tell from nothing.
fn told(mut tree: Value) -> Value {
    fn is_nothing(value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Number(number) => number.as_i64() == Some(0),
            Value::Array(list) => list.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(true) => false,
        }
    }
    match &mut tree {
        Value::Array(list) => {
            list.iter_mut().for_each(|value| *value = told(value.take()));
        }
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| *value = told(value.take()));
            fields.retain(|_, value| !is_nothing(value));
        }
        _ => {}
    }
    tree
}

fn assert_same(protobuf: &Answer, json: &Answer, path: &str) {
    assert_eq!(protobuf.headers["content-type"], PROTOBUF, "{path}: {}", protobuf.text);
    let decoded = protobuf::decode(&protobuf.bytes).unwrap_or_else(|e| panic!("{path}: {e}"));
    let (decoded, json) = (told(decoded), told(without_item_types(json.body.clone())));
    assert!(decoded == json, "{path}:\n{decoded}\n{json}");
}

/// Items of a protobuf list have no type of their own.
fn without_item_types(mut list: Value) -> Value {
    for item in list["items"].as_array_mut().into_iter().flatten() {
        let fields = item.as_object_mut().unwrap();
        fields.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind"));
    }
    if list["items"].is_null() {
        list.as_object_mut().unwrap().remove("items");
    }
    list
}

/// Every collection that is served and can be listed, across namespaces.
fn collections(server: &Local) -> Vec<String> {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut found = Vec::new();
    for root in ["/api", "/apis"] {
        for group in get(server, root, accept).body["items"].as_array().unwrap() {
            for version in group["versions"].as_array().unwrap() {
                let name = version["version"].as_str().unwrap();
                let base = match group["metadata"]["name"].as_str() {
                    Some(group) => format!("{root}/{group}/{name}"),
                    None => format!("{root}/{name}"),
                };
                let all = version["resources"].as_array().unwrap().iter();
                let listed =
                    all.filter(|one| one["verbs"].as_array().unwrap().contains(&"list".into()));
                found.extend(
                    listed.map(|one| format!("{base}/{}", one["resource"].as_str().unwrap())),
                );
            }
        }
    }
    found
}

#[test]
fn protobuf_says_of_every_kind_what_json_says() {
    let server = Local::start();
    for (path, object) in samples() {
        let made = server.post(path, &object);
        assert_eq!(made.code, 201, "{path}: {}", made.text);
        let one = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
        assert_same(&get(&server, &one, PROTOBUF), &get(&server, &one, "*/*"), &one);
    }
    let all = collections(&server);
    assert!(all.len() > 30, "{all:?}");
    let builtin = || all.iter().filter(|path| !path.contains("/ex.org/"));
    for path in builtin() {
        assert_same(&get(&server, path, PROTOBUF), &get(&server, path, "*/*"), path);
    }
    std::thread::scope(|scope| {
        builtin().for_each(|path| drop(scope.spawn(|| assert_same_watch(&server, path))));
    });
}

fn assert_same_watch(server: &Local, path: &str) {
    let query = "watch=1&timeoutSeconds=1&sendInitialEvents=true\
        &resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let path = format!("{path}?{query}");
    let json = get(server, &path, "application/json");
    let protobuf = get(server, &path, PROTOBUF);
    assert_eq!(
        protobuf.headers["content-type"],
        "application/vnd.kubernetes.protobuf;stream=watch"
    );
    let lines = json
        .events()
        .into_iter()
        .map(|event| (event["type"].as_str().unwrap().to_owned(), told(event["object"].clone())));
    let added = |(event, _): &(String, Value)| event == "ADDED";
    let (lines, frames): (Vec<_>, Vec<_>) = (lines.collect(), frames(&protobuf.bytes));
    let (expected, own): (Vec<_>, Vec<_>) =
        (lines.iter().filter(|e| added(e)).collect(), frames.iter().filter(|e| added(e)).collect());
    assert!(own == expected, "{path}:\n{own:?}\n{expected:?}");
    let mark = &frames[own.len()].1["metadata"]["annotations"]["k8s.io/initial-events-end"];
    assert_eq!(mark, "true", "{path}");
}

/// The events of a protobuf watch: each frame is its length and an event around an object.
fn frames(mut bytes: &[u8]) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        bytes = rest;
        assert_eq!(frame[0], 0x0a, "field 1 is the type");
        let word = String::from_utf8(frame[2..2 + usize::from(frame[1])].to_vec()).unwrap();
        let at = frame.windows(4).position(|four| four == b"k8s\0").expect("an object");
        out.push((word, told(protobuf::decode(&frame[at..]).unwrap())));
    }
    out
}

#[test]
fn metadata_alone_comes_in_protobuf_too_for_custom_resources_as_well() {
    let server = Local::start();
    for (path, object) in samples().into_iter().filter(|(path, _)| path.contains("custom")) {
        assert_eq!(server.post(path, &object).code, 201);
    }
    let toys = "/apis/ex.org/v1/namespaces/default/toys";
    let toy = json!({"apiVersion": "ex.org/v1", "kind": "Toy",
        "metadata": {"name": "a", "labels": {"k": "v"}}, "spec": {"size": 1}});
    hansa_tests::soon("the kind is served", || server.post(toys, &toy).code == 201);
    let partial = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let list = get(&server, toys, &partial);
    assert_eq!(list.headers["content-type"], PROTOBUF, "{}", list.text);
    let json = partial.replace(PROTOBUF, "application/json");
    // A list of metadata is of no kind that a body may have: only its envelope is read.
    let text = String::from_utf8_lossy(&list.bytes);
    assert!(text.contains("PartialObjectMetadataList"), "{text}");
    let item = &get(&server, toys, &json).body["items"][0];
    assert_eq!((&item["metadata"]["labels"]["k"], &item["spec"]), (&json!("v"), &Value::Null));
    let whole = get(&server, toys, &format!("{PROTOBUF},application/json"));
    assert_eq!(whole.body["items"][0]["spec"]["size"], 1, "JSON is what is left");
    let refused = get(&server, toys, PROTOBUF);
    let status = protobuf::decode(&refused.bytes).unwrap();
    assert_eq!((refused.code, &status["reason"]), (406, &json!("NotAcceptable")));
}

#[test]
fn writes_and_failures_are_answered_in_the_encoding_asked_for() {
    let server = Local::start();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
        "data": {"x": "y"}});
    let body = protobuf::encode(&map).unwrap();
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let made = server.send_with("POST", MAPS, &headers, &body);
    assert_eq!((made.code, &protobuf::decode(&made.bytes).unwrap()["data"]), (201, &map["data"]));
    let again = server.send_with("POST", MAPS, &headers, &body);
    let status = protobuf::decode(&again.bytes).unwrap();
    assert_eq!((again.code, &status["reason"]), (409, &json!("AlreadyExists")));
    let yaml = [("content-type", "application/yaml"), ("accept", "application/yaml")];
    let made = server.send_with("POST", MAPS, &yaml, b"metadata:\n  name: b\ndata: {k: 'yes'}\n");
    assert_eq!((made.code, made.headers["content-type"].to_str().unwrap()), (201, yaml[0].1));
    assert!(made.text.contains("k: 'yes'") || made.text.contains("k: \"yes\""), "{}", made.text);
    let absent = server.send_with("GET", &format!("{MAPS}/absent"), &yaml, b"");
    assert!(absent.text.contains("reason: NotFound"), "{}", absent.text);
    let cbor = [("content-type", "application/cbor"), ("accept", "application/cbor")];
    let refused = server.send_with("POST", MAPS, &cbor[..1], b"\xa0");
    refused.assert_status(415, "UnsupportedMediaType");
    let listed = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    assert!(refused.message().ends_with(listed), "{}", refused.text);
    let refused = server.send_with("GET", &format!("{MAPS}/a"), &cbor[1..], b"");
    refused.assert_status(406, "NotAcceptable");
    let available = format!("406: Not Acceptable\n\nAvailable representations: {listed}");
    assert_eq!(refused.message(), available);
}

#[test]
fn only_large_answers_are_compressed_and_only_for_those_who_read_it() {
    let server = Local::start();
    let filled =
        |name: &str| json!({"metadata": {"name": name}, "data": {"x": "z".repeat(50_000)}});
    for name in ["a", "b", "c"] {
        assert_eq!(server.post(MAPS, &filled(name)).code, 201);
    }
    let list = |limit: u32, headers: &[(&str, &str)]| {
        let answer = server.send_with("GET", &format!("{MAPS}?limit={limit}"), headers, b"");
        (answer.headers.get("content-encoding").is_some(), answer.bytes.len())
    };
    let gzip = [("accept-encoding", "gzip")];
    assert!(!list(2, &gzip).0, "100 kB are sent as they are");
    let (zipped, size) = list(3, &gzip);
    assert!(zipped && size < 20_000, "{size}");
    assert!(!list(3, &[]).0);
    let proto = [("accept-encoding", "gzip"), ("accept", PROTOBUF)];
    assert!(list(3, &proto).0);
}
