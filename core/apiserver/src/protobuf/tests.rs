//! Bodies as client-go encodes them.

use serde_json::json;

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
