//! A custom resource's whole life.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::generic::catalog::Served;
use crate::handlers::tests::{Answer, Server};
use crate::registry::{AddressRange, NODE_PORTS, Settings, table};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SHIPS: &str = "/apis/sea.io/v1/namespaces/n/ships";

fn kinds() -> Vec<Served> {
    let service_range = AddressRange::parse("127.64.128.0/17").unwrap();
    let mut all = vec![served()];
    all.extend(table(&Settings { service_range, node_ports: NODE_PORTS }));
    all
}

fn ships() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["crew"], "properties": {
            "crew": {"type": "integer", "minimum": 1},
            "flag": {"type": "string", "default": "hansa"},
            "cargo": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }},
        "status": {"type": "object", "properties": {"crew": {"type": "integer"},
            "selector": {"type": "string"}}},
    }});
    let columns = json!([{"name": "Crew", "type": "integer", "jsonPath": ".spec.crew"}]);
    let scale = json!({"specReplicasPath": ".spec.crew", "statusReplicasPath": ".status.crew",
        "labelSelectorPath": ".status.selector"});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true,
        "storage": storage, "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": columns, "selectableFields": [{"jsonPath": ".spec.flag"}],
        "subresources": {"status": {}, "scale": scale}})
    };
    json!({"metadata": {"name": "ships.sea.io"}, "spec": {"group": "sea.io", "scope": "Namespaced",
        "names": {"plural": "ships", "kind": "Ship", "shortNames": ["sh"]},
        "versions": [version("v1", true), version("v1beta1", false)]}})
}

