//! What `ephemeralcontainers` and `resize` may change in a pod that runs.

use hansa_api::field::index;
use hansa_api::meta::{self, list_at, map_at, str_at};
use serde_json::{Value, json};

use super::{qos, validate};
use crate::registry::check::Check;

const MIRROR: &str = "kubernetes.io/config.mirror";
/// The lists whose containers can be resized, and the fields that such a write is about.
const RESIZED: [&str; 2] = ["containers", "initContainers"];
const SIZES: [&str; 2] = ["resources", "resizePolicy"];
/// What only containers have that the pod's work depends on.
const SERIOUS: [&str; 8] = [
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicyRules",
    "startupProbe",
];

/// Puts back all that a write to this subresource does not change.
pub(super) fn prepare(subresource: &str, obj: &mut Value, old: &Value) {
    let wanted = std::mem::replace(obj, old.clone());
    if let Some(fields) = meta::at(&wanted, &["metadata", "managedFields"]) {
        meta::metadata_mut(obj).insert("managedFields".into(), fields.clone());
    }
    match subresource {
        "ephemeralcontainers" => {
            let fresh = list_at(&wanted, &["spec", "ephemeralContainers"]);
            if !fresh.is_empty() {
                obj["spec"]["ephemeralContainers"] = fresh.into();
            } else if let Some(spec) = obj["spec"].as_object_mut() {
                spec.remove("ephemeralContainers");
            }
        }
        _ => RESIZED.iter().for_each(|list| resize(obj, &wanted, list)),
    }
    if obj["spec"] != old["spec"] {
        meta::set_generation(obj, meta::generation(old) + 1);
    }
}

/// Takes the sizes over; with containers that came, went or moved the whole list, to be refused.
fn resize(obj: &mut Value, wanted: &Value, list: &str) {
    let fresh = list_at(wanted, &["spec", list]);
    let names = |containers: &[Value]| -> Vec<_> {
        containers.iter().map(|one| str_at(one, &["name"]).to_owned()).collect()
    };
    if names(fresh) != names(list_at(obj, &["spec", list])) {
        obj["spec"][list] = fresh.into();
        return;
    }
    for (at, from) in fresh.iter().enumerate() {
        let Some(to) = obj["spec"][list][at].as_object_mut() else { continue };
        for field in SIZES {
            match from.get(field) {
                Some(value) => to.insert(field.into(), value.clone()),
                None => to.remove(field),
            };
        }
    }
}

/// Adds an error for each change that is not allowed.
pub(super) fn validate(check: &mut Check, subresource: &str, obj: &Value, old: &Value) {
    validate::spec(check, "spec", &obj["spec"]);
    let mirrored = meta::annotation(old, MIRROR).is_some();
    match subresource {
        "ephemeralcontainers" if mirrored => {
            check.forbidden("", "static pods do not support ephemeral containers");
        }
        "ephemeralcontainers" => ephemeral(check, obj, old),
        _ if mirrored => check.forbidden("", "static pods cannot be resized"),
        _ => resized(check, obj, old),
    }
}

/// An ephemeral container is not part of the pod's work, and stays as it came.
fn ephemeral(check: &mut Check, obj: &Value, old: &Value) {
    let path = "spec.ephemeralContainers";
    let [fresh, before] = [obj, old].map(|pod| list_at(pod, &["spec", "ephemeralContainers"]));
    for container in before {
        let name = str_at(container, &["name"]);
        let stays = fresh.iter().find(|one| str_at(one, &["name"]) == name);
        let what = match stays {
            None => "removed",
            Some(same) if same != container => "changed",
            Some(_) => continue,
        };
        let why = format!("existing ephemeral containers {name:?} may not be {what}\n");
        check.forbidden(path, &why);
    }
    for (at, container) in fresh.iter().enumerate() {
        light(check, &index(path, at), container, obj);
    }
}

fn light(check: &mut Check, path: &str, container: &Value, pod: &Value) {
    let why = "cannot be set for an Ephemeral Container";
    let holds = |field: &&str| container.get(*field).is_some_and(|value| *value != json!({}));
    for field in SERIOUS.iter().filter(|field| holds(field)) {
        check.forbidden(&format!("{path}.{field}"), why);
    }
    for (at, mount) in list_at(container, &["volumeMounts"]).iter().enumerate() {
        for field in ["subPath", "subPathExpr"] {
            if !str_at(mount, &[field]).is_empty() {
                check.forbidden(&format!("{path}.volumeMounts[{at}].{field}"), why);
            }
        }
    }
    let target = str_at(container, &["targetContainerName"]);
    let mut others = RESIZED.iter().flat_map(|list| list_at(pod, &["spec", list]));
    if !target.is_empty() && !others.any(|one| str_at(one, &["name"]) == target) {
        let path = format!("{path}.targetContainerName");
        check.add(hansa_api::FieldError::not_found(path, target));
    }
}

fn resized(check: &mut Check, obj: &Value, old: &Value) {
    if qos::class(&obj["spec"]) != qos::class(&old["spec"]) {
        let class = str_at(obj, &["status", "qosClass"]);
        check.invalid("spec", class, "Pod QOS Class may not change as a result of resizing");
    }
    for list in RESIZED {
        let [fresh, before] = [obj, old].map(|pod| list_at(pod, &["spec", list]));
        let path = format!("spec.{list}");
        if fresh.len() != before.len() {
            check.forbidden(&path, &format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (at, (new, old)) in fresh.iter().zip(before).enumerate() {
            let path = index(&path, at);
            if str_at(new, &["name"]) != str_at(old, &["name"]) {
                let why = format!("{list} may not be renamed or reordered on resize");
                check.forbidden(&format!("{path}.name"), &why);
            } else {
                sizes(check, &path, new, old);
            }
        }
    }
}

/// Of a container's amounts cpu and memory may change, and none may go.
fn sizes(check: &mut Check, path: &str, new: &Value, old: &Value) {
    for list in ["requests", "limits"] {
        let [fresh, before] = [new, old].map(|one| map_at(one, &["resources", list]));
        let of = |amounts: Option<&meta::Fields>, name: &str| amounts?.get(name).cloned();
        let movable = |name: &&String| ["cpu", "memory"].contains(&name.as_str());
        let names = |amounts: Option<&'_ meta::Fields>| -> Vec<String> {
            amounts.into_iter().flat_map(|amounts| amounts.keys().cloned()).collect()
        };
        if names(before).iter().any(|name| of(fresh, name).is_none()) {
            let why = format!("resource {list} cannot be removed");
            check.forbidden(&format!("{path}.resources.{list}"), &why);
        }
        let all = [names(before), names(fresh)].concat();
        let fixed = all.iter().filter(|name| !movable(name));
        if fixed.into_iter().any(|name| of(fresh, name) != of(before, name)) {
            check.forbidden("spec", "only cpu and memory resources are mutable");
        }
    }
}
