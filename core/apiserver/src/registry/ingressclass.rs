//! IngressClasses.

use hansa_api::field::{FieldError, child};
use hansa_api::meta::{self, at, default_field, fields_mut, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use super::pod::defaults::within;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const MAX_CONTROLLER: usize = 250;

pub(super) fn resource() -> Resource {
    Resource::new("networking.k8s.io", "v1", "IngressClass", "ingressclasses")
}

/// The strategy of IngressClasses.
pub(super) struct IngressClasses;

impl Strategy for IngressClasses {
    fn default(&self, obj: &mut Value) {
        within(fields_mut(obj, &["spec"]), "parameters", |parameters| {
            default_field(parameters, "scope", "Cluster");
        });
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"]))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            check.frozen_text("spec.controller", obj, old);
            validate(check, &obj["spec"]);
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Controller", "Who serves its Ingresses."),
            Column::new("Parameters", "An object with more settings."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name_or_default(obj, DEFAULT_CLASS),
            str_at(obj, &["spec", "controller"]).into(),
            parameters(obj).into(),
            cells::age(obj, now),
        ]
    }
}

/// `Kind.group/name`.
fn parameters(obj: &Value) -> String {
    let Some(reference) = at(obj, &["spec", "parameters"]) else { return cells::NONE.into() };
    let text = |field| str_at(reference, &[field]);
    match meta::at(reference, &["apiGroup"]) {
        Some(_) => format!("{}.{}/{}", text("kind"), text("apiGroup"), text("name")),
        None => format!("{}/{}", text("kind"), text("name")),
    }
}

fn validate(check: &mut Check, spec: &Value) {
    let controller = str_at(spec, &["controller"]);
    if controller.len() > MAX_CONTROLLER {
        check.add(FieldError::too_long("spec.controller", MAX_CONTROLLER));
    }
    check.domain_prefixed_path("spec.controller", controller);
    let Some(reference) = at(spec, &["parameters"]) else { return };
    let path = "spec.parameters";
    check.typed_reference(path, reference);
    let namespace = at(reference, &["namespace"]).and_then(Value::as_str);
    let namespace_path = child(path, "namespace");
    match (at(reference, &["scope"]).and_then(Value::as_str), namespace) {
        (None, _) => check.required(&child(path, "scope"), ""),
        (Some("Namespace"), None) => {
            check.required(&namespace_path, "`parameters.scope` is set to 'Namespace'");
        }
        (Some("Namespace"), Some(namespace)) => {
            check.text(&namespace_path, namespace, names::dns1123_label(namespace));
        }
        (Some("Cluster"), Some(_)) => {
            check.forbidden(&namespace_path, "`parameters.scope` is set to 'Cluster'");
        }
        (Some("Cluster"), None) => {}
        (Some(other), _) => {
            let known = ["Cluster", "Namespace"];
            check.add(FieldError::not_supported(child(path, "scope"), other, &known));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn class(parameters: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "c"},
            "spec": {"controller": "acme.io/x", "parameters": parameters}});
        IngressClasses.default(&mut obj);
        obj
    }

    #[test]
    fn mistakes_are_named() {
        let reference = |scope: &str| json!({"kind": "P", "name": "p", "scope": scope});
        let controller = |text: &str| json!({"spec": {"controller": text}});
        refuses(
            &IngressClasses,
            [
                (controller(""), "spec.controller: Required value"),
                (
                    controller("acme.io"),
                    "spec.controller: Invalid value: \"acme.io\": must be a domain-prefixed path (such \
              as \"acme.io/foo\")",
                ),
                (
                    class(reference("Galaxy")),
                    "spec.parameters.scope: Unsupported value: \"Galaxy\": supported values: \
              \"Cluster\", \"Namespace\"",
                ),
                (
                    class(reference("Namespace")),
                    "spec.parameters.namespace: Required value: `parameters.scope` is set to \
              'Namespace'",
                ),
                (class(json!({"name": "p"})), "spec.parameters.kind: Required value"),
            ],
        );
        let mut other = class(json!({"kind": "P", "name": "p"}));
        assert_eq!(other["spec"]["parameters"]["scope"], "Cluster");
        let old = other.clone();
        other["spec"]["controller"] = "acme.io/y".into();
        assert_eq!(
            texts(&IngressClasses.validate_update(&other, &old)),
            ["spec.controller: Invalid value: \"acme.io/y\": field is immutable"]
        );
    }

    #[test]
    fn the_default_class_says_so() {
        let mut obj = class(json!({"kind": "P", "name": "p", "apiGroup": "a.io"}));
        obj["metadata"]["annotations"] = json!({DEFAULT_CLASS: "true"});
        let row = IngressClasses.row(&obj, Timestamp::now());
        assert_eq!(json!(row[..3]), json!(["c (default)", "acme.io/x", "P.a.io/p"]));
    }
}
