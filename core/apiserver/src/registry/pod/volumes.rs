//! Validation of volumes.

use std::collections::HashSet;

use hansa_api::field::{child, index};
use hansa_api::meta::{int_at, list_at, str_at};
use hansa_api::names;
use serde_json::Value;

use super::containers::local_path;
use super::downward;
use crate::registry::check::Check;
use crate::registry::{provisioner, volume_source};

const MIN_TOKEN_SECONDS: i64 = 600;

/// Every kind in the order in which they are looked at, and its word where there are two of them.
const KINDS: [(&str, &str); 30] = [
    ("emptyDir", "emptyDir"),
    ("hostPath", "hostPath"),
    ("gitRepo", "gitRepo"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret"),
    ("nfs", "nfs"),
    ("iscsi", "iscsi"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd"),
    ("cinder", "cinder"),
    ("cephfs", "cephFS"),
    ("quobyte", "quobyte"),
    ("downwardAPI", "downwarAPI"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("configMap", "configMap"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("storageos", "storageos"),
    ("projected", "projected"),
    ("scaleIO", "scaleIO"),
    ("csi", "csi"),
    ("ephemeral", "ephemeral"),
    ("image", "image"),
];

/// A pod's volumes; returns the names of those that containers can mount.
pub(crate) fn validate_all<'a>(check: &mut Check, path: &str, spec: &'a Value) -> HashSet<&'a str> {
    let mut fine = HashSet::new();
    let path = child(path, "volumes");
    for (at, volume) in list_at(spec, &["volumes"]).iter().enumerate() {
        let path = index(&path, at);
        let before = check.errors.len();
        validate(check, &path, volume);
        let name = str_at(volume, &["name"]);
        check.required_text(&child(&path, "name"), name, names::dns1123_label);
        if fine.contains(name) {
            check.duplicate(&child(&path, "name"), name);
        }
        if check.errors.len() == before {
            fine.insert(name);
        }
    }
    fine
}

fn validate(check: &mut Check, path: &str, volume: &Value) {
    let sources = KINDS.iter().filter_map(|(kind, word)| Some((kind, word, volume.get(*kind)?)));
    let mut found = false;
    for (kind, word, source) in sources {
        if found {
            check.forbidden(&child(path, word), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        validate_source(check, path, kind, source, str_at(volume, &["name"]));
    }
    if !found {
        check.required(path, "must specify a volume type");
    }
}

fn validate_source(check: &mut Check, volume_path: &str, kind: &str, source: &Value, name: &str) {
    let path = &child(volume_path, kind);
    match kind {
        "emptyDir" => empty_dir(check, path, source),
        "gitRepo" => {
            require(check, path, source, "repository");
            local_path(check, &child(path, "directory"), str_at(source, &["directory"]));
        }
        "secret" => {
            require(check, path, source, "secretName");
            items(check, path, source);
        }
        "configMap" => {
            require(check, path, source, "name");
            items(check, path, source);
        }
        "persistentVolumeClaim" => require(check, path, source, "claimName"),
        "downwardAPI" => {
            mode(check, &child(path, "defaultMode"), int_at(source, &["defaultMode"]));
            downward_files(check, path, source);
        }
        "csi" => csi(check, path, source),
        "projected" => projected(check, path, source),
        "ephemeral" if source.get("volumeClaimTemplate").is_none() => {
            check.required(&child(path, "volumeClaimTemplate"), "");
        }
        "image" => {
            require(check, path, source, "reference");
            let at = child(path, "pullPolicy");
            let supported = ["Always", "IfNotPresent", "Never"];
            check.optional_one_of(&at, str_at(source, &["pullPolicy"]), &supported);
        }
        kind => volume_source::validate_one(check, volume_path, kind, source, name),
    }
}

fn require(check: &mut Check, path: &str, source: &Value, field: &str) {
    if str_at(source, &[field]).is_empty() {
        check.required(&child(path, field), "");
    }
}

fn empty_dir(check: &mut Check, path: &str, source: &Value) {
    let limit = str_at(source, &["sizeLimit"]);
    if limit.starts_with('-') {
        let why = "SizeLimit field must be a valid resource quantity";
        check.forbidden(&child(path, "sizeLimit"), why);
    }
}

fn csi(check: &mut Check, path: &str, source: &Value) {
    provisioner::csi_driver(check, &child(path, "driver"), str_at(source, &["driver"]));
    let Some(secret) = source.get("nodePublishSecretRef") else { return };
    let name = str_at(secret, &["name"]);
    let path = format!("{path}.nodePublishSecretRef.name");
    check.required_text(&path, name, names::dns1123_subdomain);
}

fn items(check: &mut Check, path: &str, source: &Value) {
    mode(check, &child(path, "defaultMode"), int_at(source, &["defaultMode"]));
    for (at, item) in list_at(source, &["items"]).iter().enumerate() {
        let path = index(&child(path, "items"), at);
        require(check, &path, item, "key");
        item_path(check, &path, item);
        mode(check, &child(&path, "mode"), int_at(item, &["mode"]));
    }
}

/// A path below the volume's root that is none of the names that are kept for the node.
fn item_path(check: &mut Check, path: &str, item: &Value) {
    let at = child(path, "path");
    let text = str_at(item, &["path"]);
    if text.is_empty() {
        check.required(&at, "");
    }
    local_path(check, &at, text);
    if text.starts_with("..") && !text.starts_with("../") && text != ".." {
        check.invalid(&at, text, "must not start with '..'");
    }
}

fn mode(check: &mut Check, path: &str, mode: Option<i64>) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        check.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// Files of the downward API; all are told of under the volume's own path.
fn downward_files(check: &mut Check, path: &str, source: &Value) {
    for file in list_at(source, &["items"]) {
        item_path(check, path, file);
        match (file.get("fieldRef"), file.get("resourceFieldRef")) {
            (Some(field), resource) => {
                let at = child(path, "fieldRef");
                downward::field(check, &at, field, &downward::VOLUME_FIELDS);
                if resource.is_some() {
                    let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                    check.invalid(path, "resource", why);
                }
            }
            (None, Some(resource)) => {
                downward::resource(check, &child(path, "resourceFieldRef"), resource, true);
            }
            (None, None) => {
                check.required(path, "one of fieldRef and resourceFieldRef is required");
            }
        }
        mode(check, &child(path, "mode"), int_at(file, &["mode"]));
    }
}

fn projected(check: &mut Check, path: &str, volume: &Value) {
    mode(check, &child(path, "defaultMode"), int_at(volume, &["defaultMode"]));
    for (at, source) in list_at(volume, &["sources"]).iter().enumerate() {
        let at = index(&child(path, "sources"), at);
        let kinds = source.as_object().into_iter().flatten();
        for (kind, source) in kinds {
            projection(check, path, &child(&at, kind), kind, source);
        }
        if source.as_object().is_some_and(|kinds| kinds.len() > 1) {
            check.forbidden(&at, "may not specify more than 1 volume type per source");
        }
    }
}

/// One source at `path`; what a token lacks is told of under the volume's path.
fn projection(check: &mut Check, volume_path: &str, path: &str, kind: &str, source: &Value) {
    match kind {
        "secret" | "configMap" => {
            require(check, path, source, "name");
            items(check, path, source);
        }
        "downwardAPI" => downward_files(check, path, source),
        "serviceAccountToken" => {
            expiration(check, &child(path, "expirationSeconds"), source);
            item_path(check, volume_path, source);
        }
        "clusterTrustBundle" => trust_bundle(check, path, source),
        _ => {}
    }
}

fn expiration(check: &mut Check, path: &str, source: &Value) {
    match int_at(source, &["expirationSeconds"]) {
        Some(seconds) if seconds < MIN_TOKEN_SECONDS => {
            check.invalid(path, seconds, "may not specify a duration less than 10 minutes");
        }
        Some(seconds) if seconds > 1 << 32 => {
            check.invalid(path, seconds, "may not specify a duration larger than 2^32 seconds");
        }
        _ => {}
    }
}

fn trust_bundle(check: &mut Check, path: &str, source: &Value) {
    match (source.get("name"), source.get("signerName")) {
        (None, None) => check.required(path, "either name or signerName must be specified"),
        (Some(_), Some(_)) => {
            let why = "only one of name and signerName may be used";
            check.invalid(path, source.clone(), why);
        }
        _ => {}
    }
    item_path(check, path, source);
}
