//! Validation of security contexts, of pods and of their containers.

use std::collections::HashSet;
use std::sync::LazyLock;

use hansa_api::FieldError;
use hansa_api::field::{child, index};
use hansa_api::meta::{at, bool_at, list_at, str_at};
use regex::Regex;
use serde_json::Value;

use super::containers::local_path;
use crate::registry::check::Check;

const SECCOMP_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const SYSCTL_MAX: usize = 253;
const SYSCTL: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

static SYSCTL_NAME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(SYSCTL).expect("the pattern is well formed"));

/// A pod's.
pub(super) fn of_pod(check: &mut Check, path: &str, context: &Value) {
    ids(check, path, context, &["fsGroup", "runAsUser", "runAsGroup"]);
    for (at, group) in list_at(context, &["supplementalGroups"]).iter().enumerate() {
        let path = index(&child(path, "supplementalGroups"), at);
        check.range(&path, group.as_i64(), 0, i64::from(i32::MAX));
    }
    sysctls(check, &child(path, "sysctls"), list_at(context, &["sysctls"]));
    let supported: [(&str, &[&str]); 3] = [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &["MountOption", "Recursive"]),
    ];
    for (field, values) in supported {
        check.supported(&child(path, field), at(context, &[field]), values);
    }
    profiles(check, path, context);
}

/// A container's; `host_users` says that it shares the node's users.
pub(super) fn of_container(check: &mut Check, path: &str, context: &Value, host_users: bool) {
    ids(check, path, context, &["runAsUser", "runAsGroup"]);
    let mount = child(path, "procMount");
    check.supported(&mount, at(context, &["procMount"]), &["Default", "Unmasked"]);
    if host_users && context["procMount"] == "Unmasked" {
        check.invalid(&mount, "Unmasked", "`hostUsers` must be false to use `Unmasked`");
    }
    profiles(check, path, context);
    if context["allowPrivilegeEscalation"] != false {
        return;
    }
    let refuse = |check: &mut Check, what: &str| {
        let why = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
        check.invalid(path, context.clone(), &why);
    };
    if bool_at(context, &["privileged"]) {
        refuse(check, "`privileged` to true");
    }
    if list_at(context, &["capabilities", "add"]).iter().any(|name| name == "CAP_SYS_ADMIN") {
        refuse(check, "`capabilities.Add` CAP_SYS_ADMIN");
    }
}

fn ids(check: &mut Check, path: &str, context: &Value, fields: &[&str]) {
    for name in fields {
        check.range(&child(path, name), context[name].as_i64(), 0, i64::from(i32::MAX));
    }
}

fn sysctls(check: &mut Check, path: &str, sysctls: &[Value]) {
    let mut seen = HashSet::new();
    for (at, sysctl) in sysctls.iter().enumerate() {
        let path = child(&index(path, at), "name");
        let name = str_at(sysctl, &["name"]);
        if name.is_empty() {
            check.required(&path, "");
        } else if name.len() > SYSCTL_MAX || !SYSCTL_NAME.is_match(name) {
            let why = format!("must have at most {SYSCTL_MAX} characters and match regex {SYSCTL}");
            check.invalid(&path, name, &why);
        } else if !seen.insert(name) {
            check.duplicate(&path, name);
        }
    }
}

fn profiles(check: &mut Check, path: &str, context: &Value) {
    for (field, what, needs_type) in [
        ("seccompProfile", "seccomp type", "type is required when seccompProfile is set"),
        ("appArmorProfile", "AppArmor type", "type is required when appArmorProfile is set"),
    ] {
        let Some(profile) = at(context, &[field]) else { continue };
        let path = child(path, field);
        match str_at(profile, &["type"]) {
            "" => check.required(&child(&path, "type"), needs_type),
            known if SECCOMP_TYPES.contains(&known) => {}
            other => {
                check.add(FieldError::not_supported(child(&path, "type"), other, &SECCOMP_TYPES));
            }
        }
        localhost(check, &child(&path, "localhostProfile"), profile, what);
    }
}

fn localhost(check: &mut Check, path: &str, profile: &Value, what: &str) {
    let own = profile.get("localhostProfile").and_then(Value::as_str);
    match (profile["type"] == "Localhost", own) {
        (true, None) => check.required(path, &format!("must be set when {what} is Localhost")),
        (true, Some(text)) => local_path(check, path, text),
        (false, Some(_)) => {
            let why = format!("can only be set when {what} is Localhost");
            check.invalid(path, profile.clone(), &why);
        }
        (false, None) => {}
    }
}
