//! Pods.

pub(crate) mod containers;
pub(crate) mod defaults;
mod downward;
mod label_keys;
mod parts;
mod printer;
mod qos;
mod security;
mod update;
pub(crate) mod validate;
mod volumes;

use hansa_api::field::FieldError;
use hansa_api::meta::{self, fields_mut, int_at, list_at, str_at};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::Check;
use crate::generic::context::Context;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
    const CHANGE: &[&str] = &["get", "patch", "update"];
    let stream = &["create", "get"];
    Resource::new("", "v1", "Pod", "pods")
        .namespaced()
        .short(&["po"])
        .categories(&["all"])
        .sub("attach", "", "v1", "PodAttachOptions", stream)
        .sub("binding", "", "v1", "Binding", &["create"])
        .sub("ephemeralcontainers", "", "v1", "Pod", CHANGE)
        .sub("eviction", "policy", "v1", "Eviction", &["create"])
        .sub("exec", "", "v1", "PodExecOptions", stream)
        .sub("log", "", "v1", "Pod", &["get"])
        .sub("portforward", "", "v1", "PodPortForwardOptions", stream)
        .sub("proxy", "", "v1", "PodProxyOptions", PROXY)
        .sub("resize", "", "v1", "Pod", CHANGE)
        .status()
}

/// The strategy of pods.
pub(super) struct Pods;

const SELECTABLE: [&str; 9] = [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

impl Strategy for Pods {
    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        match subresource {
            "status" => &["metadata.deletionTimestamp", "metadata.ownerReferences"],
            _ => &[],
        }
    }

    fn default(&self, obj: &mut Value) {
        defaults::pod(obj);
    }

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        let class = qos::class(&obj["spec"]);
        obj["status"] = json!({"phase": "Pending", "qosClass": class});
        if !list_at(obj, &["spec", "schedulingGates"]).is_empty() {
            obj["status"]["conditions"] = json!([gated()]);
        }
        label_keys::merge(obj);
    }

    fn prepare_status_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        // The class was settled on creation; a status without one keeps it.
        let class = str_at(old, &["status", "qosClass"]).to_owned();
        if !class.is_empty() {
            fields_mut(obj, &["status"]).insert("qosClass".into(), class.into());
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        validate::pod(obj)
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate::pod(obj);
        errors.extend(Check::run(|check| update::validate(check, obj, old)));
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            let path = "status.nominatedNodeName";
            let name = str_at(obj, &["status", "nominatedNodeName"]);
            check.optional_text(path, name, hansa_api::names::dns1123_subdomain);
            if str_at(obj, &["spec", "nodeName"]) != str_at(old, &["spec", "nodeName"]) {
                check.forbidden("status.nodeName", "may not be changed directly");
            }
        })
    }

    fn prepare_sub_update(&self, ctx: &Context, obj: &mut Value, old: &Value) {
        parts::prepare(&ctx.subresource, obj, old);
    }

    fn validate_sub_update(&self, part: &str, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| parts::validate(check, part, obj, old))
    }

    fn columns(&self) -> Vec<Column> {
        printer::columns()
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        printer::row(obj, now)
    }

    fn selectable_fields(&self) -> Vec<Str> {
        SELECTABLE.iter().map(|path| Str::Borrowed(path)).collect()
    }

    fn field_value(&self, obj: &Value, path: &str) -> String {
        match path {
            "spec.hostNetwork" => meta::bool_at(obj, &["spec", "hostNetwork"]).to_string(),
            "status.podIPs" => str_at(obj, &["status", "podIP"]).to_owned(),
            path => hansa_api::selector::field::field_text(obj, path),
        }
    }

    /// A pod that nobody runs goes at once; a running one gets the time it asks for.
    fn grace_period(&self, obj: &Value, requested: Option<i64>) -> Option<i64> {
        let phase = str_at(obj, &["status", "phase"]);
        let unbound = str_at(obj, &["spec", "nodeName"]).is_empty();
        if unbound || matches!(phase, "Succeeded" | "Failed") {
            return Some(0);
        }
        let own = int_at(obj, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
        let seconds = requested.unwrap_or(own);
        Some(if seconds < 0 { 1 } else { seconds })
    }
}

/// What a pod with gates is told at once.
fn gated() -> Value {
    json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastTransitionTime": hansa_api::time::now(),
    })
}

#[cfg(test)]
mod tests;
