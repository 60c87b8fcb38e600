//! What a PersistentVolumeClaim uses: itself and storage, once more under its class.

use serde_json::Value;

use super::{Amounts, amounts, chooses, one};
use crate::meta::{self, str_at};
use crate::quantity::Quantity;

const COUNT: &str = "count/persistentvolumeclaims";
const NAMES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn measures(name: &str) -> bool {
    let plain = name.split_once(BY_CLASS).map_or(name, |(_, plain)| plain);
    name == COUNT || NAMES.contains(&plain)
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let mut used = Amounts::from([(COUNT.to_string(), one()), (NAMES[0].to_string(), one())]);
    let class = class_of(claim);
    if !class.is_empty() {
        used.insert(format!("{class}{BY_CLASS}{}", NAMES[0]), one());
    }
    if let Some(storage) = storage(claim) {
        used.insert(NAMES[1].to_string(), storage);
        if !class.is_empty() {
            used.insert(format!("{class}{BY_CLASS}{}", NAMES[1]), storage);
        }
    }
    used
}

/// The name of its StorageClass; the annotation that came before the field still counts.
pub fn class_of(claim: &Value) -> &str {
    let class = str_at(claim, &["spec", "storageClassName"]);
    meta::annotation(claim, CLASS_ANNOTATION).unwrap_or(class)
}

/// What is asked for, or was allocated if that is more; whole bytes.
fn storage(claim: &Value) -> Option<Quantity> {
    let at = |path: &[&str]| amounts(claim, path).get("storage").copied();
    let asked = at(&["spec", "resources", "requests"])?;
    let largest = at(&["status", "allocatedResources"]).map_or(asked, |own| own.max(asked));
    Some(if largest.is_whole() { largest } else { Quantity::from_units(largest.value()) })
}

pub(super) fn in_scope(scope: &Value, claim: &Value) -> bool {
    if str_at(scope, &["scopeName"]) != "VolumeAttributesClass" {
        return false;
    }
    let class = str_at(claim, &["spec", "volumeAttributesClassName"]);
    chooses(scope, Some(class).filter(|class| !class.is_empty()))
}
