//! Bodies as client-go encodes them.

use hansa_api::schema::{FieldType, TypeId};
use serde_json::{Map, json};

use super::*;

/// A message under construction.
#[derive(Default)]
struct Build(Vec<u8>);

impl Build {
    fn varint(mut self, number: u64, value: u64) -> Self {
        self.raw(number << 3);
        self.raw(value);
        self
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(mut self, number: u64, bytes: impl AsRef<[u8]>) -> Self {
        self.raw(number << 3 | 2);
        self.raw(bytes.as_ref().len() as u64);
        self.0.extend_from_slice(bytes.as_ref());
        self
    }
}

impl AsRef<[u8]> for Build {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn build() -> Build {
    Build::default()
}

fn envelope(api_version: &str, kind: &str, raw: &Build) -> Vec<u8> {
    let type_meta = build().bytes(1, api_version).bytes(2, kind);
    let unknown = build().bytes(1, type_meta).bytes(2, raw).bytes(3, "").bytes(4, "");
    [MAGIC, unknown.as_ref()].concat()
}

#[test]
fn a_config_map_reads_as_its_json() {
    let metadata = build().bytes(1, "a").bytes(3, "default").bytes(8, "");
    let entry = build().bytes(1, "x").bytes(2, "y");
    let binary = build().bytes(1, "b").bytes(2, [1, 2, 3]);
    let raw = build().bytes(1, metadata).bytes(2, entry).bytes(3, binary).varint(4, 0);
    assert_eq!(
        decode(&envelope("v1", "ConfigMap", &raw)).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "default"},
            "data": {"x": "y"}, "binaryData": {"b": "AQID"},
            // A pointer in Go: the zero is meant.
            "immutable": false,
        })
    );
}

#[test]
fn inlined_messages_quantities_and_ports_read_as_their_json() {
    let secret = build().bytes(1, "tls");
    let source = build().bytes(6, secret);
    let volume = build().bytes(1, "v").bytes(2, source);
    let limit = build().bytes(1, "cpu").bytes(2, build().bytes(1, "500m"));
    let port = build().varint(1, 1).varint(2, 0).bytes(3, "http");
    let probe_handler = build().bytes(2, build().bytes(1, "/").bytes(2, port));
    let probe = build().bytes(1, probe_handler).varint(3, u64::MAX);
    let container =
        build().bytes(1, "c").bytes(2, "").bytes(8, build().bytes(1, limit)).bytes(10, probe);
    let spec = build().bytes(1, volume).bytes(2, container).varint(4, 0).varint(11, 0);
    let pod = decode(&envelope("v1", "Pod", &build().bytes(2, spec))).unwrap();
    assert_eq!(
        pod["spec"],
        json!({
            "volumes": [{"name": "v", "secret": {"secretName": "tls"}}],
            "containers": [{
                "name": "c",
                "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "timeoutSeconds": -1},
            }],
            "terminationGracePeriodSeconds": 0,
        })
    );
}

