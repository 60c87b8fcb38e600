//! How drivers, pools, attributes and the rest are named.

use hansa_api::field::FieldError;
use hansa_api::names;
use serde_json::Value;

use crate::registry::check::Check;
pub(super) use crate::registry::provisioner::csi_driver as driver;

const MAX_ID: usize = 32;

/// A label that may not be empty: devices, requests, counters.
pub(super) fn label(check: &mut Check, path: &str, name: &str) {
    check.text(path, name, names::dns1123_label(name));
}

/// The same, where a missing one is `Required`.
pub(super) fn required_label(check: &mut Check, path: &str, name: &str) {
    check.required_text(path, name, names::dns1123_label);
}

/// A pool: subdomains, separated by slashes.
pub(super) fn pool(check: &mut Check, path: &str, name: &str) {
    if name.is_empty() {
        return check.required(path, "");
    }
    if name.len() > names::SUBDOMAIN_MAX {
        check.add(FieldError::too_long(path, names::SUBDOMAIN_MAX));
    }
    for part in name.split('/') {
        check.text(path, part, names::dns1123_subdomain(part));
    }
}

/// An attribute or capacity, with an optional domain.
pub(super) fn qualified(check: &mut Check, path: &str, name: &str) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(check, path, id),
        [domain, id] => {
            match domain {
                "" => check.invalid(path, "", "the domain must not be empty"),
                domain => driver(check, path, domain),
            }
            match id {
                "" => check.invalid(path, "", "the name must not be empty"),
                id => identifier(check, path, id),
            }
        }
        _ => {}
    }
}

/// An attribute with its domain.
pub(super) fn fully_qualified(check: &mut Check, path: &str, name: &str) {
    qualified(check, path, name);
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        check.invalid(path, name, why);
    }
}

fn identifier(check: &mut Check, path: &str, id: &str) {
    if id.len() > MAX_ID {
        check.add(FieldError::too_long(path, MAX_ID));
    }
    check.text(path, id, names::c_identifier(id));
}

/// The id of a share of a device.
pub(super) fn uid(check: &mut Check, path: &str, uid: &str) {
    if uuid::Uuid::try_parse(uid).is_err() {
        let why = match uid.len() {
            32 | 36 | 38 | 45 => "invalid UUID format".to_owned(),
            length => format!("invalid UUID length: {length}"),
        };
        check.invalid(path, uid, &format!("error validating uid: {why}"));
    } else if uid.len() != 36 || uid.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let why = "uid must be in RFC 4122 normalized form, \
                   `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        check.invalid(path, uid, why);
    }
}

/// The name of a request, or of a request and one of its alternatives.
pub(super) fn request_reference(check: &mut Check, path: &str, name: &str, claim: &Value) {
    let why = "must be the name of a request in the claim or the name of a request and a \
               subrequest separated by '/'";
    let parts: Vec<_> = name.split('/').collect();
    if parts.len() > 2 {
        return check.invalid(path, name, why);
    }
    for part in &parts {
        label(check, path, part);
    }
    let named = |list: &Value, name: &str| {
        list.as_array().into_iter().flatten().find(|one| one["name"] == name).cloned()
    };
    let found = named(&claim["requests"], parts[0]).filter(|request| {
        parts.get(1).is_none_or(|part| named(&request["firstAvailable"], part).is_some())
    });
    if found.is_none() {
        check.invalid(path, name, why);
    }
}
