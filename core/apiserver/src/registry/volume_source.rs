//! Where a PersistentVolume's bytes are: one of many kinds of storage.

use hansa_api::field::{FieldError, child};
use hansa_api::meta::{at, bool_at, int_at, list_at, str_at};
use hansa_api::names;
use regex::Regex;
use serde_json::Value;

use super::check::{Check, entries};
use super::provisioner;

/// Every kind, the word for it in paths of errors, and its fields that may not be empty.
const KINDS: [(&str, &str, &[&str]); 22] = [
    ("hostPath", "hostPath", &["path"]),
    ("gcePersistentDisk", "persistentDisk", &["pdName"]),
    ("awsElasticBlockStore", "awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", "glusterfs", &["endpoints", "path"]),
    ("flocker", "flocker", &[]),
    ("nfs", "nfs", &["server", "path"]),
    ("rbd", "rbd", &["monitors", "image"]),
    ("quobyte", "quobyte", &[]),
    ("cephfs", "cephfs", &["monitors"]),
    ("iscsi", "iscsi", &["targetPortal", "iqn"]),
    ("cinder", "cinder", &["volumeID"]),
    ("fc", "fc", &[]),
    ("flexVolume", "flexVolume", &["driver"]),
    ("azureFile", "azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", "vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", "photonPersistentDisk", &["pdID"]),
    ("portworxVolume", "portworxVolume", &["volumeID"]),
    ("azureDisk", "azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", "scaleIO", &["gateway", "system", "volumeName"]),
    ("local", "local", &["path"]),
    ("storageos", "storageos", &[]),
    ("csi", "csi", &[]),
];

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Kinds that take the old annotation for mount options.
const MOUNTABLE: [&str; 13] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "gcePersistentDisk",
    "glusterfs",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "quobyte",
    "rbd",
    "vsphereVolume",
];

/// Whether the volume's kind takes the old annotation for mount options.
pub(super) fn takes_mount_options(spec: &Value) -> bool {
    MOUNTABLE.iter().any(|kind| at(spec, &[kind]).is_some())
}

/// The fields that say where a volume is, for comparing two.
pub(super) fn of(spec: &Value) -> Vec<(&'static str, &Value)> {
    KINDS.iter().filter_map(|(kind, _, _)| Some((*kind, at(spec, &[kind])?))).collect()
}

