//! Nodes.

use std::collections::HashSet;

use hansa_api::address;
use hansa_api::field::{FieldError, FieldErrorType, child, index};
use hansa_api::meta::{at, bool_at, default_field, fields_mut, labels, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::{Check, entries};
use super::{cells, resource_names};
use crate::generic::context::Context;
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

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        fields_mut(obj, &["spec"]).remove("configSource");
        fields_mut(obj, &["status"]).remove("config");
    }

    fn prepare_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        if at(old, &["spec", "configSource"]).is_none() {
            fields_mut(obj, &["spec"]).remove("configSource");
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, obj);
            validate_change(check, obj, old);
        })
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            resources(check, obj);
            validate_change(check, obj, old);
        })
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if at(obj, &["spec", "configSource"]).is_some() {
            warnings.push("spec.configSource: the feature is removed".into());
        }
        if !str_at(obj, &["spec", "externalID"]).is_empty() {
            warnings.push(
                "spec.externalID: this field is deprecated, and is unused by Kubernetes".into(),
            );
        }
        for (at, cidr) in list_at(obj, &["spec", "podCIDRs"]).iter().enumerate() {
            let path = index("spec.podCIDRs", at);
            warnings.extend(address::cidr_warnings(&path, cidr.as_str().unwrap_or_default()));
        }
        warnings
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

/// The paths of taints are not where taints are, but clients know them.
fn taints(check: &mut Check, taints: &[Value]) {
    let mut seen = HashSet::new();
    for (at, taint) in taints.iter().enumerate() {
        let path = index("metadata.taints", at);
        let text = |field: &str| (child(&path, field), str_at(taint, &[field]));
        let (at_key, key) = text("key");
        check.text(&at_key, key, names::qualified_name(key));
        let (at_value, value) = text("value");
        let complaints = names::label_value(value);
        if !complaints.is_empty() {
            check.invalid(&at_value, value, &complaints.join(";"));
        }
        let (at_effect, effect) = text("effect");
        check.one_of(&at_effect, effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        if !seen.insert((key, effect)) {
            let why = "taints must be unique by key and effect pair";
            let kind = FieldErrorType::Duplicate;
            check.add(FieldError::new(kind, path.as_str(), taint.clone(), why));
        }
    }
}

fn validate(check: &mut Check, obj: &Value) {
    taints(check, list_at(obj, &["spec", "taints"]));
    resources(check, obj);
    let cidrs = list_at(obj, &["spec", "podCIDRs"]);
    let texts: Vec<_> = cidrs.iter().map(|cidr| cidr.as_str().unwrap_or_default()).collect();
    for (at, cidr) in texts.iter().enumerate() {
        check.text(&index("spec.podCIDRs", at), cidr, address::legacy_cidr(cidr));
    }
    let families: HashSet<_> =
        texts.iter().filter_map(|cidr| address::sloppy_cidr(cidr)).map(|c| c.0.is_ipv4()).collect();
    if texts.len() > 2 || (texts.len() == 2 && families.len() == 1) {
        let why = "may specify no more than one CIDR for each IP family";
        check.invalid("spec.podCIDRs", cidrs.to_vec(), why);
    }
}

fn resources(check: &mut Check, obj: &Value) {
    for list in ["capacity", "allocatable"] {
        for (name, amount) in entries(obj, &["status", list]) {
            let path = format!("status.{list}.{name}");
            resource_names::amount(check, &path, name, amount);
        }
    }
}

/// What neither an update nor a report of the node may do.
fn validate_change(check: &mut Check, obj: &Value, old: &Value) {
    let addresses = list_at(obj, &["status", "addresses"]);
    for (at, address) in addresses.iter().enumerate() {
        if addresses[..at].contains(address) {
            check.duplicate(&index("status.addresses", at), address.clone());
        }
    }
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
    let external = |node: &Value| str_at(node, &["spec", "externalID"]).to_owned();
    if external(obj) != external(old) {
        check.forbidden("spec.externalID", "may not be updated");
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
    use crate::registry::check::refuses;

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
    fn mistakes_are_named() {
        let node = |spec: Value| json!({"metadata": {"name": "n"}, "spec": spec});
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
        let cases = [
            (
                node(json!({"taints": [taint("a", "Never")]})),
                "metadata.taints[0].effect: Unsupported value: \"Never\": supported values: \
                 \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ),
            (
                node(json!({"taints": [taint("a", "NoExecute"), taint("a", "NoExecute")]})),
                "metadata.taints[1]: Duplicate value: {\"effect\":\"NoExecute\",\"key\":\"a\"}: \
                 taints must be unique by key and effect pair",
            ),
            (
                node(json!({"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]})),
                "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no \
                 more than one CIDR for each IP family",
            ),
            (
                json!({"status": {"capacity": {"pods": "1500m"}}}),
                "status.capacity.pods: Invalid value: \"1500m\": must be an integer",
            ),
        ];
        refuses(&Nodes, cases);
        let address = json!({"type": "Hostname", "address": "n"});
        let twice = json!({"status": {"addresses": [address, address]}});
        assert_eq!(Nodes.validate_status_update(&twice, &json!({})).len(), 1);
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
