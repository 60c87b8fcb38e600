//! IPAddresses: who has which ClusterIP.

use hansa_api::field::{FieldError, child};
use hansa_api::meta::{at, str_at};
use hansa_api::{address, names};
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("networking.k8s.io", "v1", "IPAddress", "ipaddresses").short(&["ip"])
}

/// The strategy of IPAddresses.
pub(super) struct IpAddresses;

impl Strategy for IpAddresses {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, obj);
            let path = ["spec", "parentRef"];
            check.immutable("spec.parentRef", at(obj, &path), at(old, &path));
        })
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        address::ip(name)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::new("ParentRef", "Who has the address."), Column::age()]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), parent(obj).into(), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

/// `resource.group/namespace/name`.
fn parent(obj: &Value) -> String {
    let Some(reference) = at(obj, &["spec", "parentRef"]) else { return cells::NONE.into() };
    let text = |field| str_at(reference, &[field]);
    let mut shown = text("resource").to_owned();
    if !text("group").is_empty() {
        shown = format!("{shown}.{}", text("group"));
    }
    let mut shown = shown.to_lowercase();
    for part in [text("namespace"), text("name")] {
        if !part.is_empty() {
            shown = format!("{shown}/{part}");
        }
    }
    shown
}

fn validate(check: &mut Check, obj: &Value) {
    let path = "spec.parentRef";
    let Some(reference) = at(obj, &["spec", "parentRef"]) else { return check.required(path, "") };
    let text = |field| (child(path, field), str_at(reference, &[field]));
    let (at, group) = text("group");
    check.optional_text(&at, group, names::dns1123_subdomain);
    for field in ["resource", "name"] {
        let (at, value) = text(field);
        check.required_text(&at, value, names::path_segment);
    }
    let (at, namespace) = text("namespace");
    check.optional_text(&at, namespace, names::path_segment);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn address(parent: Value) -> Value {
        json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": parent}})
    }

    #[test]
    fn mistakes_are_named() {
        refuses(
            &IpAddresses,
            [
                (json!({}), "spec.parentRef: Required value"),
                (address(json!({"name": "a"})), "spec.parentRef.resource: Required value"),
                (
                    address(json!({"name": "a/b", "resource": "services"})),
                    "spec.parentRef.name: Invalid value: \"a/b\": may not contain '/'",
                ),
            ],
        );
        assert_eq!(
            IpAddresses.validate_name("2001:DB8::1"),
            ["must be in canonical form (\"2001:db8::1\")"]
        );
        let old = address(json!({"resource": "services", "namespace": "n", "name": "a"}));
        let new = address(json!({"resource": "services", "namespace": "n", "name": "b"}));
        assert_eq!(IpAddresses.row(&old, Timestamp::now())[1], "services/n/a");
        let errors = texts(&IpAddresses.validate_update(&new, &old));
        assert!(errors[0].starts_with("spec.parentRef: Invalid value: ") && errors.len() == 1);
        assert!(errors[0].ends_with(": field is immutable"));
    }
}
