//! Validation of containers.

use std::collections::HashSet;

use hansa_api::FieldError;
use hansa_api::field::{child, index, key};
use hansa_api::meta::{list_at, map_at, str_at};
use hansa_api::names;
use hansa_api::quantity::Quantity;
use serde_json::Value;

use super::{downward, security};
use crate::registry::check::{Check, entries};

/// What containers of one pod share.
pub(crate) struct Pod<'a> {
    /// Names of its volumes.
    pub(crate) volumes: HashSet<&'a str>,
    /// Whether ports are the host's.
    pub(crate) host_network: bool,
    /// Whether users are the host's.
    pub(crate) host_users: bool,
    /// Whether its containers are never started again.
    pub(crate) runs_once: bool,
}

const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// All of a pod's containers, by list.
pub(crate) fn validate_all(check: &mut Check, path: &str, spec: &Value, pod: &Pod<'_>) {
    let containers_path = child(path, "containers");
    if list_at(spec, &["containers"]).is_empty() {
        check.required(&containers_path, "");
    }
    let mut seen = HashSet::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let path = child(path, list);
        for (at, container) in list_at(spec, &[list]).iter().enumerate() {
            let path = index(&path, at);
            let name = str_at(container, &["name"]);
            if !name.is_empty() && !seen.insert(name) {
                check.duplicate(&child(&path, "name"), name);
            }
            validate(check, &path, container, pod);
            if list == "initContainers" {
                init_rules(check, &path, container);
            }
        }
    }
}

fn init_rules(check: &mut Check, path: &str, container: &Value) {
    let policy = str_at(container, &["restartPolicy"]);
    if policy == "Always" {
        return;
    }
    for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if container.get(name).is_some() {
            let why = "may not be set for init containers without restartPolicy=Always";
            check.forbidden(&child(path, name), why);
        }
    }
}

fn validate(check: &mut Check, path: &str, container: &Value, pod: &Pod<'_>) {
    let name = str_at(container, &["name"]);
    check.required_text(&child(path, "name"), name, names::dns1123_label);
    image(check, &child(path, "image"), str_at(container, &["image"]));
    let text = |field: &str| str_at(container, &[field]);
    check.one_of(
        &child(path, "terminationMessagePolicy"),
        text("terminationMessagePolicy"),
        &["File", "FallbackToLogsOnError"],
    );
    check.one_of(
        &child(path, "imagePullPolicy"),
        text("imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
    );
    ports(check, &child(path, "ports"), container, pod);
    environment(check, path, container, pod);
    mounts(check, &child(path, "volumeMounts"), container, pod);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(value) = container.get(name) {
            probe(check, &child(path, name), value, name != "readinessProbe");
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(value) = container["lifecycle"].get(hook) {
            handler(check, &format!("{path}.lifecycle.{hook}"), value);
        }
    }
    resources(check, &child(path, "resources"), &container["resources"]);
    resize_policy(check, &child(path, "resizePolicy"), container, pod.runs_once);
    let policies = ["Always", "Never", "OnFailure"];
    check.supported(&child(path, "restartPolicy"), container.get("restartPolicy"), &policies);
    let context = &container["securityContext"];
    security::of_container(check, &child(path, "securityContext"), context, pod.host_users);
}

/// How a container's resources change while it runs.
fn resize_policy(check: &mut Check, path: &str, container: &Value, runs_once: bool) {
    let fields: [(&str, &[&str]); 2] = [
        ("resourceName", &["cpu", "memory"]),
        ("restartPolicy", &["NotRequired", "RestartContainer"]),
    ];
    let mut seen = HashSet::new();
    for (at, policy) in list_at(container, &["resizePolicy"]).iter().enumerate() {
        let resource = str_at(policy, &["resourceName"]);
        if !seen.insert(resource) {
            check.duplicate(&index(path, at), resource);
        }
        for (field, supported) in fields {
            check.one_of(path, str_at(policy, &[field]), supported);
        }
        let restart = str_at(policy, &["restartPolicy"]);
        if runs_once && restart != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            check.invalid(path, restart, why);
        }
    }
}

fn image(check: &mut Check, path: &str, image: &str) {
    if image.is_empty() {
        check.required(path, "");
    } else if image.trim() != image {
        check.invalid(path, image, "must not have leading or trailing whitespace");
    }
}

