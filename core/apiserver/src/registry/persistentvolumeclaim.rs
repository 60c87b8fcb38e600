//! PersistentVolumeClaims.

use hansa_api::field::{FieldError, child, key};
use hansa_api::meta::{self, at, default_field, default_text, fields_mut, list_at, str_at};
use hansa_api::names;
use hansa_api::quantity::Quantity;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells;
use super::check::{Check, entries};
use super::persistentvolume::{access_modes, class, phase, validate_modes};
use crate::generic::context::Context;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};

const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const RESIZE_STATES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
        .namespaced()
        .short(&["pvc"])
        .status()
}

/// The strategy of PersistentVolumeClaims.
pub(super) struct PersistentVolumeClaims;

impl Strategy for PersistentVolumeClaims {
    fn default(&self, obj: &mut Value) {
        default_field(fields_mut(obj, &["spec"]), "volumeMode", "Filesystem");
        default_text(fields_mut(obj, &["status"]), "phase", "Pending");
    }

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        obj["status"] = json!({"phase": "Pending"});
        data_source(fields_mut(obj, &["spec"]), false);
    }

    fn prepare_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        let used = ["dataSource", "dataSourceRef"];
        let used = used.iter().any(|field| at(old, &["spec", field]).is_some());
        data_source(fields_mut(obj, &["spec"]), used);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate_spec(check, "spec", &obj["spec"]))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate_spec(check, "spec", &obj["spec"]);
            validate_change(check, obj, old);
        })
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| validate_status(check, &obj["status"]))
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        warnings(obj)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Status", "Its phase."),
            Column::new("Volume", "What it has."),
            Column::new("Capacity", "How much that holds."),
            Column::new("Access Modes", "How it may be mounted."),
            Column::new("StorageClass", "Its class."),
            Column::new("VolumeAttributesClass", "Its attributes' class."),
            Column::age(),
            Column::wide("VolumeMode", "A filesystem or a block device."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &obj["spec"];
        let volume = str_at(spec, &["volumeName"]);
        let bound = !volume.is_empty();
        let modes = if bound { list_at(obj, &["status", "accessModes"]) } else { &[] };
        let capacity = at(obj, &["status", "capacity", "storage"]);
        vec![
            cells::name(obj),
            phase(obj),
            volume.into(),
            if bound { cells::scalar(capacity, "0") } else { "".into() },
            access_modes(modes),
            class(obj).into(),
            cells::or(str_at(spec, &["volumeAttributesClassName"]), cells::UNSET),
            cells::age(obj, now),
            cells::text(spec, "volumeMode", cells::UNSET),
        ]
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["name".into()]
    }

    fn field_value(&self, obj: &Value, _: &str) -> String {
        meta::name(obj).into()
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

/// `dataSource` and `dataSourceRef` say the same; what only the newer may say, the older loses. A
/// reference to another namespace is not supported and goes, too.
fn data_source(spec: &mut meta::Fields, used: bool) {
    let foreign = |spec: &meta::Fields| {
        let reference = spec.get("dataSourceRef");
        reference.is_some_and(|reference| !str_at(reference, &["namespace"]).is_empty())
    };
    if foreign(spec) && !used {
        spec.remove("dataSourceRef");
    }
    let classic = |source: &Value| {
        matches!(
            (str_at(source, &["apiGroup"]), str_at(source, &["kind"])),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    };
    if !used && !spec.contains_key("dataSourceRef") && !spec.get("dataSource").is_some_and(classic)
    {
        spec.remove("dataSource");
    }
    match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
        (Some(source), None) => {
            spec.insert("dataSourceRef".into(), source);
        }
        (None, Some(reference)) if !foreign(spec) => {
            let mut source = reference;
            source.as_object_mut().and_then(|fields| fields.remove("namespace"));
            spec.insert("dataSource".into(), source);
        }
        _ => {}
    }
}

/// A claim's spec; StatefulSets and pods have some, too.
pub(super) fn validate_spec(check: &mut Check, path: &str, spec: &Value) {
    let modes = list_at(spec, &["accessModes"]);
    let modes_path = child(path, "accessModes");
    if modes.is_empty() {
        check.required(&modes_path, "at least 1 access mode is required");
    }
    if let Some(selector) = at(spec, &["selector"]) {
        check.label_selector(&child(path, "selector"), selector);
    }
    validate_modes(check, &modes_path, modes);
    let size_path = key(&child(path, "resources"), "storage");
    match at(spec, &["resources", "requests", "storage"]) {
        None => check.required(&size_path, ""),
        size => check.positive_quantity(&size_path, size),
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let class = str_at(spec, &[field]);
        check.optional_text(&child(path, field), class, names::dns1123_subdomain);
    }
    let mode_path = child(path, "volumeMode");
    check.supported(&mode_path, at(spec, &["volumeMode"]), &["Block", "Filesystem"]);
    validate_sources(check, path, spec);
}

fn validate_sources(check: &mut Check, path: &str, spec: &Value) {
    let fields = ["dataSource", "dataSourceRef"];
    let [source, reference] = fields.map(|field| at(spec, &[field]));
    for (field, found) in fields.into_iter().zip([source, reference]) {
        if let Some(found) = found {
            validate_source(check, &child(path, field), found);
        }
    }
    let (Some(source), Some(reference)) = (source, reference) else { return };
    let why = match str_at(reference, &["namespace"]) {
        "" if same_target(source, reference) => return,
        "" => "must match dataSourceRef",
        _ => "may not be specified when dataSourceRef.namespace is specified",
    };
    check.invalid(path, json!({}), why);
}

fn same_target(source: &Value, reference: &Value) -> bool {
    ["apiGroup", "kind", "name"].iter().all(|field| at(source, &[field]) == at(reference, &[field]))
}

fn validate_source(check: &mut Check, path: &str, source: &Value) {
    let text = |field: &str| str_at(source, &[field]);
    for field in ["name", "kind"] {
        if text(field).is_empty() {
            check.required(&child(path, field), "");
        }
    }
    if text("apiGroup").is_empty() && text("kind") != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        check.invalid(path, text("kind"), why);
    }
    check.optional_text(&child(path, "apiGroup"), text("apiGroup"), names::dns1123_subdomain);
    check.optional_text(&child(path, "namespace"), text("namespace"), names::dns1123_label);
}

