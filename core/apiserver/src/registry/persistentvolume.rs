//! PersistentVolumes.

use hansa_api::field::{FieldError, child};
use hansa_api::meta::{self, at, default_field, default_text, fields_mut, list_at, str_at};
use hansa_api::{names, time};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::{Check, entries};
use super::{cells, node_labels, node_selector, volume_source};
use crate::generic::context::Context;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};

const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const OLD_MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const INLINE: &str = "in the context of inline volumes";

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "PersistentVolume", "persistentvolumes").short(&["pv"]).status()
}

/// The strategy of PersistentVolumes.
pub(super) struct PersistentVolumes;

impl Strategy for PersistentVolumes {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_field(spec, "volumeMode", "Filesystem");
        if let Some(Value::Object(host_path)) = spec.get_mut("hostPath") {
            default_field(host_path, "type", "");
        }
        default_text(fields_mut(obj, &["status"]), "phase", "Pending");
    }

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        obj["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": time::now()});
    }

    fn prepare_status_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        let before = at(old, &["status", "lastPhaseTransitionTime"]).cloned();
        let same = str_at(obj, &["status", "phase"]) == str_at(old, &["status", "phase"]);
        let status = fields_mut(obj, &["status"]);
        let given = status.get("lastPhaseTransitionTime").cloned();
        let next = match (given, before) {
            (None, before) if same => before,
            (given, before) if !same && (given.is_none() || given == before) => {
                Some(time::now().into())
            }
            (given, _) => given,
        };
        if let Some(next) = next {
            status.insert("lastPhaseTransitionTime".into(), next);
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, obj);
            validate_change(check, &obj["spec"], &old["spec"]);
        })
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        warnings(obj)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Capacity", "How much it holds."),
            Column::new("Access Modes", "How it may be mounted."),
            Column::new("Reclaim Policy", "What becomes of it when its claim goes."),
            Column::new("Status", "Its phase."),
            Column::new("Claim", "Who has it."),
            Column::new("StorageClass", "Its class."),
            Column::new("VolumeAttributesClass", "Its attributes' class."),
            Column::new("Reason", "Why it is in its phase."),
            Column::age(),
            Column::wide("VolumeMode", "A filesystem or a block device."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &obj["spec"];
        let claim = at(spec, &["claimRef"]).map_or_else(String::new, |claim| {
            format!("{}/{}", str_at(claim, &["namespace"]), str_at(claim, &["name"]))
        });
        vec![
            cells::name(obj),
            cells::scalar(at(spec, &["capacity", "storage"]), "0"),
            access_modes(list_at(spec, &["accessModes"])),
            str_at(spec, &["persistentVolumeReclaimPolicy"]).into(),
            phase(obj),
            claim.into(),
            class(obj).into(),
            cells::or(str_at(spec, &["volumeAttributesClassName"]), cells::UNSET),
            str_at(obj, &["status", "reason"]).into(),
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

/// The phase, or that it is being deleted.
pub(super) fn phase(obj: &Value) -> Value {
    match meta::deletion_timestamp(obj) {
        Some(_) => "Terminating".into(),
        None => str_at(obj, &["status", "phase"]).into(),
    }
}

/// The class, as the old annotation or the field has it.
pub(super) fn class(obj: &Value) -> &str {
    let field = str_at(obj, &["spec", "storageClassName"]);
    meta::annotation(obj, OLD_CLASS).unwrap_or(field)
}

/// `RWO,ROX`, in the order in which they are always shown.
pub(super) fn access_modes(modes: &[Value]) -> Value {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let there = short.iter().filter(|(mode, _)| modes.iter().any(|own| own == mode));
    there.map(|(_, short)| *short).collect::<Vec<_>>().join(",").into()
}

/// The modes that a volume or claim has: known ones, and one that excludes the others.
pub(super) fn validate_modes(check: &mut Check, path: &str, modes: &[Value]) {
    for mode in modes {
        check.supported(path, Some(mode), &MODES);
    }
    let exclusive = |mode: &&Value| *mode == "ReadWriteOncePod";
    let known = |mode: &&Value| mode.as_str().is_some_and(|mode| MODES.contains(&mode));
    let (alone, known) =
        (modes.iter().filter(exclusive).count(), modes.iter().filter(known).count());
    if alone > 0 && known > alone {
        check.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

fn validate(check: &mut Check, obj: &Value) {
    let spec = &obj["spec"];
    let path = "spec";
    let modes = list_at(spec, &["accessModes"]);
    if modes.is_empty() {
        check.required("spec.accessModes", "");
    }
    validate_modes(check, "spec.accessModes", modes);
    capacity(check, spec);
    let policy = str_at(spec, &["persistentVolumeReclaimPolicy"]);
    let policy_path = "spec.persistentVolumeReclaimPolicy";
    check.optional_one_of(policy_path, policy, &["Delete", "Recycle", "Retain"]);
    if let Some(affinity) = at(spec, &["nodeAffinity"]) {
        match at(affinity, &["required"]) {
            Some(required) => {
                node_selector::validate(check, "spec.nodeAffinity.required", required);
            }
            None => {
                let why = "must specify required node constraints";
                check.required("spec.nodeAffinity.required", why);
            }
        }
    } else if at(spec, &["local"]).is_some() {
        check.required("spec.nodeAffinity", "Local volume requires node affinity");
    }
    volume_source::validate(check, path, spec, meta::name(obj));
    if at(spec, &["hostPath"]).is_some_and(is_root) && policy == "Recycle" {
        check.forbidden(policy_path, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = str_at(spec, &["storageClassName"]);
    check.optional_text("spec.storageClassName", class, names::dns1123_subdomain);
    check.supported("spec.volumeMode", at(spec, &["volumeMode"]), &["Block", "Filesystem"]);
    attributes_class(check, path, spec);
    if meta::annotation(obj, OLD_MOUNT_OPTIONS).is_some()
        && !volume_source::takes_mount_options(spec)
    {
        let path = format!("metadata.annotations.{OLD_MOUNT_OPTIONS}");
        check.forbidden(&path, "may not specify mount options for this volume type");
    }
}

fn is_root(host_path: &Value) -> bool {
    let path = str_at(host_path, &["path"]);
    path.starts_with('/') && path.split('/').all(|part| matches!(part, "" | "." | ".."))
}

fn capacity(check: &mut Check, spec: &Value) {
    let path = "spec.capacity";
    let amounts: Vec<_> = entries(spec, &["capacity"]).collect();
    if amounts.is_empty() {
        check.required(path, "");
    }
    if amounts.len() != 1 || amounts[0].0 != "storage" {
        let value = at(spec, &["capacity"]).cloned().unwrap_or_default();
        check.add(FieldError::not_supported(path, value, &["storage"]));
    }
    for (name, amount) in amounts {
        check.positive_quantity(&hansa_api::field::key(path, name), Some(amount));
    }
}

fn attributes_class(check: &mut Check, path: &str, spec: &Value) {
    let Some(class) = spec["volumeAttributesClassName"].as_str() else { return };
    let class_path = child(path, "volumeAttributesClassName");
    match class {
        "" => check.required(&class_path, "an empty string is disallowed"),
        class => check.text(&class_path, class, names::dns1123_subdomain(class)),
    }
    if at(spec, &["csi"]).is_none() {
        let why = "has to be specified when using volumeAttributesClassName";
        check.required(&child(path, "csi"), why);
    }
}

/// A volume's spec inside of an attachment: CSI only, and nothing that only claims need.
pub(super) fn inline_spec(check: &mut Check, path: &str, spec: &Value) {
    let not_here = |check: &mut Check, field: &str| {
        if at(spec, &[field]).is_some_and(|value| *value != "" && *value != json!({})) {
            let why = format!("may not be specified {INLINE}");
            check.forbidden(&child(path, field), &why);
        }
    };
    for field in ["claimRef", "capacity", "nodeAffinity", "storageClassName"] {
        not_here(check, field);
    }
    if at(spec, &["csi"]).is_none() {
        check.required(&child(path, "csi"), &format!("has to be specified {INLINE}"));
    }
    let modes = list_at(spec, &["accessModes"]);
    let modes_path = child(path, "accessModes");
    if modes.is_empty() {
        check.required(&modes_path, "");
    }
    validate_modes(check, &modes_path, modes);
    for (field, only, why) in [
        ("persistentVolumeReclaimPolicy", "Retain", "may only be Retain"),
        ("volumeMode", "Filesystem", "may not specify volumeMode other than Filesystem"),
    ] {
        let text = str_at(spec, &[field]);
        if !text.is_empty() && text != only {
            check.forbidden(&child(path, field), &format!("{why} {INLINE}"));
        }
    }
    volume_source::validate(check, path, spec, "");
    attributes_class(check, path, spec);
}

fn validate_change(check: &mut Check, new: &Value, old: &Value) {
    let mut unsaid = new.clone();
    if at(old, &["csi", "controllerExpandSecretRef"]).is_none() {
        unsaid["csi"].as_object_mut().and_then(|csi| csi.remove("controllerExpandSecretRef"));
    }
    if volume_source::of(&unsaid) != volume_source::of(old) {
        let why = "spec.persistentvolumesource is immutable after creation";
        check.forbidden("spec.persistentvolumesource", why);
    }
    check.frozen("volumeMode", new, old);
    if let Some(affinity) = at(old, &["nodeAffinity"])
        && at(new, &["nodeAffinity"]) != Some(affinity)
    {
        let value = at(new, &["nodeAffinity"]).cloned().unwrap_or_default();
        let why = "field is immutable, except for updating from beta label to GA";
        check.invalid("nodeAffinity", value, why);
    }
    let class = "volumeAttributesClassName";
    if at(old, &[class]).is_some() && at(new, &[class]).is_none() {
        let why = "update from non-nil value to nil is forbidden";
        check.forbidden("spec.volumeAttributesClassName", why);
    }
}

fn warnings(obj: &Value) -> Vec<String> {
    let spec = &obj["spec"];
    let mut warnings = Vec::new();
    for (key, advice) in [
        (OLD_CLASS, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        (OLD_MOUNT_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ] {
        if meta::annotation(obj, key).is_some() {
            warnings.push(format!("metadata.annotations[{key}]: {advice}"));
        }
    }
    if str_at(spec, &["persistentVolumeReclaimPolicy"]) == "Recycle" {
        warnings.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. \
             Instead, the recommended approach is to use dynamic provisioning."
                .into(),
        );
    }
    let terms = list_at(spec, &["nodeAffinity", "required", "nodeSelectorTerms"]);
    for (at, term) in terms.iter().enumerate() {
        let path = format!("spec.nodeAffinity.required.nodeSelectorTerms[{at}]");
        warnings.extend(node_labels::expression_warnings(&path, term));
    }
    for (kind, path, since, gone) in [
        ("cephfs", "cephfs", "v1.28", "v1.31"),
        ("photonPersistentDisk", "photonPersistentDisk", "v1.11", "v1.16"),
        ("scaleIO", "scaleIO", "v1.16", "v1.22"),
        ("storageos", "storageOS", "v1.22", "v1.25"),
        ("glusterfs", "glusterfs", "v1.25", "v1.26"),
        ("rbd", "rbd", "v1.28", "v1.31"),
    ] {
        if at(spec, &[kind]).is_some() {
            warnings.push(format!("spec.{path}: deprecated in {since}, non-functional in {gone}+"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::{refuses, texts};

    fn volume(more: Value) -> Value {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/data"}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let mut obj = json!({"metadata": {"name": "v"}, "spec": spec});
        PersistentVolumes.default(&mut obj);
        obj
    }

    #[test]
    fn mistakes_are_named() {
        refuses(
            &PersistentVolumes,
            [
                (volume(json!({"accessModes": []})), "spec.accessModes: Required value"),
                (
                    volume(json!({"accessModes": ["Often"]})),
                    "spec.accessModes: Unsupported value: \"Often\": supported values: \
              \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                ),
                (
                    volume(json!({"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]})),
                    "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                ),
                (
                    volume(json!({"capacity": {"storage": "0"}})),
                    "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
                ),
                (
                    volume(json!({"hostPath": null})),
                    "spec: Required value: must specify a volume type",
                ),
                (
                    volume(json!({"nfs": {"server": "s", "path": "/"}})),
                    "spec.nfs: Forbidden: may not specify more than 1 volume type",
                ),
                (
                    volume(json!({"hostPath": {"path": "/a/../b"}})),
                    "spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                ),
                (
                    volume(json!({"hostPath": {"path": "/"},
                 "persistentVolumeReclaimPolicy": "Recycle"})),
                    "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath \
              mount of '/'",
                ),
                (
                    volume(json!({"hostPath": null, "local": {"path": "/a"}})),
                    "spec.nodeAffinity: Required value: Local volume requires node affinity",
                ),
                (
                    volume(json!({"nodeAffinity": {"required": {"nodeSelectorTerms": []}}})),
                    "spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least \
              one node selector term",
                ),
                (
                    volume(json!({"hostPath": null, "csi": {"driver": "a.io"}})),
                    "spec.csi.volumeHandle: Required value",
                ),
            ],
        );
    }

    #[test]
    fn the_source_stays() {
        let old = volume(json!({}));
        let new = volume(json!({"hostPath": {"path": "/other"}}));
        assert_eq!(
            texts(&PersistentVolumes.validate_update(&new, &old)),
            ["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable \
              after creation"]
        );
        assert_eq!(texts(&PersistentVolumes.validate_update(&old, &old)), [""; 0]);
    }

    #[test]
    fn a_new_phase_has_a_time() {
        let old = json!({"status": {"phase": "Pending", "lastPhaseTransitionTime": "then"}});
        let mut new = json!({"status": {"phase": "Bound", "lastPhaseTransitionTime": "then"}});
        PersistentVolumes.prepare_status_update(&Context::default(), &mut new, &old);
        assert_ne!(new["status"]["lastPhaseTransitionTime"], "then");
        let mut same = json!({"status": {"phase": "Pending"}});
        PersistentVolumes.prepare_status_update(&Context::default(), &mut same, &old);
        assert_eq!(same["status"]["lastPhaseTransitionTime"], "then");
    }
}