fn ports(check: &mut Check, path: &str, container: &Value, pod: &Pod<'_>) {
    let mut names_seen = HashSet::new();
    for (at, port) in list_at(container, &["ports"]).iter().enumerate() {
        let path = index(path, at);
        let name = str_at(port, &["name"]);
        if !name.is_empty() {
            let name_path = child(&path, "name");
            let complaints = names::port_name(name);
            if complaints.is_empty() && !names_seen.insert(name) {
                check.duplicate(&name_path, name);
            }
            check.text(&name_path, name, complaints);
        }
        let number = port["containerPort"].as_i64().unwrap_or_default();
        match number {
            0 => check.required(&child(&path, "containerPort"), ""),
            _ => check.range(&child(&path, "containerPort"), Some(number), 1, 65535),
        }
        let host = port["hostPort"].as_i64().unwrap_or_default();
        if host != 0 {
            check.range(&child(&path, "hostPort"), Some(host), 1, 65535);
        }
        if pod.host_network && host != number {
            let why = "must match `containerPort` when `hostNetwork` is true";
            check.invalid(&child(&path, "hostPort"), host, why);
        }
        let protocol = str_at(port, &["protocol"]);
        check.one_of(&child(&path, "protocol"), protocol, &["SCTP", "TCP", "UDP"]);
    }
}

fn environment(check: &mut Check, path: &str, container: &Value, pod: &Pod<'_>) {
    let env = child(path, "env");
    for (at, variable) in list_at(container, &["env"]).iter().enumerate() {
        let path = index(&env, at);
        let name = str_at(variable, &["name"]);
        check.required_text(&child(&path, "name"), name, names::env_var_name);
        if let Some(source) = variable.get("valueFrom") {
            let has_value = !str_at(variable, &["value"]).is_empty();
            value_source(check, &child(&path, "valueFrom"), source, has_value, pod);
        }
    }
    let env_from = child(path, "envFrom");
    for (at, source) in list_at(container, &["envFrom"]).iter().enumerate() {
        let path = index(&env_from, at);
        let set: Vec<_> =
            ["configMapRef", "secretRef"].into_iter().filter(|n| source.get(n).is_some()).collect();
        match set[..] {
            [] => {
                let why = "must specify one of: `configMapRef` or `secretRef`";
                check.invalid(&env_from, "", why);
            }
            [one] => {
                let name = str_at(source, &[one, "name"]);
                let at = format!("{path}.{one}.name");
                check.required_text(&at, name, names::dns1123_subdomain);
            }
            _ => {
                let why = "may not have more than one field specified at a time";
                check.invalid(&env_from, "", why);
            }
        }
    }
}

const VALUE_SOURCES: [&str; 5] =
    ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

fn value_source(check: &mut Check, path: &str, source: &Value, has_value: bool, pod: &Pod<'_>) {
    let set: Vec<_> = VALUE_SOURCES.into_iter().filter(|name| source.get(name).is_some()).collect();
    for one in &set {
        one_source(check, &child(path, one), one, &source[one], pod);
    }
    match set[..] {
        [] => {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, \
                       `secretKeyRef` or `fileKeyRef`";
            check.invalid(path, "", why);
        }
        [_, ..] if has_value => {
            check.invalid(path, "", "may not be specified when `value` is not empty");
        }
        [_] => {}
        _ => check.invalid(path, "", "may not have more than one field specified at a time"),
    }
}

fn one_source(check: &mut Check, path: &str, kind: &str, source: &Value, pod: &Pod<'_>) {
    match kind {
        "fieldRef" => downward::field(check, path, source, &downward::ENVIRONMENT_FIELDS),
        "resourceFieldRef" => downward::resource(check, path, source, false),
        "configMapKeyRef" | "secretKeyRef" => {
            let name = str_at(source, &["name"]);
            check.text(&child(path, "name"), name, names::dns1123_subdomain(name));
            let wanted = str_at(source, &["key"]);
            check.required_text(&child(path, "key"), wanted, names::config_map_key);
        }
        "fileKeyRef" => {
            for field in ["key", "path", "volumeName"] {
                if str_at(source, &[field]).is_empty() {
                    check.required(&child(path, field), "");
                }
            }
            let volume = str_at(source, &["volumeName"]);
            if !pod.volumes.contains(volume) {
                check.add(FieldError::not_found(child(path, "volumeName"), volume));
            }
        }
        _ => {}
    }
}

fn mounts(check: &mut Check, path: &str, container: &Value, pod: &Pod<'_>) {
    let mut seen = HashSet::new();
    for (at, mount) in list_at(container, &["volumeMounts"]).iter().enumerate() {
        let at = index(path, at);
        let name = str_at(mount, &["name"]);
        if name.is_empty() {
            check.required(&child(&at, "name"), "");
        }
        if !pod.volumes.contains(name) {
            check.add(FieldError::not_found(child(&at, "name"), name));
        }
        let target = str_at(mount, &["mountPath"]);
        if target.is_empty() {
            check.required(&child(&at, "mountPath"), "");
        }
        if !seen.insert(target) {
            check.invalid(&child(&at, "mountPath"), target, "must be unique");
        }
        let expression = str_at(mount, &["subPathExpr"]);
        if !expression.is_empty() && !str_at(mount, &["subPath"]).is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            check.invalid(&child(&at, "subPathExpr"), expression, why);
        }
        for name in ["subPath", "subPathExpr"] {
            local_path(check, &child(path, name), str_at(mount, &[name]));
        }
        propagation(check, &child(path, "mountPropagation"), mount, container);
        recursion(check, &child(path, "recursiveReadOnly"), mount);
    }
}

