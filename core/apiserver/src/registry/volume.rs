//! PersistentVolumes, their claims, and StorageClasses: kept, not served by any controller here.

use hansa_api::field::FieldError;
use hansa_api::meta::{
    self, as_fields_mut, at, bool_at, default_text, fields_mut, list_at, str_at,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells;
use super::check::Check;
use crate::generic::context::Context;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

pub(super) fn volumes() -> Resource {
    Resource::new("", "v1", "PersistentVolume", "persistentvolumes").short(&["pv"]).status()
}

pub(super) fn claims() -> Resource {
    Resource::new("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
        .namespaced()
        .short(&["pvc"])
        .status()
}

pub(super) fn classes() -> Resource {
    Resource::new("storage.k8s.io", "v1", "StorageClass", "storageclasses").short(&["sc"])
}

/// `RWO,ROX`.
fn access_modes(modes: &[Value]) -> Value {
    let short = modes.iter().filter_map(Value::as_str).map(|mode| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    });
    short.collect::<Vec<_>>().join(",").into()
}

fn required_modes(check: &mut Check, obj: &Value) {
    let modes = list_at(obj, &["spec", "accessModes"]);
    if modes.is_empty() {
        check.required("spec.accessModes", "at least 1 access mode is required");
    }
    let known = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in modes {
        check.one_of("spec.accessModes", mode.as_str().unwrap_or_default(), known);
    }
}

/// The strategy of PersistentVolumes.
pub(super) struct Volumes;

impl Strategy for Volumes {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_text(spec, "volumeMode", "Filesystem");
    }

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        obj["status"] = json!({"phase": "Pending"});
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            required_modes(check, obj);
            if at(obj, &["spec", "capacity"]).is_none() {
                check.required("spec.capacity", "");
            }
        })
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
            cells::scalar(at(spec, &["capacity", "storage"]), ""),
            access_modes(list_at(spec, &["accessModes"])),
            str_at(spec, &["persistentVolumeReclaimPolicy"]).into(),
            phase(obj),
            claim.into(),
            str_at(spec, &["storageClassName"]).into(),
            cells::or(str_at(spec, &["volumeAttributesClassName"]), cells::UNSET),
            str_at(obj, &["status", "reason"]).into(),
            cells::age(obj, now),
            cells::or(str_at(spec, &["volumeMode"]), cells::UNSET),
        ]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

fn phase(obj: &Value) -> Value {
    match meta::deletion_timestamp(obj) {
        Some(_) => "Terminating".into(),
        None => str_at(obj, &["status", "phase"]).into(),
    }
}

/// The strategy of PersistentVolumeClaims.
pub(super) struct Claims;

impl Strategy for Claims {
    fn default(&self, obj: &mut Value) {
        default_text(fields_mut(obj, &["spec"]), "volumeMode", "Filesystem");
    }

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        obj["status"] = json!({"phase": "Pending"});
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            required_modes(check, obj);
            if at(obj, &["spec", "resources", "requests", "storage"]).is_none() {
                check.required("spec.resources[storage]", "");
            }
        })
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
        vec![
            cells::name(obj),
            phase(obj),
            volume.into(),
            cells::scalar(at(obj, &["status", "capacity", "storage"]).filter(|_| bound), ""),
            access_modes(modes),
            str_at(spec, &["storageClassName"]).into(),
            cells::or(str_at(spec, &["volumeAttributesClassName"]), cells::UNSET),
            cells::age(obj, now),
            cells::or(str_at(spec, &["volumeMode"]), cells::UNSET),
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

/// The strategy of StorageClasses.
pub(super) struct Classes;

impl Strategy for Classes {
    fn default(&self, obj: &mut Value) {
        let fields = as_fields_mut(obj);
        default_text(fields, "reclaimPolicy", "Delete");
        default_text(fields, "volumeBindingMode", "Immediate");
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            if str_at(obj, &["provisioner"]).is_empty() {
                check.required("provisioner", "");
            }
        })
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for field in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
                if at_field(obj, field) != at_field(old, field) {
                    check.forbidden(field, "updates to provisioner are forbidden.");
                }
            }
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Provisioner", "Who makes its volumes."),
            Column::new("ReclaimPolicy", "What becomes of them."),
            Column::new("VolumeBindingMode", "When they are made."),
            Column::of("AllowVolumeExpansion", "string", "Whether they may grow.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let default = meta::annotation(obj, DEFAULT_CLASS) == Some("true");
        let name = match default {
            true => format!("{} (default)", meta::name(obj)),
            false => meta::name(obj).into(),
        };
        vec![
            name.into(),
            str_at(obj, &["provisioner"]).into(),
            str_at(obj, &["reclaimPolicy"]).into(),
            str_at(obj, &["volumeBindingMode"]).into(),
            bool_at(obj, &["allowVolumeExpansion"]).into(),
            cells::age(obj, now),
        ]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

fn at_field<'a>(obj: &'a Value, field: &str) -> Option<&'a Value> {
    at(obj, &[field])
}
