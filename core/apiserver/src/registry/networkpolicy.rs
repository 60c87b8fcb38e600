//! NetworkPolicies.

use hansa_api::address::{self, strictly_contains};
use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{self, at, default_field, fields_mut, list_at, str_at};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells;
use super::check::Check;
use super::pod::defaults::each;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

/// The two directions: the list of rules, the list of peers in a rule, the policy type.
const DIRECTIONS: [(&str, &str, &str); 2] =
    [("ingress", "from", "Ingress"), ("egress", "to", "Egress")];

pub(super) fn resource() -> Resource {
    Resource::new("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
        .namespaced()
        .short(&["netpol"])
}

/// The strategy of NetworkPolicies.
pub(super) struct NetworkPolicies;

impl Strategy for NetworkPolicies {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        for (rules, _, _) in DIRECTIONS {
            each(spec, rules, |rule| {
                each(rule, "ports", |port| default_field(port, "protocol", "TCP"));
            });
        }
        default_types(spec);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"], &[]))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let known: Vec<_> = blocks(old).flat_map(|(_, block)| cidrs("", block)).collect();
        let known: Vec<_> = known.iter().map(|(_, cidr)| *cidr).collect();
        Check::run(|check| validate(check, &obj["spec"], &known))
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        let cidrs = blocks(obj).flat_map(|(path, block)| cidrs(&path, block));
        cidrs.flat_map(|(path, cidr)| address::cidr_warnings(&path, cidr)).collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Pod-Selector", "The labels of the pods that it protects."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let selector = at(obj, &["spec", "podSelector"]);
        vec![cells::name(obj), cells::selector(selector), cells::age(obj, now)]
    }
}

/// A policy is about ingress, and about egress if it has rules for it.
fn default_types(spec: &mut meta::Fields) {
    let filled =
        |name: &str| spec.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if filled("policyTypes") {
        return;
    }
    let types = if filled("egress") { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    spec.insert("policyTypes".into(), types);
}

/// Every `ipBlock` and its path.
fn blocks(obj: &Value) -> impl Iterator<Item = (String, &Value)> {
    DIRECTIONS.into_iter().flat_map(move |(rules, peers, _)| {
        list_at(obj, &["spec", rules]).iter().enumerate().flat_map(move |(rule_at, rule)| {
            list_at(rule, &[peers]).iter().enumerate().filter_map(move |(peer_at, peer)| {
                let path = format!("spec.{rules}[{rule_at}].{peers}[{peer_at}].ipBlock");
                Some((path, at(peer, &["ipBlock"])?))
            })
        })
    })
}

/// The CIDRs of an `ipBlock` and their paths.
fn cidrs<'a>(path: &str, block: &'a Value) -> Vec<(String, &'a str)> {
    let mut all = vec![(child(path, "cidr"), str_at(block, &["cidr"]))];
    for (at, cidr) in list_at(block, &["except"]).iter().enumerate() {
        all.push((index(&child(path, "except"), at), cidr.as_str().unwrap_or_default()));
    }
    all
}

fn validate(check: &mut Check, spec: &Value, known: &[&str]) {
    check.label_selector("spec.podSelector", &spec["podSelector"]);
    for (rules, peers, _) in DIRECTIONS {
        for (at, rule) in list_at(spec, &[rules]).iter().enumerate() {
            let path = format!("spec.{rules}[{at}]");
            for (at, port) in list_at(rule, &["ports"]).iter().enumerate() {
                validate_port(check, &format!("{path}.ports[{at}]"), port);
            }
            for (at, peer) in list_at(rule, &[peers]).iter().enumerate() {
                validate_peer(check, &format!("{path}.{peers}[{at}]"), peer, known);
            }
        }
    }
    validate_types(check, list_at(spec, &["policyTypes"]));
}

fn validate_types(check: &mut Check, types: &[Value]) {
    let path = "spec.policyTypes";
    if types.len() > DIRECTIONS.len() {
        return check.invalid(path, types.to_vec(), "may not specify more than two policyTypes");
    }
    let known = DIRECTIONS.map(|(_, _, name)| name);
    for (at, name) in types.iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        if !known.contains(&name) {
            check.add(FieldError::not_supported(index(path, at), name, &known));
        }
    }
}