fn propagation(check: &mut Check, path: &str, mount: &Value, container: &Value) {
    let supported = ["Bidirectional", "HostToContainer", "None"];
    check.supported(path, mount.get("mountPropagation"), &supported);
    let privileged = container["securityContext"]["privileged"] == true;
    if mount["mountPropagation"] == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        check.forbidden(path, why);
    }
}

fn recursion(check: &mut Check, path: &str, mount: &Value) {
    let supported = ["Disabled", "Enabled", "IfPossible"];
    check.supported(path, mount.get("recursiveReadOnly"), &supported);
    if !matches!(str_at(mount, &["recursiveReadOnly"]), "Enabled" | "IfPossible") {
        return;
    }
    if mount["readOnly"] != true {
        check.forbidden(path, "may only be specified when readOnly is true");
    }
    if !matches!(str_at(mount, &["mountPropagation"]), "" | "None") {
        let why = "may only be specified when mountPropagation is None or not specified";
        check.forbidden(path, why);
    }
}

/// A path that stays where it is put.
pub(crate) fn local_path(check: &mut Check, path: &str, text: &str) {
    if text.starts_with('/') {
        check.invalid(path, text, "must be a relative path");
    }
    if text.split('/').any(|part| part == "..") {
        check.invalid(path, text, "must not contain '..'");
    }
}

fn probe(check: &mut Check, path: &str, probe: &Value, once: bool) {
    handler(check, path, probe);
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        check.non_negative_field(path, probe, name);
    }
    let threshold = probe["successThreshold"].as_i64().unwrap_or(1);
    if once && threshold != 1 {
        check.invalid(&child(path, "successThreshold"), threshold, "must be 1");
    }
}

fn handler(check: &mut Check, path: &str, handler: &Value) {
    let all = HANDLERS.iter().chain(&["sleep"]);
    let set: Vec<_> = all.filter(|name| handler.get(**name).is_some()).collect();
    if set.is_empty() {
        check.required(path, "must specify a handler type");
    }
    for extra in set.iter().skip(1) {
        check.forbidden(&child(path, extra), "may not specify more than 1 handler type");
    }
    let Some(name) = set.first() else { return };
    let (path, body) = (child(path, name), &handler[**name]);
    match **name {
        "exec" if list_at(body, &["command"]).is_empty() => {
            check.required(&child(&path, "command"), "");
        }
        "httpGet" => {
            if str_at(body, &["path"]).is_empty() {
                check.required(&child(&path, "path"), "");
            }
            check.port(&child(&path, "port"), &body["port"]);
            let scheme = str_at(body, &["scheme"]);
            check.optional_one_of(&child(&path, "scheme"), scheme, &["HTTP", "HTTPS"]);
        }
        "tcpSocket" | "grpc" => check.port(&child(&path, "port"), &body["port"]),
        _ => {}
    }
}

/// A container's requests and limits.
pub(crate) fn resources(check: &mut Check, path: &str, resources: &Value) {
    for list in ["limits", "requests"] {
        for (name, amount) in entries(resources, &[list]) {
            let path = key(&child(path, list), name);
            resource_name(check, &path, name);
            let amount = amount.as_str().unwrap_or_default();
            if amount.parse::<Quantity>().is_ok_and(|amount| amount.is_negative()) {
                check.invalid(&path, amount, "must be greater than or equal to 0");
            }
        }
    }
    let limits = map_at(resources, &["limits"]);
    for (name, request) in entries(resources, &["requests"]) {
        let Some(limit) = limits.and_then(|limits| limits.get(name)).and_then(Value::as_str) else {
            continue;
        };
        let request = request.as_str().unwrap_or_default();
        let parsed = (request.parse::<Quantity>(), limit.parse::<Quantity>());
        if let (Ok(asked), Ok(bound)) = parsed
            && asked > bound
        {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            check.invalid(&child(path, "requests"), request, &why);
        }
    }
}

/// A resource that containers can have.
pub(crate) fn resource_name(check: &mut Check, path: &str, name: &str) {
    check.text(path, name, names::qualified_name(name));
    let standard = STANDARD.contains(&name) || name.starts_with("hugepages-");
    if !name.contains('/') && !standard {
        check.invalid(path, name, "must be a standard resource type or fully qualified");
        check.invalid(path, name, "must be a standard resource for containers");
    }
}
