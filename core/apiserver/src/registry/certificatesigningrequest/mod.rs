//! CertificateSigningRequests: asked for once, approved or denied by one, signed by another.

mod conditions;
mod validate;

use std::collections::BTreeMap;

use hansa_api::field::FieldError;
use hansa_api::meta::{Fields, as_fields_mut, fields_mut, int_at, list_at, str_at};
use hansa_api::{names, time};
use jiff::Timestamp;
use serde_json::Value;

pub(crate) use validate::parse_request;

use self::validate::Write;
use super::cells;
use super::check::Check;
use crate::generic::context::Context;
use crate::generic::resource::{Resource, SUB_VERBS, Str};
use crate::generic::strategy::{Column, Strategy};

const GROUP: &str = "certificates.k8s.io";
const KIND: &str = "CertificateSigningRequest";

pub(super) fn resource() -> Resource {
    Resource::new(GROUP, "v1", KIND, "certificatesigningrequests")
        .short(&["csr"])
        .sub("approval", GROUP, "v1", KIND, SUB_VERBS)
        .status()
}

/// The strategy of CertificateSigningRequests.
pub(super) struct SigningRequests;

impl Strategy for SigningRequests {
    /// Who asks is not for the asker to say.
    fn prepare_create(&self, ctx: &Context, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        let user = &ctx.user;
        set(spec, "username", &user.name, user.name.is_empty());
        set(spec, "uid", &user.uid, user.uid.is_empty());
        set(spec, "groups", &user.groups, user.groups.is_empty());
        let extra: BTreeMap<_, _> = user.extra.iter().collect();
        set(spec, "extra", &extra, extra.is_empty());
        as_fields_mut(obj).insert("status".into(), serde_json::json!({}));
    }

    fn prepare_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        obj["spec"] = old["spec"].clone();
    }

    fn prepare_status_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        conditions::keep(obj, old);
        conditions::stamp(obj, old);
    }

    /// Only conditions are approved.
    fn prepare_sub_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        conditions::stamp(obj, old);
        let wanted = obj["status"]["conditions"].take();
        for part in ["spec", "status"] {
            obj[part] = old[part].clone();
        }
        let status = fields_mut(obj, &["status"]);
        match wanted {
            Value::Null => status.remove("conditions"),
            wanted => status.insert("conditions".into(), wanted),
        };
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate::create(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| validate::update(check, obj, old, Write::Request))
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| validate::update(check, obj, old, Write::Status))
    }

    fn validate_sub_update(&self, _: &str, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| validate::update(check, obj, old, Write::Approval))
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::age(),
            Column::new("SignerName", "Who is to sign."),
            Column::new("Requestor", "Who asks."),
            Column::new("RequestedDuration", "For how long the certificate shall be good."),
            Column::new("Condition", "How far it is."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &obj["spec"];
        let duration = int_at(spec, &["expirationSeconds"]).map(time::human_duration);
        vec![
            cells::name(obj),
            cells::age(obj, now),
            cells::or(str_at(spec, &["signerName"]), cells::NONE),
            str_at(spec, &["username"]).into(),
            duration.unwrap_or_else(|| cells::NONE.into()).into(),
            state(obj).into(),
        ]
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["spec.signerName".into()]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

fn set(spec: &mut Fields, field: &str, value: &impl serde::Serialize, empty: bool) {
    let value = serde_json::to_value(value).ok().filter(|_| !empty);
    match value {
        Some(value) => spec.insert(field.into(), value),
        None => spec.remove(field),
    };
}

/// `Approved,Issued`.
fn state(obj: &Value) -> String {
    let conditions = list_at(obj, &["status", "conditions"]);
    let has = |kind: &str| conditions.iter().any(|one| str_at(one, &["type"]) == kind);
    let decided = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (_, true) => "Approved",
        _ => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = str_at(obj, &["status", "certificate"]);
    let issued = if issued.is_empty() { "" } else { ",Issued" };
    format!("{decided}{failed}{issued}")
}

#[cfg(test)]
mod tests;
