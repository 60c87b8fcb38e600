//! Nodes.

use std::collections::HashSet;

use hansa_api::field::FieldError;
use hansa_api::meta::{bool_at, default_field, fields_mut, labels, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells;
use super::check::Check;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "Node", "nodes")
        .short(&["no"])
        .sub("proxy", "", "v1", "NodeProxyOptions", &["create", "delete", "get", "patch", "update"])
        .status()
}

/// The strategy of Nodes.
pub(super) struct Nodes;

impl Strategy for Nodes {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        let first = spec.get("podCIDRs").and_then(|all| all.get(0)).cloned();
        match (spec.get("podCIDR").cloned(), first) {
            (Some(cidr), None) => {
                spec.insert("podCIDRs".into(), json!([cidr]));
            }
            (None, Some(first)) => {
                spec.insert("podCIDR".into(), first);
            }
            // The old field means the list, too.
            (Some(cidr), Some(first)) if cidr != first => {
                spec.insert("podCIDRs".into(), json!([cidr]));
            }
            _ => {}
        }
        if let Some(Value::Object(status)) = obj.get_mut("status")
            && let Some(capacity) = status.get("capacity").cloned()
        {
            default_field(status, "allocatable", capacity);
        }
    }

    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            taints(check, list_at(obj, &["spec", "taints"]));
            for (at, cidr) in list_at(obj, &["spec", "podCIDRs"]).iter().enumerate() {
                let cidr = cidr.as_str().unwrap_or_default();
                check.text(&format!("spec.podCIDRs[{at}]"), cidr, names::cidr(cidr));
            }
        })
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(obj);
        errors.extend(Check::run(|check| {
            let before = list_at(old, &["spec", "podCIDRs"]);
            if !before.is_empty() && before != list_at(obj, &["spec", "podCIDRs"]) {
                let why = "node updates may not change podCIDR except from \"\" to valid";
                check.forbidden("spec.podCIDRs", why);
            }
            let id = str_at(old, &["spec", "providerID"]);
            if !id.is_empty() && id != str_at(obj, &["spec", "providerID"]) {
                let why = "node updates may not change providerID except from \"\" to valid";
                check.forbidden("spec.providerID", why);
            }
        }));
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Status", "Whether it is ready and takes pods."),
            Column::new("Roles", "What its role labels say."),
            Column::age(),
            Column::new("Version", "Its kubelet's version."),
            Column::wide("Internal-IP", "Its first internal address."),
            Column::wide("External-IP", "Its first external address."),
            Column::wide("OS-Image", "Its operating system."),
            Column::wide("Kernel-Version", "Its kernel."),
            Column::wide("Container-Runtime", "What runs its containers."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let info = |field| str_at(obj, &["status", "nodeInfo", field]);
        vec![
            cells::name(obj),
            status(obj).into(),
            cells::or(&roles(obj).join(","), cells::NONE),
            cells::age(obj, now),
            info("kubeletVersion").into(),
            address(obj, "InternalIP"),
            address(obj, "ExternalIP"),
            cells::or(info("osImage"), "<unknown>"),
            cells::or(info("kernelVersion"), "<unknown>"),
            cells::or(info("containerRuntimeVersion"), "<unknown>"),
        ]
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["spec.unschedulable".into()]
    }

    fn field_value(&self, obj: &Value, _: &str) -> String {
        bool_at(obj, &["spec", "unschedulable"]).to_string()
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

fn taints(check: &mut Check, taints: &[Value]) {
    let mut seen = HashSet::new();
    for (at, taint) in taints.iter().enumerate() {
        let path = format!("spec.taints[{at}]");
        let text = |field: &str| str_at(taint, &[field]);
        let key = text("key");
        check.text(&format!("{path}.key"), key, names::qualified_name(key));
        check.text(&format!("{path}.value"), text("value"), names::label_value(text("value")));
        let effects = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
        check.one_of(&format!("{path}.effect"), text("effect"), effects);
        if !seen.insert((key, text("effect"))) {
            check.duplicate(&path, taint.clone());
        }
    }
}

fn status(obj: &Value) -> String {
    let mut conditions = list_at(obj, &["status", "conditions"]).iter();
    let ready = conditions.find(|condition| str_at(condition, &["type"]) == "Ready");
    let ready = match ready.map(|condition| str_at(condition, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    match bool_at(obj, &["spec", "unschedulable"]) {
        true => format!("{ready},SchedulingDisabled"),
        false => ready.into(),
    }
}

fn roles(obj: &Value) -> Vec<String> {
    let mut roles = Vec::new();
    for (key, value) in labels(obj).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        match key.strip_prefix(ROLE_PREFIX) {
            Some(role) if !role.is_empty() => roles.push(role.to_owned()),
            None if key == ROLE_LABEL && !value.is_empty() => roles.push(value.to_owned()),
            _ => {}
        }
    }
    roles.sort();
    roles.dedup();
    roles
}

fn address(obj: &Value, kind: &str) -> Value {
    let mut addresses = list_at(obj, &["status", "addresses"]).iter();
    let found = addresses.find(|address| str_at(address, &["type"]) == kind);
    cells::or(found.map_or("", |address| str_at(address, &["address"])), cells::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_shows_its_state_and_roles() {
        let node = json!({"metadata": {"name": "n", "labels": {
                "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
        let row = Nodes.row(&node, Timestamp::now());
        assert_eq!(row[1], "Ready,SchedulingDisabled");
        assert_eq!(row[2], "control-plane,edge");
        assert_eq!((&row[5], &row[6]), (&json!("10.0.0.1"), &json!("<none>")));
        assert_eq!(Nodes.field_value(&node, "spec.unschedulable"), "true");
    }

    #[test]
    fn pod_cidr_and_provider_are_set_once() {
        let mut old = json!({"spec": {"podCIDR": "10.0.0.0/24", "providerID": "local://a"}});
        Nodes.default(&mut old);
        assert_eq!(old["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
        let mut new = json!({"spec": {"podCIDR": "10.0.1.0/24", "providerID": "local://b"}});
        Nodes.default(&mut new);
        assert_eq!(Nodes.validate_update(&new, &old).len(), 2);
        assert!(Nodes.validate_update(&old, &json!({"spec": {}})).is_empty());
        let mut patched = old.clone();
        patched["spec"]["podCIDR"] = "10.0.1.0/24".into();
        Nodes.default(&mut patched);
        assert_eq!(Nodes.validate_update(&patched, &old).len(), 1);
    }
}
