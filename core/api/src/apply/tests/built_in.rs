//! Built-in types: what their objects' first managers are seen to have.

use serde_json::{Value, json};

use crate::apply::{ObjectType, OneVersion, Set, Tracker, field_path, validate};
use crate::gvk::GroupVersionKind;

fn created(kind: &GroupVersionKind, mut object: Value) -> Value {
    let object_type = ObjectType::builtin(kind);
    let api_version = kind.api_version();
    let reset = Set::of([&field_path(&["status"])]);
    let versions = OneVersion { api_version: &api_version, kind: object_type.get(), reset };
    let now = "2026-01-01T00:00:00Z";
    let tracker = Tracker { kind, versions: &versions, subresource: "", now };
    tracker.update(&json!({}), &mut object, "kubectl-create").unwrap();
    object["metadata"]["managedFields"][0]["fieldsV1"].take()
}

/// A deployment as the server fills it in, and what upstream says that its creator manages.
#[test]
fn a_new_deployment() {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "uid": "u", "labels": {"app": "web"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%",
                "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx",
                        "ports": [{"containerPort": 80, "protocol": "TCP"}],
                        "env": [{"name": "A", "value": "b"}]}],
                    "restartPolicy": "Always", "securityContext": {}}}},
        "status": {"replicas": 1}});
    let fields = created(&GroupVersionKind::new("apps", "v1", "Deployment"), object);
    let nothing = json!({});
    assert_eq!(
        fields,
        json!({
            "f:metadata": {"f:labels": {".": nothing, "f:app": nothing}},
            "f:spec": {
                "f:replicas": nothing, "f:selector": nothing,
                "f:strategy": {"f:type": nothing, "f:rollingUpdate": {".": nothing,
                    "f:maxSurge": nothing, "f:maxUnavailable": nothing}},
                "f:template": {
                    "f:metadata": {"f:labels": {".": nothing, "f:app": nothing}},
                    "f:spec": {
                        "f:containers": {"k:{\"name\":\"nginx\"}": {".": nothing,
                            "f:name": nothing, "f:image": nothing, "f:resources": nothing,
                            "f:ports": {".": nothing,
                                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": nothing,
                                    "f:containerPort": nothing, "f:protocol": nothing}},
                            "f:env": {".": nothing, "k:{\"name\":\"A\"}": {".": nothing,
                                "f:name": nothing, "f:value": nothing}}}},
                        "f:restartPolicy": nothing, "f:securityContext": nothing,
                    },
                },
            },
        })
    );
}

#[test]
fn a_new_config_map_and_service() {
    let map = json!({"metadata": {"name": "m"}, "data": {"k": "v"}});
    assert_eq!(
        created(&GroupVersionKind::new("", "v1", "ConfigMap"), map),
        json!({"f:data": {".": {}, "f:k": {}}})
    );
    let service = json!({"spec": {"selector": {"a": "b"}, "type": "ClusterIP",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}]}});
    assert_eq!(
        created(&GroupVersionKind::new("", "v1", "Service"), service),
        json!({"f:spec": {"f:selector": {}, "f:type": {},
            "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {},
                "f:protocol": {}, "f:targetPort": {}}}}})
    );
}

#[test]
fn keys_have_their_defaults() {
    let kind = ObjectType::builtin(&GroupVersionKind::new("", "v1", "Service"));
    let ports = json!({"spec": {"ports": [{"port": 80}, {"port": 80, "protocol": "TCP"}]}});
    let error = validate(kind.get(), &ports).unwrap_err();
    let text = r#".spec.ports: duplicate entries for key [port=80,protocol="TCP"]"#;
    assert_eq!(error.to_string(), text);
    let kind = ObjectType::builtin(&GroupVersionKind::new("", "v1", "Pod"));
    let unknown = json!({"spec": {"containers": [{"name": "a", "img": "b"}]}});
    assert_eq!(
        validate(kind.get(), &unknown).unwrap_err().to_string(),
        r#".spec.containers[name="a"].img: field not declared in schema"#
    );
    let nameless = json!({"spec": {"containers": [{"image": "b"}], "priority": 1.5}});
    assert_eq!(validate(kind.get(), &nameless), Ok(()), "a name is empty by default");
}
