//! What an update may change in a pod.

use hansa_api::meta::{int_at, list_at};
use serde_json::Value;

use crate::registry::check::Check;

const FROZEN: &str = "pod updates may not change fields other than \
                      `spec.containers[*].image`,`spec.initContainers[*].image`,\
                      `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
                      tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 \
                      if it was previously negative)";

/// Adds an error for each change that is not allowed.
pub(crate) fn validate(check: &mut Check, new: &Value, old: &Value) {
    let (new, old) = (&new["spec"], &old["spec"]);
    deadline(check, new, old);
    tolerations(check, new, old);
    gates(check, new, old);
    for list in ["containers", "initContainers"] {
        if list_at(new, &[list]).len() != list_at(old, &[list]).len() {
            let why = "pod updates may not add or remove containers";
            return check.forbidden(&format!("spec.{list}"), why);
        }
    }
    if frozen(new, gated(old)) != frozen(old, gated(old)) {
        check.forbidden("spec", FROZEN);
    }
}

fn gated(spec: &Value) -> bool {
    !list_at(spec, &["schedulingGates"]).is_empty()
}

/// The spec without what may change.
fn frozen(spec: &Value, gated: bool) -> Value {
    let mut spec = spec.clone();
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container["image"] = Value::Null;
        }
    }
    if let Some(fields) = spec.as_object_mut() {
        for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
            fields.remove(field);
        }
        if gated {
            fields.remove("nodeSelector");
            fields.remove("affinity");
        }
        let grace = fields.get("terminationGracePeriodSeconds").and_then(Value::as_i64);
        if grace.is_some_and(|grace| grace < 0) {
            fields.insert("terminationGracePeriodSeconds".into(), 1.into());
        }
    }
    spec
}

fn deadline(check: &mut Check, new: &Value, old: &Value) {
    let path = "spec.activeDeadlineSeconds";
    let field = ["activeDeadlineSeconds"];
    match (int_at(new, &field), int_at(old, &field)) {
        (Some(new), Some(old)) if new > old => {
            let why = "must be less than or equal to previous value";
            check.invalid(path, new, why);
        }
        (None, Some(_)) => {
            check.invalid(
                path,
                Value::Null,
                "must not update from a positive integer to nil value",
            );
        }
        _ => {}
    }
}

fn tolerations(check: &mut Check, new: &Value, old: &Value) {
    let new = list_at(new, &["tolerations"]);
    let kept = |old: &Value| new.iter().any(|new| same_toleration(new, old));
    if !list_at(old, &["tolerations"]).iter().all(kept) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        check.forbidden("spec.tolerations", why);
    }
}

fn same_toleration(new: &Value, old: &Value) -> bool {
    ["key", "operator", "value", "effect"].iter().all(|field| new.get(field) == old.get(field))
}

fn gates(check: &mut Check, new: &Value, old: &Value) {
    let before = list_at(old, &["schedulingGates"]);
    let added = list_at(new, &["schedulingGates"]).iter().filter(|gate| !before.contains(gate));
    for _ in added {
        let why = "only deletion is allowed, but found new scheduling gate";
        check.forbidden("spec.schedulingGates", why);
    }
}
