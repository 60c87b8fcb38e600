//! Whatever is thrown at a kind: an answer in the API's terms, and never a failure of the server.
//!
//! The objects are made from what the server itself says of its kinds (OpenAPI v3): every field is
//! there and has its type, so that defaults, validation and printers all meet them, and no value
//! means anything.

use std::collections::BTreeMap;

use hansa_tests::{Answer, Local};
use serde_json::{Map, Value, json};

/// What the fields of an object are filled with.
struct Filling {
    text: &'static str,
    number: i64,
    flag: bool,
    /// How many elements lists have.
    length: usize,
}

const FILLINGS: [Filling; 4] = [
    Filling { text: "", number: 0, flag: false, length: 0 },
    Filling { text: "x", number: 1, flag: true, length: 1 },
    Filling { text: "-1/😀\n{$(a)}", number: -1, flag: false, length: 2 },
    Filling { text: "99999999999999999999", number: i32::MAX as i64, flag: true, length: 2 },
];

/// As deep as objects of objects are filled; schemas of schemas have no end.
const DEPTH: usize = 9;

/// A kind that can be created, and where.
struct Kind {
    path: String,
    kind: String,
    schema: Value,
    /// All schemas of its document, by name.
    schemas: Value,
}

fn filled(schema: &Value, all: &Value, with: &Filling, depth: usize) -> Value {
    let one = schema["allOf"][0]["$ref"].as_str().or_else(|| schema["$ref"].as_str());
    if let Some(name) = one.and_then(|text| text.rsplit('/').next()) {
        return match name {
            "io.k8s.apimachinery.pkg.api.resource.Quantity" => with.number.to_string().into(),
            name => filled(&all[name], all, with, depth),
        };
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (_, Some("date-time")) => "2026-01-01T00:00:00Z".into(),
        (_, Some("int-or-string")) => with.number.into(),
        (_, Some("byte")) => "eA==".into(),
        (Some("string"), _) => with.text.into(),
        (Some("integer" | "number"), _) => with.number.into(),
        (Some("boolean"), _) => with.flag.into(),
        (Some("array"), _) if depth > 0 => {
            let item = filled(&schema["items"], all, with, depth - 1);
            vec![item; with.length].into()
        }
        (Some("object") | None, _) if depth > 0 => fields(schema, all, with, depth - 1),
        _ => Value::Null,
    }
}

fn fields(schema: &Value, all: &Value, with: &Filling, depth: usize) -> Value {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut fields: Map<String, Value> =
        properties.map(|(name, one)| (name.clone(), filled(one, all, with, depth))).collect();
    if schema["additionalProperties"].is_object() {
        fields.insert(with.text.into(), filled(&schema["additionalProperties"], all, with, depth));
    }
    fields.into()
}

/// Every kind that the server says it creates.
fn kinds(server: &Local) -> Vec<Kind> {
    let index = server.get("/openapi/v3").body["paths"].clone();
    let versions: BTreeMap<_, _> = index.as_object().expect("there is an index").iter().collect();
    let served = versions.keys().filter(|path| path.matches('/').count() == api_depth(path));
    served.flat_map(|path| kinds_of(server, path)).collect()
}

/// How many slashes the path of a group's version has.
fn api_depth(path: &str) -> usize {
    if path.starts_with("apis/") { 2 } else { 1 }
}

fn kinds_of(server: &Local, version: &str) -> Vec<Kind> {
    let schemas =
        server.get(&format!("/openapi/v3/{version}")).body["components"]["schemas"].clone();
    let resources = server.get(&format!("/{version}")).body["resources"].clone();
    let creates = |one: &Value| {
        let verbs = one["verbs"].as_array().cloned().unwrap_or_default();
        !one["name"].as_str().unwrap_or_default().contains('/') && verbs.contains(&json!("create"))
    };
    let resources = resources.as_array().cloned().unwrap_or_default();
    let made = resources.iter().filter(|one| creates(one)).filter_map(|one| {
        let kind = one["kind"].as_str()?;
        let own = schemas.as_object()?.values().find(|schema| is_of(schema, version, kind))?;
        let place = if one["namespaced"] == true { "/namespaces/default" } else { "" };
        Some(Kind {
            path: format!("/{version}{place}/{}", one["name"].as_str()?),
            kind: kind.to_owned(),
            schema: own.clone(),
            schemas: schemas.clone(),
        })
    });
    made.collect()
}

