//! APIServices: who serves which group and version.

use hansa_api::field::{FieldError, index};
use hansa_api::meta::{self, at, bool_at, default_field, fields_mut, int_at, list_at, str_at};
use hansa_api::{names, time};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells;
use super::check::Check;
use super::configmap::decoded_len;
use super::pod::defaults::within;
use crate::generic::context::Context;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("apiregistration.k8s.io", "v1", "APIService", "apiservices")
        .categories(&["api-extensions"])
        .status()
}

/// The strategy of APIServices.
pub(super) struct ApiServices;

impl Strategy for ApiServices {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        within(spec, "service", |service| default_field(service, "port", 443));
    }

    /// What this server serves itself is available.
    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        if at(obj, &["spec", "service"]).is_none() {
            obj["status"] = json!({"conditions": [{
                "type": "Available",
                "status": "True",
                "lastTransitionTime": time::now(),
                "reason": "Local",
                "message": "Local APIServices are always available",
            }]});
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for (at, condition) in list_at(obj, &["status", "conditions"]).iter().enumerate() {
                let path = format!("{}.status", index("status.conditions", at));
                let status = str_at(condition, &["status"]);
                let known = ["True", "False", "Unknown"];
                if !known.contains(&status) {
                    check.add(FieldError::not_supported(path, status, &known));
                }
            }
        })
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Service", "Who serves it."),
            Column::new("Available", "Whether that answers."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let service = at(obj, &["spec", "service"]).map_or_else(
            || "Local".to_owned(),
            |service| format!("{}/{}", str_at(service, &["namespace"]), str_at(service, &["name"])),
        );
        vec![cells::name(obj), service.into(), available(obj).into(), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn status_may_change_metadata(&self) -> bool {
        false
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn available(obj: &Value) -> String {
    let mut conditions = list_at(obj, &["status", "conditions"]).iter();
    let Some(condition) = conditions.find(|one| str_at(one, &["type"]) == "Available") else {
        return "Unknown".into();
    };
    match (str_at(condition, &["status"]), str_at(condition, &["reason"])) {
        ("True", _) => "True".into(),
        (status, "") => status.into(),
        (status, reason) => format!("{status} ({reason})"),
    }
}

fn validate(check: &mut Check, obj: &Value) {
    let spec = &obj["spec"];
    let (group, version) = (str_at(spec, &["group"]), str_at(spec, &["version"]));
    let (name, wanted) = (meta::name(obj), format!("{version}.{group}"));
    if name != wanted && names::path_segment(name).is_empty() {
        let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        check.invalid("metadata.name", name, &why);
    }
    if group.is_empty() && version != "v1" {
        let why = "only v1 may have an empty group and it better be legacy kube";
        check.required("spec.group", why);
    }
    check.optional_text("spec.group", group, names::dns1123_subdomain);
    check.text("spec.version", version, names::dns1035_label(version));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let number = cells::int(spec, &[field]);
        if !(1..=most).contains(&number) {
            let why = format!("must be positive and less than {most}");
            check.invalid(&format!("spec.{field}"), number, &why);
        }
    }
    match at(spec, &["service"]) {
        Some(service) => remote(check, spec, service),
        None => local(check, spec),
    }
}

fn local(check: &mut Check, spec: &Value) {
    let bundle = str_at(spec, &["caBundle"]);
    if !bundle.is_empty() {
        let size = format!("{} bytes", decoded_len(bundle));
        check.invalid("spec.caBundle", size, "local APIServices may not have a caBundle");
    }
    if bool_at(spec, &["insecureSkipTLSVerify"]) {
        let why = "local APIServices may not have insecureSkipTLSVerify";
        check.invalid("spec.insecureSkipTLSVerify", true, why);
    }
}

fn remote(check: &mut Check, spec: &Value, service: &Value) {
    for field in ["namespace", "name"] {
        if str_at(service, &[field]).is_empty() {
            check.required(&format!("spec.service.{field}"), "");
        }
    }
    let port = int_at(service, &["port"]).unwrap_or_default();
    let why = names::port_number(port);
    if !why.is_empty() {
        let why = format!("port is not valid: {}", why.join(", "));
        check.invalid("spec.service.port", port, &why);
    }
    let skips = bool_at(spec, &["insecureSkipTLSVerify"]);
    if skips && !str_at(spec, &["caBundle"]).is_empty() {
        let why = "may not be true if caBundle is present";
        check.invalid("spec.insecureSkipTLSVerify", true, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::refuses;

    fn service(more: Value) -> Value {
        let mut spec = json!({"group": "a.io", "version": "v1", "groupPriorityMinimum": 1,
            "versionPriority": 1, "service": {"namespace": "n", "name": "s"}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let mut obj = json!({"metadata": {"name": "v1.a.io"}, "spec": spec});
        ApiServices.default(&mut obj);
        obj
    }

    #[test]
    fn mistakes_are_named() {
        refuses(
            &ApiServices,
            [
                (
                    service(json!({"group": "b.io"})),
                    "metadata.name: Invalid value: \"v1.a.io\": must be \
                     `spec.version+\".\"+spec.group`: \"v1.b.io\"",
                ),
                (
                    service(json!({"versionPriority": 1001})),
                    "spec.versionPriority: Invalid value: 1001: must be positive and less than \
                     1000",
                ),
                (
                    service(json!({"service": {"namespace": "n", "port": 443}})),
                    "spec.service.name: Required value",
                ),
                (
                    service(json!({"service": null, "caBundle": "AAAA"})),
                    "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a \
                     caBundle",
                ),
            ],
        );
    }

    #[test]
    fn local_ones_are_available_and_others_say_why_not() {
        let mut local = service(json!({"service": null}));
        ApiServices.prepare_create(&Context::default(), &mut local);
        let row = ApiServices.row(&local, Timestamp::now());
        assert_eq!(json!(row[1..3]), json!(["Local", "True"]));
        let mut remote = service(json!({}));
        remote["status"] = json!({"conditions": [
            {"type": "Available", "status": "False", "reason": "MissingEndpoints"}]});
        let row = ApiServices.row(&remote, Timestamp::now());
        assert_eq!(json!(row[1..3]), json!(["n/s", "False (MissingEndpoints)"]));
    }
}