fn size(obj: &Value, path: &[&str]) -> Quantity {
    str_at(obj, path).parse().unwrap_or_default()
}

fn validate_change(check: &mut Check, obj: &Value, old: &Value) {
    let bound = str_at(old, &["status", "phase"]) == "Bound";
    if settled(obj, old, bound) != settled(old, old, bound) {
        let why = "spec is immutable after creation except resources.requests and \
                   volumeAttributesClassName for bound claims";
        check.forbidden("spec", why);
    }
    let request = ["spec", "resources", "requests", "storage"];
    let (new_size, old_size) = (size(obj, &request), size(old, &request));
    if new_size < old_size && new_size <= size(old, &["status", "capacity", "storage"]) {
        let why = "field can not be less than status.capacity";
        check.forbidden("spec.resources.requests.storage", why);
    }
    let mode = ["spec", "volumeMode"];
    check.immutable("volumeMode", at(obj, &mode), at(old, &mode));
    let attributes = ["spec", "volumeAttributesClassName"];
    let current = at(old, &["status", "currentVolumeAttributesClassName"]);
    if at(obj, &attributes) == at(old, &attributes) || current.is_none() {
        return;
    }
    let what = match at(obj, &attributes).and_then(Value::as_str) {
        None => "nil",
        Some("") => "empty string",
        Some(_) => return,
    };
    let why = format!(
        "update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
    );
    check.forbidden("spec.volumeAttributesClassName", &why);
}

/// The part of a claim's spec that stays, in view of what it was.
fn settled(obj: &Value, old: &Value, bound: bool) -> Value {
    let mut spec = obj["spec"].clone();
    let before = &old["spec"];
    let keep = |spec: &mut Value, field: &str| match before.get(field) {
        Some(value) => spec[field] = value.clone(),
        None => {
            spec.as_object_mut().and_then(|fields| fields.remove(field));
        }
    };
    if str_at(before, &["volumeName"]).is_empty() {
        keep(&mut spec, "volumeName");
    }
    let annotation = meta::annotation(old, OLD_CLASS);
    let named = spec["storageClassName"].as_str();
    let adopts = named.is_some_and(|name| annotation.is_none_or(|old| old == name));
    if before.get("storageClassName").is_none() && adopts {
        keep(&mut spec, "storageClassName");
    }
    if bound {
        keep(&mut spec, "volumeAttributesClassName");
        if let Some(requests) = spec["resources"]["requests"].as_object_mut() {
            requests.insert("storage".into(), before["resources"]["requests"]["storage"].clone());
        }
    }
    spec
}