/// Exactly one kind, and that one right.
pub(super) fn validate(check: &mut Check, path: &str, spec: &Value, volume: &str) {
    let mut found = false;
    for (kind, word, required) in KINDS {
        let Some(source) = at(spec, &[kind]) else { continue };
        if found && kind != "flexVolume" {
            let kind = if kind == "cephfs" { "cephFS" } else { kind };
            check.forbidden(&child(path, kind), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        let path = child(path, word);
        for field in required.iter().filter(|field| is_empty(source, field)) {
            check.required(&child(&path, field), "");
        }
        details(check, &path, kind, source, volume);
    }
    if !found {
        check.required(path, "must specify a volume type");
    }
}

/// A pod's volume of one of these kinds; its secrets are in the pod's namespace.
pub(super) fn validate_one(
    check: &mut Check,
    path: &str,
    kind: &str,
    source: &Value,
    volume: &str,
) {
    let Some((_, word, required)) = KINDS.iter().find(|(name, _, _)| *name == kind) else { return };
    let path = child(path, word);
    for field in required.iter().filter(|field| is_empty(source, field)) {
        check.required(&child(&path, field), "");
    }
    match kind {
        "cinder" => pod_secret(check, &path, source),
        "storageos" => {
            let name = str_at(source, &["volumeName"]);
            check.required_text(&child(&path, "volumeName"), name, names::dns1123_label);
            pod_secret(check, &path, source);
        }
        kind => details(check, &path, kind, source, volume),
    }
}

fn pod_secret(check: &mut Check, path: &str, source: &Value) {
    let secret = at(source, &["secretRef"]);
    if secret.is_some_and(|secret| str_at(secret, &["name"]).is_empty()) {
        check.required(&child(path, "secretRef.name"), "");
    }
}

fn is_empty(source: &Value, field: &str) -> bool {
    str_at(source, &[field]).is_empty() && list_at(source, &[field]).is_empty()
}

fn details(check: &mut Check, path: &str, kind: &str, source: &Value, volume: &str) {
    let field = |name: &str| child(path, name);
    match kind {
        "hostPath" => {
            no_backsteps(check, &field("path"), str_at(source, &["path"]));
            check.supported(&field("type"), at(source, &["type"]), &HOST_PATH_TYPES);
        }
        "local" => no_backsteps(check, &field("path"), str_at(source, &["path"])),
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            if let Some(part) = int_at(source, &["partition"]).filter(|n| !(0..=255).contains(n)) {
                check.invalid(&field("partition"), part, &names::inclusive_range(1, 255));
            }
        }
        "glusterfs" => glusterfs(check, path, source),
        "flocker" => flocker(check, path, source),
        "nfs" if !str_at(source, &["path"]).starts_with('/') => {
            let text = str_at(source, &["path"]);
            check.invalid(&field("path"), text, "must be an absolute path");
        }
        "quobyte" => quobyte(check, path, source),
        "iscsi" => iscsi(check, path, source, volume),
        "cinder" => secret_fields(check, path, source),
        "fc" => fibre_channel(check, path, source),
        "flexVolume" => flex(check, path, source),
        "azureFile" if source["secretNamespace"].as_str() == Some("") => {
            check.required(&field("secretNamespace"), "");
        }
        "azureDisk" => azure_disk(check, path, source),
        "storageos" => storage_os(check, path, source),
        "csi" => csi(check, path, source),
        _ => {}
    }
}

fn no_backsteps(check: &mut Check, path: &str, text: &str) {
    if text.split('/').any(|part| part == "..") {
        check.invalid(path, text, "must not contain '..'");
    }
}

/// A secret's name and namespace must be there if the secret is.
fn secret_fields(check: &mut Check, path: &str, source: &Value) {
    let Some(secret) = at(source, &["secretRef"]) else { return };
    for field in ["name", "namespace"] {
        if str_at(secret, &[field]).is_empty() {
            check.required(&child(path, &format!("secretRef.{field}")), "");
        }
    }
}

fn glusterfs(check: &mut Check, path: &str, source: &Value) {
    let path = child(path, "endpointsNamespace");
    match source["endpointsNamespace"].as_str() {
        Some("") => {
            let why = "if the endpointnamespace is set, it must be a valid namespace name";
            check.invalid(&path, "", why);
        }
        Some(text) => check.text(&path, text, names::dns1123_label(text)),
        None => {}
    }
}

fn flocker(check: &mut Check, path: &str, source: &Value) {
    let (name, uuid) = (str_at(source, &["datasetName"]), str_at(source, &["datasetUUID"]));
    if name.is_empty() && uuid.is_empty() {
        check.required(path, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        check.invalid(path, "resource", why);
    }
    if name.contains('/') {
        check.invalid(&child(path, "datasetName"), name, "must not contain '/'");
    }
}

fn quobyte(check: &mut Check, path: &str, source: &Value) {
    let why = "must be a host:port pair or multiple pairs separated by commas";
    let registry = str_at(source, &["registry"]);
    let registry_path = child(path, "registry");
    if registry.is_empty() {
        check.required(&registry_path, why);
    } else if str_at(source, &["tenant"]).len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        check.required(&child(path, "tenant"), why);
    } else {
        let is_pair = |pair: &str| {
            pair.rsplit_once(':').is_some_and(|(host, _)| {
                !host.contains(':') || (host.starts_with('[') && host.ends_with(']'))
            })
        };
        for _ in registry.split(',').filter(|pair| !is_pair(pair)) {
            check.invalid(&registry_path, registry, why);
        }
    }
    if str_at(source, &["volume"]).is_empty() {
        check.required(&child(path, "volume"), "");
    }
}

fn iscsi(check: &mut Check, path: &str, source: &Value, volume: &str) {
    let portal = str_at(source, &["targetPortal"]);
    let initiator = source["initiatorName"].as_str();
    if initiator.is_some() && volume.len() + 1 + portal.len() > 64 {
        let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters \
                   if iscsi.initiatorName is specified.";
        check.invalid(&child(path, "targetportal"), portal, why);
    }
    let names = [("iqn", Some(str_at(source, &["iqn"]))), ("initiatorname", initiator)];
    for (field, name) in names {
        let Some(name) = name.filter(|name| !(field == "iqn" && name.is_empty())) else { continue };
        if !is_iscsi_name(name) {
            check.invalid(&child(path, field), name, "must be valid format");
        }
    }
    check.range(&child(path, "lun"), int_at(source, &["lun"]), 0, 255);
    let auth = ["chapAuthDiscovery", "chapAuthSession"];
    let secret = at(source, &["secretRef"]);
    if auth.iter().any(|field| bool_at(source, &[field])) && secret.is_none() {
        check.required(&child(path, "secretRef"), "");
    }
    if secret.is_some_and(|secret| str_at(secret, &["name"]).is_empty()) {
        check.required(&child(path, "secretRef.name"), "");
    }
}

fn is_iscsi_name(name: &str) -> bool {
    let pattern = match name.get(..3) {
        Some("iqn") => r"iqn\.\d{4}-\d{2}\.([[:alnum:]\-.]+)(:[^,;*&$|\s]+)$",
        Some("eui") => r"^eui.[[:alnum:]]{16}$",
        Some("naa") => r"^naa.[[:alnum:]]{32}$",
        _ => return false,
    };
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name))
}

