//! Validation of volumes.

use std::collections::HashSet;

use hansa_api::field::{child, index};
use hansa_api::meta::{int_at, list_at, str_at};
use hansa_api::names;
use serde_json::Value;

use super::containers::local_path;
use crate::registry::check::Check;

const MIN_TOKEN_SECONDS: i64 = 600;

/// A pod's volumes; returns their names.
pub(crate) fn validate_all<'a>(check: &mut Check, path: &str, spec: &'a Value) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    let path = child(path, "volumes");
    for (at, volume) in list_at(spec, &["volumes"]).iter().enumerate() {
        let path = index(&path, at);
        let name = str_at(volume, &["name"]);
        check.required_text(&child(&path, "name"), name, names::dns1123_label);
        if !name.is_empty() && !seen.insert(name) {
            check.duplicate(&child(&path, "name"), name);
        }
        validate(check, &path, volume);
    }
    seen
}

fn validate(check: &mut Check, path: &str, volume: &Value) {
    let fields = volume.as_object().into_iter().flatten();
    let sources: Vec<_> = fields.filter(|(name, _)| *name != "name").collect();
    if sources.is_empty() {
        check.required(path, "must specify a volume type");
    }
    for (name, _) in sources.iter().skip(1) {
        check.forbidden(&child(path, name), "may not specify more than 1 volume type");
    }
    if let Some((name, source)) = sources.first() {
        validate_source(check, &child(path, name), name, source);
    }
}

fn validate_source(check: &mut Check, path: &str, kind: &str, source: &Value) {
    let mut require = |field: &str| {
        if str_at(source, &[field]).is_empty() {
            check.required(&child(path, field), "");
        }
    };
    match kind {
        "hostPath" => {
            require("path");
            let text = str_at(source, &["path"]);
            if text.split('/').any(|part| part == "..") {
                check.invalid(&child(path, "path"), text, "must not contain '..'");
            }
        }
        "secret" => {
            require("secretName");
            items(check, path, source);
        }
        "configMap" => {
            require("name");
            items(check, path, source);
        }
        "persistentVolumeClaim" => require("claimName"),
        "nfs" => {
            require("server");
            require("path");
        }
        "csi" => require("driver"),
        "projected" => projected(check, path, source),
        _ => {}
    }
}

fn items(check: &mut Check, path: &str, source: &Value) {
    mode(check, &child(path, "defaultMode"), int_at(source, &["defaultMode"]));
    for (at, item) in list_at(source, &["items"]).iter().enumerate() {
        let path = index(&child(path, "items"), at);
        if str_at(item, &["key"]).is_empty() {
            check.required(&child(&path, "key"), "");
        }
        item_path(check, &path, item);
        mode(check, &child(&path, "mode"), int_at(item, &["mode"]));
    }
}

fn item_path(check: &mut Check, path: &str, item: &Value) {
    let at = child(path, "path");
    match str_at(item, &["path"]) {
        "" => check.required(&at, ""),
        text => local_path(check, &at, text),
    }
}

fn mode(check: &mut Check, path: &str, mode: Option<i64>) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        check.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn projected(check: &mut Check, path: &str, source: &Value) {
    mode(check, &child(path, "defaultMode"), int_at(source, &["defaultMode"]));
    for (at, source) in list_at(source, &["sources"]).iter().enumerate() {
        let path = index(&child(path, "sources"), at);
        let kinds: Vec<_> = source.as_object().into_iter().flatten().collect();
        for (name, _) in kinds.iter().skip(1) {
            check.forbidden(
                &child(&path, name),
                "may not specify more than 1 volume type per source",
            );
        }
        let Some((kind, source)) = kinds.first() else {
            check.required(&path, "must specify a volume type");
            continue;
        };
        let path = child(&path, kind);
        match kind.as_str() {
            "secret" | "configMap" => {
                if str_at(source, &["name"]).is_empty() {
                    check.required(&child(&path, "name"), "");
                }
                items(check, &path, source);
            }
            "serviceAccountToken" => token(check, &path, source),
            _ => {}
        }
    }
}

fn token(check: &mut Check, path: &str, source: &Value) {
    let at = child(path, "expirationSeconds");
    match int_at(source, &["expirationSeconds"]) {
        Some(seconds) if seconds < MIN_TOKEN_SECONDS => {
            check.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
        }
        Some(seconds) if seconds > 1 << 32 => {
            check.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
        }
        _ => {}
    }
    item_path(check, path, source);
}