async fn eventually(server: &Server, uri: &str, done: impl Fn(&Answer) -> bool) -> Answer {
    for _ in 0..500 {
        let answer = server.get(uri).await;
        if done(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{uri} never got there: {:?}", server.get(uri).await);
}

fn condition(answer: &Answer, kind: &str) -> String {
    let conditions = answer.body["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|one| one["type"] == kind).cloned().unwrap_or_default();
    found["status"].as_str().unwrap_or_default().to_string()
}

async fn server() -> Server {
    let server = Server::serving(kinds()).await;
    start(&server.registry).await.unwrap();
    let made = server.post(CRDS, &ships()).await;
    assert_eq!(made.code, 201, "{made:?}");
    let uri = format!("{CRDS}/ships.sea.io");
    eventually(&server, &uri, |answer| condition(answer, "Established") == "True").await;
    server
}

fn ship(name: &str) -> Value {
    json!({"apiVersion": "sea.io/v1", "kind": "Ship", "metadata": {"name": name},
        "spec": {"crew": 3}})
}

#[tokio::test]
async fn objects_are_defaulted_pruned_and_validated() {
    let server = server().await;
    let mut body = ship("kogge");
    body["spec"]["cargo"] = json!({"any": ["thing"]});
    body["spec"]["sails"] = 2.into();
    let made = server.post(SHIPS, &body).await;
    assert_eq!(made.code, 201, "{made:?}");
    let spec = json!({"crew": 3, "flag": "hansa", "cargo": {"any": ["thing"]}});
    assert_eq!(made.body["spec"], spec);
    assert_eq!(made.body["metadata"]["generation"], 1);
    assert_eq!(made.headers["warning"], r#"299 - "unknown field \"spec.sails\"""#);
    let strict = server.post(&format!("{SHIPS}?fieldValidation=Strict"), &body).await;
    assert_eq!(strict.code, 400);
    for (crew, code) in [(json!(0), 422), (json!("many"), 422), (Value::Null, 422)] {
        let mut bad = ship("bad");
        bad["spec"]["crew"] = crew;
        assert_eq!(server.post(SHIPS, &bad).await.code, code, "{bad}");
    }
    let mut odd = ship("odd");
    odd["metadata"]["labels"] = json!({"a": 1});
    assert_eq!(server.post(SHIPS, &odd).await.code, 400);
}

#[tokio::test]
async fn versions_columns_fields_and_subresources_are_served() {
    let server = server().await;
    server.post(SHIPS, &ship("kogge")).await;
    let beta = server.get("/apis/sea.io/v1beta1/namespaces/n/ships/kogge").await;
    assert_eq!(beta.body["apiVersion"], "sea.io/v1beta1");
    let table = server.get_as(SHIPS, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert_eq!(table.body["rows"][0]["cells"], json!(["kogge", 3]));
    let flagged = server.get(&format!("{SHIPS}?fieldSelector=spec.flag%3Dhansa")).await;
    assert_eq!(flagged.names(), ["kogge"]);
    let scale = format!("{SHIPS}/kogge/scale");
    let scaled = server.patch(&scale, "merge", &json!({"spec": {"replicas": 8}})).await;
    assert_eq!(scaled.body["spec"]["replicas"], 8, "{scaled:?}");
    let status = json!({"status": {"crew": 5, "selector": "a=b"}, "spec": {"crew": 99}});
    server.patch(&format!("{SHIPS}/kogge/status"), "merge", &status).await;
    let scale = server.get(&scale).await;
    assert_eq!(scale.body["status"], json!({"replicas": 5, "selector": "a=b"}));
    assert_eq!(scale.body["spec"]["replicas"], 8);
    let strategic = server.patch(&format!("{SHIPS}/kogge"), "strategic-merge", &json!({})).await;
    assert_eq!(strategic.code, 415);
    let mut blind = ship("kogge");
    assert_eq!(server.put(&format!("{SHIPS}/kogge"), &blind).await.code, 422);
    blind["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(server.put(&format!("{SHIPS}/kogge"), &blind).await.code, 409);
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_along() {
    let server = server().await;
    server.post(SHIPS, &ship("kogge")).await;
    let mut held = ship("holk");
    held["metadata"]["finalizers"] = json!(["sea.io/anchor"]);
    server.post(SHIPS, &held).await;
    let uri = format!("{CRDS}/ships.sea.io");
    let dying = server.delete(&uri, &Value::Null).await;
    assert_eq!(dying.body["metadata"]["finalizers"], json!([CLEANUP]));
    eventually(&server, &format!("{SHIPS}/kogge"), |answer| answer.code == 404).await;
    assert_eq!(server.get(&uri).await.code, 200, "an object is still held");
    let late = server.post(SHIPS, &ship("late")).await;
    assert_eq!(late.code, 403);
    let why = "is forbidden: create not allowed while custom resource definition is terminating";
    assert!(late.message().contains(why), "{late:?}");
    let off = json!({"metadata": {"finalizers": null}});
    server.patch(&format!("{SHIPS}/holk"), "merge", &off).await;
    eventually(&server, &uri, |answer| answer.code == 404).await;
    let gone = |answer: &Answer| answer.message().contains("could not find the requested resource");
    eventually(&server, SHIPS, gone).await;
}

#[tokio::test]
async fn names_are_given_once() {
    let server = server().await;
    let mut thief = ships();
    thief["metadata"]["name"] = "boats.sea.io".into();
    thief["spec"]["names"] = json!({"plural": "boats", "kind": "Boat", "shortNames": ["sh"]});
    assert_eq!(server.post(CRDS, &thief).await.code, 201);
    let uri = format!("{CRDS}/boats.sea.io");
    let refused =
        eventually(&server, &uri, |answer| condition(answer, "NamesAccepted") == "False").await;
    assert_eq!(condition(&refused, "Established"), "False");
    assert_eq!(server.get("/apis/sea.io/v1/boats").await.code, 404);
}

#[tokio::test]
async fn bad_definitions_are_refused() {
    let server = Server::serving(kinds()).await;
    let broken = |pointer: &str, value: Value| {
        let mut crd = ships();
        *crd.pointer_mut(pointer).unwrap() = value;
        crd
    };
    let cases = [
        (broken("/metadata/name", json!("boats.sea.io")), "spec.names.plural"),
        (broken("/spec/group", json!("sea")), "at least one dot"),
        (broken("/spec/scope", json!("Global")), "spec.scope"),
        (broken("/spec/versions", json!([])), "must have exactly one version"),
        (broken("/spec/versions/1/name", json!("v1")), "unique version names"),
        (
            broken("/spec/versions/0/additionalPrinterColumns/0/type", json!("any")),
            "must be one of",
        ),
        (broken("/spec/versions/0/storage", json!(false)), "exactly one version"),
        (broken("/spec/versions/0/schema", json!({})), "openAPIV3Schema: Required value"),
        (
            broken("/spec/versions/0/schema/openAPIV3Schema/type", json!("string")),
            "only \"object\" is allowed",
        ),
    ];
    for (crd, text) in cases {
        let answer = server.post(CRDS, &crd).await;
        assert_eq!(answer.code, 422, "{answer:?}");
        assert!(answer.message().contains(text), "{text}: {answer:?}");
    }
    let mut unknown = ships();
    unknown["spec"]["verions"] = json!([]);
    let strict = server.post(&format!("{CRDS}?fieldValidation=Strict"), &unknown).await;
    assert_eq!(strict.code, 400);
}

#[tokio::test]
async fn the_shipped_definitions_are_accepted() {
    let server = Server::serving(kinds()).await;
    start(&server.registry).await.unwrap();
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds");
    for file in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read(file.unwrap().path()).unwrap();
        let uri = format!("{CRDS}?fieldValidation=Strict");
        let made = server.call("POST", &uri, "application/yaml", &text).await;
        assert_eq!(made.code, 201, "{made:?}");
    }
}