fn fibre_channel(check: &mut Check, path: &str, source: &Value) {
    let (targets, ids) = (list_at(source, &["targetWWNs"]), list_at(source, &["wwids"]));
    let targets_path = child(path, "targetWWNs");
    match (targets.is_empty(), ids.is_empty()) {
        (true, true) => {
            check.required(&targets_path, "must specify either targetWWNs or wwids, but not both");
        }
        (false, false) => {
            let why = "targetWWNs and wwids can not be specified simultaneously";
            check.invalid(&targets_path, targets.to_vec(), why);
        }
        _ => {}
    }
    let lun = int_at(source, &["lun"]);
    if !targets.is_empty() && lun.is_none() {
        check.required(&child(path, "lun"), "lun is required if targetWWNs is specified");
    } else if !targets.is_empty() {
        check.range(&child(path, "lun"), lun, 0, 255);
    }
}

fn flex(check: &mut Check, path: &str, source: &Value) {
    for (key, _) in entries(source, &["options"]) {
        let namespace = key.split_once('/').map_or(key.as_str(), |(namespace, _)| namespace);
        let normalized = format!(".{}", namespace.to_lowercase());
        if normalized.ends_with(".kubernetes.io") || normalized.ends_with(".k8s.io") {
            let path = hansa_api::field::key(&child(path, "options"), key);
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            check.invalid(&path, key.as_str(), why);
        }
    }
}

fn azure_disk(check: &mut Check, path: &str, source: &Value) {
    let modes = ["None", "ReadOnly", "ReadWrite"];
    check.supported(&child(path, "cachingMode"), at(source, &["cachingMode"]), &modes);
    let kinds = ["Dedicated", "Managed", "Shared"];
    check.supported(&child(path, "kind"), at(source, &["kind"]), &kinds);
    let uri = str_at(source, &["diskURI"]);
    let (start, form) = match source["kind"].as_str() {
        Some("Managed") => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/\
             disks/{disk-id}",
        ),
        Some(_) => (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        ),
        None => return,
    };
    if !uri.starts_with(start) {
        check.add(FieldError::not_supported(child(path, "diskURI"), uri, &[form]));
    }
}

fn storage_os(check: &mut Check, path: &str, source: &Value) {
    let volume = str_at(source, &["volumeName"]);
    check.required_text(&child(path, "volumeName"), volume, names::dns1123_label);
    let namespace = str_at(source, &["volumeNamespace"]);
    check.optional_text(&child(path, "volumeNamespace"), namespace, names::dns1123_label);
    secret_fields(check, path, source);
}

fn csi(check: &mut Check, path: &str, source: &Value) {
    provisioner::csi_driver(check, &child(path, "driver"), str_at(source, &["driver"]));
    if str_at(source, &["volumeHandle"]).is_empty() {
        check.required(&child(path, "volumeHandle"), "");
    }
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let Some(secret) = at(source, &[field]) else { continue };
        let path = child(path, field);
        let text = |name| (child(&path, name), str_at(secret, &[name]));
        let (at, name) = text("name");
        check.required_text(&at, name, names::dns1123_subdomain);
        let (at, namespace) = text("namespace");
        check.required_text(&at, namespace, names::dns1123_label);
    }
}
