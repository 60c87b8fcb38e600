//! What users meet when they create and change Services.

use serde_json::{Value, json};

use super::*;
use crate::registry::check::texts;

fn services() -> Services {
    let addresses = AddressRange::parse("10.96.0.0/16").unwrap();
    Services { addresses, node_ports: (30000, 32767) }
}

fn service(spec: Value) -> Value {
    let mut obj = json!({"metadata": {"name": "web"}, "spec": spec});
    services().default(&mut obj);
    services().prepare_create(&Context::internal("create", "n", ""), &mut obj);
    obj
}

#[test]
fn defaults_are_upstreams() {
    let obj = service(json!({"type": "LoadBalancer", "ports": [{"port": 80}]}));
    assert_eq!(
        obj["spec"],
        json!({"type": "LoadBalancer", "sessionAffinity": "None",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
            "allocateLoadBalancerNodePorts": true})
    );
    assert_eq!(obj["status"], json!({"loadBalancer": {}}));
    let headless = service(json!({"clusterIP": "None"}));
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
}

#[test]
fn mistakes_are_named() {
    let cases = [
        (json!({}), "spec.ports: Required value"),
        (
            json!({"ports": [{"port": 0}]}),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 1}]}),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort \
             services",
        ),
        (
            json!({"type": "Magic", "ports": [{"port": 1}]}),
            "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \
             \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
    ];
    for (spec, expected) in cases {
        let mut found = texts(&services().validate_create(&service(spec)));
        found.dedup();
        assert!(found.iter().any(|text| text == expected), "{found:?}");
    }
    assert!(!services().validate_name("1web").is_empty());
}

#[test]
fn an_update_keeps_what_was_allocated() {
    let old = json!({"metadata": {"name": "web"}, "spec": {
        "type": "NodePort", "clusterIP": "10.96.0.9",
        "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30001}]}});
    let ctx = Context::internal("update", "n", "web");
    let mut new = service(json!({"type": "NodePort", "ports": [{"port": 80}]}));
    services().prepare_update(&ctx, &mut new, &old);
    assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.9"]));
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);
    let mut plain = service(json!({"ports": [{"port": 80, "nodePort": 30001}]}));
    services().prepare_update(&ctx, &mut plain, &old);
    assert!(plain["spec"]["ports"][0].get("nodePort").is_none());
    let mut moved = new.clone();
    moved["spec"]["clusterIP"] = "10.96.0.10".into();
    services().prepare_update(&ctx, &mut moved, &old);
    let found = texts(&services().validate_update(&moved, &old));
    assert_eq!(
        found,
        [r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.10"]: may not change once set"#]
    );
}

#[test]
fn a_cleared_address_is_given_up_with_its_list() {
    let old = service(json!({"type": "ClusterIP", "clusterIP": "10.96.0.9",
        "clusterIPs": ["10.96.0.9"], "ports": [{"port": 80}]}));
    let mut gone = old.clone();
    gone["spec"]["clusterIP"] = "".into();
    gone["spec"]["type"] = "ExternalName".into();
    gone["spec"]["externalName"] = "a.b".into();
    services().prepare_update(&Context::internal("update", "n", "web"), &mut gone, &old);
    assert!(gone["spec"].get("clusterIPs").is_none(), "{gone}");
    assert_eq!(texts(&services().validate_update(&gone, &old)), Vec::<String>::new());
}

#[test]
fn rows_show_addresses_and_ports() {
    let mut obj = service(json!({"type": "LoadBalancer", "clusterIP": "10.96.0.9",
        "ports": [{"port": 80, "nodePort": 30001}, {"port": 53, "protocol": "UDP", "name": "d"}]}));
    let cells = |obj: &Value| services().row(obj, Timestamp::now())[1..5].to_vec();
    assert_eq!(cells(&obj), ["LoadBalancer", "10.96.0.9", "<pending>", "80:30001/TCP,53/UDP"]);
    obj["status"]["loadBalancer"]["ingress"] = json!([{"ip": "192.0.2.7"}]);
    assert_eq!(cells(&obj)[2], "192.0.2.7");
}