fn is_of(schema: &Value, version: &str, kind: &str) -> bool {
    let group = version.strip_prefix("apis/").and_then(|rest| rest.split('/').next());
    let gvks = schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
    gvks.clone().any(|gvk| gvk["kind"] == kind && gvk["group"] == group.unwrap_or_default())
}

/// Panics if the server failed, or answered with something that is no answer.
fn assert_sane(what: &str, answer: &Answer) {
    assert!(answer.code < 500, "{what}: {}", answer.text);
    assert!(answer.body["kind"].is_string(), "{what}: {}", answer.text);
    if answer.code >= 400 {
        let told = (&answer.body["status"], answer.reason().is_empty());
        assert_eq!(told, (&json!("Failure"), false), "{what}: {}", answer.text);
    }
}

/// Creates, changes, shows and deletes an object.
fn try_all(server: &Local, kind: &Kind, name: &str, object: &Value, other: &Value) -> bool {
    let what = |verb: &str| format!("{verb} {} {name}", kind.kind);
    let made = server.post(&kind.path, object);
    assert_sane(&what("POST"), &made);
    let path = format!("{}/{name}", kind.path);
    for patch in ["merge", "strategic-merge"] {
        assert_sane(&what("PATCH"), &server.patch(&path, patch, other));
    }
    assert_sane(&what("PUT"), &server.put(&path, other));
    for subresource in ["status", "scale"] {
        let path = format!("{path}/{subresource}");
        assert_sane(&what("PATCH status"), &server.patch(&path, "merge", other));
    }
    assert_sane(&what("DELETE"), &server.delete(&path, &json!({"gracePeriodSeconds": 0})));
    made.code == 201
}

fn object(kind: &Kind, with: &Filling, name: &str, plain: bool) -> Value {
    let mut object = filled(&kind.schema, &kind.schemas, with, DEPTH);
    for field in ["apiVersion", "kind"] {
        object.as_object_mut().expect("kinds are objects").remove(field);
    }
    if plain {
        object["metadata"] = json!({});
    }
    object["metadata"]["name"] = name.into();
    object["metadata"]["namespace"] = Value::Null;
    object["metadata"]["resourceVersion"] = Value::Null;
    object
}

#[test]
fn no_kind_chokes_on_garbage() {
    let server = Local::start();
    let kinds = kinds(&server);
    assert!(kinds.len() > 30, "the server tells its kinds: {}", kinds.len());
    let mut made = 0;
    for kind in &kinds {
        for (at, filling) in FILLINGS.iter().enumerate() {
            let name = format!("g{at}");
            let other = &FILLINGS[(at + 1) % FILLINGS.len()];
            for plain in [true, false] {
                let objects = [filling, other].map(|with| object(kind, with, &name, plain));
                made += usize::from(try_all(&server, kind, &name, &objects[0], &objects[1]));
            }
        }
    }
    assert!(made > 30, "some of it is taken: {made}");
}

/// Bodies whose parts have other types than they should.
const TYPES: [&str; 8] = ["5", "true", "\"x\"", "[]", "[null]", "[[]]", "{}", "{\"a\": {}}"];

#[test]
fn no_kind_takes_other_types_for_its_own() {
    let server = Local::start();
    for kind in kinds(&server) {
        let named = kind.schema["properties"].as_object().cloned().unwrap_or_default();
        for field in named.keys().filter(|field| !["apiVersion", "kind"].contains(&field.as_str()))
        {
            for odd in TYPES {
                let body =
                    format!("{{\"metadata\": {{\"generateName\": \"g-\"}}, {field:?}: {odd}}}");
                let path = format!("{}?dryRun=All", kind.path);
                let answer = server.send("POST", &path, "application/json", body.as_bytes());
                assert_sane(&format!("{} {body}", kind.kind), &answer);
            }
        }
    }
}