fn validate_status(check: &mut Check, status: &Value) {
    for (name, amount) in entries(status, &["capacity"]) {
        check.resource_amount(&key("status.capacity", name), amount);
    }
    let path = "status.allocatedResourceStatuses";
    for (name, state) in entries(status, &["allocatedResourceStatuses"]) {
        resource_key(check, path, name);
        if !state.as_str().is_some_and(|state| RESIZE_STATES.contains(&state)) {
            check.add(FieldError::not_supported(path, name.as_str(), &RESIZE_STATES));
        }
    }
    for (name, amount) in entries(status, &["allocatedResources"]) {
        resource_key(check, "status.allocatedResources", name);
        check.resource_amount(&key("status.allocatedResources", name), amount);
    }
}

/// A claim's resource: storage, or one of somebody else's.
fn resource_key(check: &mut Check, path: &str, name: &str) {
    let complaints = names::qualified_name(name);
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if complaints.is_empty() && native && name != "storage" {
        check.add(FieldError::not_supported(path, name, &["storage"]));
    }
    check.text(path, name, complaints);
}

fn warnings(obj: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if meta::annotation(obj, OLD_CLASS).is_some() {
        warnings.push(format!(
            "metadata.annotations[{OLD_CLASS}]: deprecated since v1.8; use \"storageClassName\" \
             attribute instead"
        ));
    }
    warnings.extend(spec_warnings("spec", &obj["spec"]));
    warnings
}

/// Upstream's word on a claim's spec, here or in a template.
pub(super) fn spec_warnings(path: &str, spec: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["requests", "limits"] {
        let text = str_at(spec, &["resources", list, "storage"]);
        if text.parse().is_ok_and(|amount: Quantity| amount.milli_value() % 1000 != 0) {
            warnings.push(format!(
                "{path}.resources.{list}[storage]: fractional byte value {text:?} is invalid, must \
                 be an integer"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::{refuses, texts};

    fn claim(more: Value) -> Value {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi"}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut obj = json!({"metadata": {"name": "c"}, "spec": spec});
        PersistentVolumeClaims.default(&mut obj);
        obj
    }

    #[test]
    fn mistakes_are_named() {
        let request = |size: &str| claim(json!({"resources": {"requests": {"storage": size}}}));
        refuses(
            &PersistentVolumeClaims,
            [
                (
                    claim(json!({"accessModes": []})),
                    "spec.accessModes: Required value: at least 1 access mode is required",
                ),
                (claim(json!({"resources": {}})), "spec.resources[storage]: Required value"),
                (
                    request("0"),
                    "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
                ),
                (
                    claim(json!({"volumeMode": "Tape"})),
                    "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \
              \"Filesystem\"",
                ),
                (
                    claim(json!({"dataSourceRef": {"kind": "Pod", "name": "x"}})),
                    "spec.dataSourceRef: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' \
                     when \
              referencing the default apiGroup",
                ),
            ],
        );
        assert_eq!(PersistentVolumeClaims.warnings(&request("1m"), None).len(), 1);
    }

    #[test]
    fn sources_mirror_each_other() {
        let source = json!({"kind": "PersistentVolumeClaim", "name": "x"});
        let mut obj = claim(json!({"dataSource": source}));
        PersistentVolumeClaims.prepare_create(&Context::default(), &mut obj);
        assert_eq!(obj["spec"]["dataSourceRef"], source);
        let mut odd = claim(json!({"dataSource": {"kind": "Pod", "name": "x"}}));
        PersistentVolumeClaims.prepare_create(&Context::default(), &mut odd);
        assert!(odd["spec"].get("dataSource").is_none());
    }

    #[test]
    fn bound_claims_grow_and_nothing_else() {
        let mut old = claim(json!({"volumeName": "v", "storageClassName": "a"}));
        let change =
            |obj: &Value, old: &Value| texts(&PersistentVolumeClaims.validate_update(obj, old));
        let mut larger = old.clone();
        larger["spec"]["resources"]["requests"]["storage"] = "3Gi".into();
        let frozen = "spec: Forbidden: spec is immutable after creation except \
                      resources.requests and volumeAttributesClassName for bound claims";
        assert_eq!(change(&larger, &old), [frozen]);
        old["status"] = json!({"phase": "Bound", "capacity": {"storage": "2Gi"}});
        assert_eq!(change(&larger, &old), [""; 0]);
        let mut smaller = old.clone();
        smaller["spec"]["resources"]["requests"]["storage"] = "1Gi".into();
        assert_eq!(
            change(&smaller, &old),
            ["spec.resources.requests.storage: Forbidden: field can not be less than \
              status.capacity"]
        );
        let mut other = old.clone();
        other["spec"]["storageClassName"] = "b".into();
        assert_eq!(change(&other, &old), [frozen]);
    }
}