fn validate_port(check: &mut Check, path: &str, port: &Value) {
    let protocol = str_at(port, &["protocol"]);
    if at(port, &["protocol"]).is_some() && !["TCP", "UDP", "SCTP"].contains(&protocol) {
        let path = child(path, "protocol");
        check.add(FieldError::not_supported(path, protocol, &["TCP", "UDP", "SCTP"]));
    }
    let (number, end) = (at(port, &["port"]), port["endPort"].as_i64());
    let end_path = child(path, "endPort");
    match (number, end) {
        (None, Some(end)) => {
            check.invalid(&end_path, end, "may not be specified when `port` is not specified");
        }
        (Some(Value::String(_)), Some(end)) => {
            check.invalid(&end_path, end, "may not be specified when `port` is non-numeric");
        }
        _ => {}
    }
    let Some(number) = number else { return };
    check.port(&child(path, "port"), number);
    if let (Some(start), Some(end)) = (number.as_i64(), end) {
        if end < start {
            check.invalid(&end_path, start, "must be greater than or equal to `port`");
        }
        check.range(&end_path, Some(end), 1, 65535);
    }
}

fn validate_peer(check: &mut Check, path: &str, peer: &Value, known: &[&str]) {
    let mut peers = 0;
    for name in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = at(peer, &[name]) {
            peers += 1;
            check.label_selector(&child(path, name), selector);
        }
    }
    let block = at(peer, &["ipBlock"]);
    if let Some(block) = block {
        peers += 1;
        validate_block(check, &child(path, "ipBlock"), block, known);
    }
    if peers == 0 {
        check.required(path, "must specify a peer");
    } else if peers > 1 && block.is_some() {
        check.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

/// CIDRs that the old object had are left alone.
fn validate_block(check: &mut Check, path: &str, block: &Value, known: &[&str]) {
    let outer = str_at(block, &["cidr"]);
    if outer.is_empty() {
        return check.required(&child(path, "cidr"), "");
    }
    for (path, cidr) in cidrs(path, block) {
        if !known.contains(&cidr) {
            check.text(&path, cidr, address::legacy_cidr(cidr));
        }
    }
    let Some(outer) = address::sloppy_cidr(outer) else { return };
    for (path, cidr) in cidrs(path, block).iter().skip(1) {
        let inside = address::sloppy_cidr(cidr).is_none_or(|inner| strictly_contains(outer, inner));
        if !inside {
            check.invalid(path, *cidr, "must be a strict subset of `cidr`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::{refuses, texts};

    fn policy(spec: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "p"}, "spec": spec});
        NetworkPolicies.default(&mut obj);
        obj
    }

    #[test]
    fn types_follow_the_rules() {
        assert_eq!(policy(json!({}))["spec"]["policyTypes"], json!(["Ingress"]));
        let both = policy(json!({"egress": [{"ports": [{"port": 53}]}]}));
        assert_eq!(both["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(both["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
    }

    #[test]
    fn mistakes_are_named() {
        let port = |port: Value| policy(json!({"ingress": [{"ports": [port]}]}));
        let peer = |peer: Value| policy(json!({"egress": [{"to": [peer]}]}));
        refuses(
            &NetworkPolicies,
            [
                (
                    port(json!({"protocol": "ICMP"})),
                    "spec.ingress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \
              \"TCP\", \"UDP\", \"SCTP\"",
                ),
                (
                    port(json!({"port": 80, "endPort": 79})),
                    "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal \
              to `port`",
                ),
                (
                    port(json!({"port": "http", "endPort": 79})),
                    "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when \
              `port` is non-numeric",
                ),
                (
                    port(json!({"endPort": 79})),
                    "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when \
              `port` is not specified",
                ),
                (peer(json!({})), "spec.egress[0].to[0]: Required value: must specify a peer"),
                (
                    peer(json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
                    "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer",
                ),
                (peer(json!({"ipBlock": {}})), "spec.egress[0].to[0].ipBlock.cidr: Required value"),
                (
                    peer(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}})),
                    "spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a \
              strict subset of `cidr`",
                ),
                (
                    policy(json!({"policyTypes": ["Ingress", "Sideways"]})),
                    "spec.policyTypes[1]: Unsupported value: \"Sideways\": supported values: \
              \"Ingress\", \"Egress\"",
                ),
            ],
        );
    }

    #[test]
    fn odd_networks_stay_where_they_are_and_are_warned_of() {
        let old = policy(json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]}));
        assert_eq!(NetworkPolicies.validate_create(&old).len(), 1);
        assert_eq!(texts(&NetworkPolicies.validate_update(&old, &old)), [""; 0]);
        assert_eq!(NetworkPolicies.warnings(&old, Some(&old)).len(), 1);
    }
}
