//! Validation of references to the pod's own fields and resources.

use hansa_api::FieldError;
use hansa_api::field::child;
use hansa_api::meta::str_at;
use hansa_api::names;
use hansa_api::quantity::Quantity;
use serde_json::Value;

use crate::registry::check::Check;

/// The fields that environment variables may hold.
pub(super) const ENVIRONMENT_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// The fields that files may hold.
pub(super) const VOLUME_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Fields that can be named, but not by either of the two.
const OTHER_FIELDS: [&str; 3] = ["spec.restartPolicy", "spec.schedulerName", "status.phase"];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// A `fieldRef`, to one of the fields that are allowed here.
pub(super) fn field(check: &mut Check, path: &str, reference: &Value, allowed: &[&str]) {
    let text = str_at(reference, &["fieldPath"]);
    let path = child(path, "fieldPath");
    if text.is_empty() {
        return check.required(&path, "");
    }
    let subscript = ["metadata.labels['", "metadata.annotations['"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix)?.strip_suffix("']"));
    let is_known = [&ENVIRONMENT_FIELDS[..], &VOLUME_FIELDS, &OTHER_FIELDS]
        .iter()
        .any(|fields| fields.contains(&text));
    match subscript {
        Some(name) => check.text(&path, name, names::qualified_name(&name.to_lowercase())),
        None if allowed.contains(&text) => {}
        None if is_known => check.add(FieldError::not_supported(path, text, allowed)),
        None => {
            let why = format!("error converting fieldPath: field label not supported: {text}");
            check.invalid(&path, text, &why);
        }
    }
}

/// A `resourceFieldRef`; a file's must name its container.
pub(super) fn resource(check: &mut Check, path: &str, reference: &Value, of_file: bool) {
    let name = str_at(reference, &["resource"]);
    let huge = ["limits.hugepages-", "requests.hugepages-"];
    let is_huge = huge.iter().any(|prefix| name.starts_with(prefix));
    if of_file && str_at(reference, &["containerName"]).is_empty() {
        check.required(&child(path, "containerName"), "");
    } else if name.is_empty() {
        check.required(&child(path, "resource"), "");
    } else if !RESOURCES.contains(&name) && !is_huge {
        check.add(FieldError::not_supported(child(path, "resource"), name, &RESOURCES));
    }
    divisor(check, &child(path, "divisor"), name, str_at(reference, &["divisor"]));
}

/// What an amount may be divided by depends on what it is an amount of.
fn divisor(check: &mut Check, path: &str, resource: &str, divisor: &str) {
    let sizes = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (known, what): (&[&str], _) = match resource.split_once('.').unwrap_or_default().1 {
        "cpu" => (&["1m", "1"], "the cpu"),
        "memory" => (&sizes, "the memory"),
        "ephemeral-storage" => (&sizes, "the local ephemeral storage"),
        name if name.starts_with("hugepages-") => (&sizes, "the hugepages"),
        _ => return,
    };
    let is_zero = divisor.parse::<Quantity>().is_ok_and(|amount| amount.is_zero());
    if divisor.is_empty() || is_zero || known.contains(&divisor) {
        return;
    }
    let values = match known.len() {
        2 => "1m and 1".to_owned(),
        _ => known.join(", "),
    };
    let why = format!("only divisor's values {values} are supported with {what} resource");
    check.invalid(path, resource, &why);
}