#[test]
fn times_lists_in_maps_and_options_of_every_group() {
    let deletion = build().varint(1, 0).bytes(4, "Foreground");
    assert_eq!(
        decode(&envelope("policy/v1", "DeleteOptions", &deletion)).unwrap(),
        json!({"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "propagationPolicy": "Foreground"})
    );
    let values = build().bytes(1, "a").bytes(1, "b");
    let extra = build().bytes(1, "scopes").bytes(2, values);
    let spec = build().bytes(3, "ann").bytes(5, extra);
    let review =
        envelope("authorization.k8s.io/v1", "SubjectAccessReview", &build().bytes(2, spec));
    let review = decode(&review).unwrap();
    assert_eq!(review["spec"], json!({"user": "ann", "extra": {"scopes": ["a", "b"]}}));
    let created = build().varint(1, 1_700_000_000);
    let metadata = build().bytes(8, created);
    let namespace = decode(&envelope("v1", "Namespace", &build().bytes(1, metadata))).unwrap();
    assert_eq!(namespace["metadata"]["creationTimestamp"], "2023-11-14T22:13:20Z");
}

/// Discovery's verbs are a list with a name, and so a message: without it no Go client finds a kind.
#[test]
fn verbs_are_a_message_of_their_own() {
    let verbs = build().bytes(1, "get").bytes(1, "list");
    let resource = build().bytes(1, "pods").bytes(4, verbs);
    let list = build().bytes(1, "v1").bytes(2, resource);
    let json = json!({"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": "v1",
        "resources": [{"name": "pods", "verbs": ["get", "list"]}]});
    assert_eq!(encode(&json).unwrap(), envelope("v1", "APIResourceList", &list));
}

#[test]
fn what_is_no_object_is_refused() {
    assert_eq!(decode(b"{}"), Err(Error::Magic));
    assert_eq!(decode(b"k8s\0\x0a\xff"), Err(Error::Malformed));
    let toy = envelope("ex.org/v1", "Toy", &build());
    assert!(matches!(decode(&toy), Err(Error::Unknown { .. })));
    let cut = envelope("v1", "ConfigMap", &build().bytes(1, [0x0a, 0x05, b'a']));
    assert_eq!(decode(&cut), Err(Error::Malformed));
    let wrong = envelope("v1", "ConfigMap", &build().varint(1, 7));
    assert_eq!(decode(&wrong), Err(Error::Malformed));
}

/// A tree with a value in every field of a type, as deep as its types do not repeat.
fn sample(kind: &FieldType, above: &mut Vec<TypeId>) -> Value {
    let bundle = schema::builtin();
    match kind {
        FieldType::String => "text".into(),
        FieldType::Bytes => "AQID".into(),
        FieldType::Int32 => (-7).into(),
        FieldType::Int64 => 9_007_199_254_740_993_i64.into(),
        FieldType::Double => 1.5.into(),
        FieldType::Bool => true.into(),
        FieldType::Quantity => "500m".into(),
        FieldType::IntOrString => {
            if above.len().is_multiple_of(2) {
                80.into()
            } else {
                "http".into()
            }
        }
        FieldType::Time => "2026-01-02T03:04:05Z".into(),
        FieldType::MicroTime => "2026-01-02T03:04:05.000006Z".into(),
        FieldType::Any | FieldType::FreeObject => json!({"any": [1, null, "x"]}),
        FieldType::SchemaOrArray | FieldType::SchemaOrStrings | FieldType::SchemaOrBool => {
            json!({"type": "integer", "maximum": 3.5})
        }
        FieldType::List(item) => match sample(item, above) {
            Value::Null => Value::Null,
            item => json!([item.clone(), item]),
        },
        FieldType::Map(value) => match sample(value, above) {
            Value::Null => Value::Null,
            value => json!({"key": value}),
        },
        FieldType::Object(id) if above.contains(id) => Value::Null,
        FieldType::Object(id) => {
            above.push(*id);
            let def = bundle.get(*id);
            // The type of an object is in the envelope only.
            let typed = |name: &str| !def.kinds.is_empty() && matches!(name, "apiVersion" | "kind");
            let fields = def.fields.iter().filter(|field| !typed(&field.name));
            let filled: Map<String, Value> = fields
                .map(|field| (field.name.clone(), sample(&field.kind, above)))
                .filter(|(_, value)| !value.is_null())
                .collect();
            above.pop();
            Value::Object(filled)
        }
    }
}

#[test]
fn every_kind_comes_back_as_it_went() {
    let mut count = 0;
    for (id, def) in schema::builtin().types() {
        for kind in def.kinds.iter().filter(|kind| is_known(kind)) {
            // Its object is a message in a message, which only a watch makes.
            if kind.kind == "WatchEvent" {
                continue;
            }
            let mut obj = sample(&FieldType::Object(id), &mut Vec::new());
            obj["apiVersion"] = kind.api_version().into();
            obj["kind"] = kind.kind.as_str().into();
            let bytes = encode(&obj).unwrap();
            assert!(decode(&bytes).unwrap() == obj, "{kind}: {obj}");
            count += 1;
        }
    }
    assert!(count > 150, "{count} kinds have a protobuf encoding");
}

#[test]
fn a_list_is_its_objects_messages_one_after_the_other() {
    let map = |name: &str| json!({"metadata": {"name": name}, "data": {"a": "x".repeat(300)}});
    let list = json!({"apiVersion": "v1", "kind": "ConfigMapList",
        "metadata": {"resourceVersion": "7"}, "items": [map("a"), map("b")]});
    let whole = |name: &str| {
        let mut obj = map(name);
        obj["apiVersion"] = "v1".into();
        obj["kind"] = "ConfigMap".into();
        message(&obj).unwrap()
    };
    let items = [whole("a"), whole("b")];
    let head = list_head(
        "v1",
        "ConfigMapList",
        &json!({"metadata": {"resourceVersion": "7"}}),
        items.iter(),
    );
    let mut joined = head.to_vec();
    for item in &items {
        joined.extend_from_slice(&item_head(item));
        joined.extend_from_slice(item);
    }
    joined.extend_from_slice(ENVELOPE_END);
    assert_eq!(joined, encode(&list).unwrap());
    assert_eq!(decode(&joined).unwrap(), list);
}

#[test]
fn the_schemas_of_custom_resources_keep_their_odd_shapes() {
    let schema = json!({"properties": {
        "a": {"additionalProperties": false, "items": [{"type": "string"}]},
        "b": {"additionalProperties": {"type": "string"}, "dependencies": {"x": ["y"]}},
        "c": {"enum": [null, "x", 1], "default": null, "x-kubernetes-list-map-keys": ["k"]},
    }});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "spec": {"group": "ex.org", "scope": "Namespaced", "names": {"plural": "toys", "kind": "Toy"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}}]}});
    let back = decode(&encode(&crd).unwrap()).unwrap();
    let mut schema = schema;
    schema["properties"]["c"].as_object_mut().unwrap().remove("default");
    assert_eq!(back["spec"]["versions"][0]["schema"]["openAPIV3Schema"], schema);
}
