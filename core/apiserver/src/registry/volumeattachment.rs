//! VolumeAttachments: which volume is to be attached to which node.

use hansa_api::field::{FieldError, child};
use hansa_api::meta::{at, bool_at, int_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::check::{Check, entries};
use super::{cells, persistentvolume, provisioner};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const MAX_METADATA: usize = 256 << 10;
const MAX_MESSAGE: usize = 1024;

pub(super) fn resource() -> Resource {
    Resource::new("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments").status()
}

/// The strategy of VolumeAttachments.
pub(super) struct VolumeAttachments;

impl Strategy for VolumeAttachments {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, obj);
            check.frozen("spec", obj, old);
        })
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        self.validate_update(obj, old)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::name_format("Attacher", "The driver that attaches it."),
            Column::new("PV", "The volume."),
            Column::new("Node", "Where it is to be attached."),
            Column::of("Attached", "boolean", "Whether it is.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(obj),
            str_at(obj, &["spec", "attacher"]).into(),
            str_at(obj, &["spec", "source", "persistentVolumeName"]).into(),
            str_at(obj, &["spec", "nodeName"]).into(),
            bool_at(obj, &["status", "attached"]).into(),
            cells::age(obj, now),
        ]
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

fn validate(check: &mut Check, obj: &Value) {
    let spec = &obj["spec"];
    provisioner::csi_driver(check, "spec.attacher", str_at(spec, &["attacher"]));
    source(check, &spec["source"]);
    let node = str_at(spec, &["nodeName"]);
    check.text("spec.nodeName", node, names::dns1123_subdomain(node));
    status(check, &obj["status"]);
    if let Some(volume) = spec["source"]["persistentVolumeName"].as_str() {
        let why = names::dns1123_subdomain(volume);
        check.text("spec.source.persistentVolumeName", volume, why);
    }
}

fn source(check: &mut Check, source: &Value) {
    let path = "spec.source";
    let inline_path = child(path, "inlineVolumeSpec");
    let inline = at(source, &["inlineVolumeSpec"]);
    let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline, source["persistentVolumeName"].as_str()) {
        (None, None) => check.required(path, one),
        (Some(_), Some(_)) => check.forbidden(path, one),
        (None, Some("")) => {
            let path = child(path, "persistentVolumeName");
            check.required(&path, "must specify non empty persistentVolumeName");
        }
        (None, Some(_)) => {}
        (Some(inline), None) => persistentvolume::inline_spec(check, &inline_path, inline),
    }
}

fn status(check: &mut Check, status: &Value) {
    let metadata = entries(status, &["attachmentMetadata"]);
    let size = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if metadata.map(size).sum::<usize>() > MAX_METADATA {
        check.add(FieldError::too_long("status.attachmentMetadata", MAX_METADATA));
    }
    for name in ["attachError", "detachError"] {
        let path = child("status", name);
        if str_at(status, &[name, "message"]).len() > MAX_MESSAGE {
            check.add(FieldError::too_long(child(&path, "message"), MAX_METADATA));
        }
        let code = int_at(status, &[name, "errorCode"]);
        check.range(&child(&path, "errorCode"), code, 0, i64::from(i32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn attachment(source: Value) -> Value {
        json!({"metadata": {"name": "a"},
            "spec": {"attacher": "a.io", "nodeName": "n", "source": source}})
    }

    #[test]
    fn mistakes_are_named() {
        let inline = json!({"csi": {"driver": "a.io", "volumeHandle": "h"},
            "accessModes": ["ReadWriteOnce"]});
        refuses(
            &VolumeAttachments,
            [
                (
                    attachment(json!({})),
                    "spec.source: Required value: must specify exactly one of inlineVolumeSpec and \
              persistentVolumeName",
                ),
                (
                    attachment(json!({"persistentVolumeName": "v", "inlineVolumeSpec": inline})),
                    "spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and \
              persistentVolumeName",
                ),
                (
                    attachment(json!({"inlineVolumeSpec": {"csi": {"driver": "a.io",
                 "volumeHandle": "h"}}})),
                    "spec.source.inlineVolumeSpec.accessModes: Required value",
                ),
            ],
        );
        let good = attachment(json!({"inlineVolumeSpec": inline}));
        assert_eq!(texts(&VolumeAttachments.validate_create(&good)), [""; 0]);
    }

    #[test]
    fn only_the_status_changes() {
        let old = attachment(json!({"persistentVolumeName": "v"}));
        let new = attachment(json!({"persistentVolumeName": "w"}));
        let errors = texts(&VolumeAttachments.validate_update(&new, &old));
        assert!(errors[0].starts_with("spec: Invalid value: {") && errors.len() == 1);
        let mut failed = old.clone();
        failed["status"] = json!({"attachError": {"errorCode": -1}});
        assert_eq!(
            texts(&VolumeAttachments.validate_status_update(&failed, &old)),
            ["status.attachError.errorCode: Invalid value: -1: must be between 0 and \
              2147483647, inclusive"]
        );
    }
}
