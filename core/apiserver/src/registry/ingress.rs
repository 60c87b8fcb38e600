//! Ingresses.

use hansa_api::address;
use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{self, at, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

/// The annotation that named the class before there was a field for it.
const CLASS: &str = "kubernetes.io/ingress.class";
const NOT_IP: &str = "must be a DNS name, not an IP address";
/// How many hosts a table shows.
const SHOWN: usize = 3;

pub(super) fn resource() -> Resource {
    Resource::new("networking.k8s.io", "v1", "Ingress", "ingresses")
        .namespaced()
        .short(&["ing"])
        .status()
}

/// The strategy of Ingresses.
pub(super) struct Ingresses;

impl Strategy for Ingresses {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, &obj["spec"], Tolerated::default());
            let field = at(obj, &["spec", "ingressClassName"]);
            let annotation = meta::annotation(obj, CLASS);
            if let (Some(annotation), Some(field)) = (annotation, field)
                && field != annotation
            {
                let why = "must match `ingressClassName` when both are specified";
                check.invalid(&child("annotations", CLASS), annotation, why);
            }
        })
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"], Tolerated::of(&old["spec"])))
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| validate_status(check, obj, old))
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let by_annotation = meta::annotation(obj, CLASS).is_some()
            && at(obj, &["spec", "ingressClassName"]).is_none();
        if old.is_none() && by_annotation {
            return vec![format!(
                "annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead"
            )];
        }
        points(obj)
            .filter_map(|(path, point)| {
                let ip = str_at(point, &["ip"]);
                address::ip_warning(&path, ip)
            })
            .collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Class", "Its IngressClass."),
            Column::new("Hosts", "The hosts that its rules are about."),
            Column::new("Address", "Where its load balancer is reached."),
            Column::new("Ports", "The ports that are open."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &obj["spec"];
        let ports = if list_at(spec, &["tls"]).is_empty() { "80" } else { "80, 443" };
        vec![
            cells::name(obj),
            cells::text(spec, "ingressClassName", cells::NONE),
            hosts(list_at(spec, &["rules"])).into(),
            addresses(obj).into(),
            ports.into(),
            cells::age(obj, now),
        ]
    }
}

fn hosts(rules: &[Value]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    for rule in rules {
        if shown.len() == SHOWN {
            return format!("{} + {} more...", shown.join(","), rules.len() - SHOWN);
        }
        shown.extend(Some(str_at(rule, &["host"])).filter(|host| !host.is_empty()));
    }
    if shown.is_empty() { "*".into() } else { shown.join(",") }
}

fn addresses(obj: &Value) -> String {
    let text = |point| match str_at(point, &["ip"]) {
        "" => str_at(point, &["hostname"]),
        ip => ip,
    };
    let mut all: Vec<_> = points(obj).map(|(_, point)| text(point)).collect();
    all.retain(|text| !text.is_empty());
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

/// The points of the load balancer and their paths.
fn points(obj: &Value) -> impl Iterator<Item = (String, &Value)> {
    let all = list_at(obj, &["status", "loadBalancer", "ingress"]).iter().enumerate();
    all.map(|(at, point)| (index("status.loadBalancer.ingress", at), point))
}

/// Mistakes of older releases that an object may keep.
#[derive(Clone, Copy, Default)]
struct Tolerated {
    /// Secret names that cannot be.
    secret_names: bool,
    /// Anything in rules whose host is a wildcard.
    wildcard_rules: bool,
}

impl Tolerated {
    fn of(old: &Value) -> Self {
        let secrets = list_at(old, &["tls"]).iter().map(|tls| str_at(tls, &["secretName"]));
        let bad = |name: &str| !name.is_empty() && !names::dns1123_subdomain(name).is_empty();
        let wild = |rule: &&Value| str_at(rule, &["host"]).contains('*');
        let wrong = |rule: &Value| !Check::run(|check| rule_value(check, "", rule)).is_empty();
        Self {
            secret_names: secrets.into_iter().any(bad),
            wildcard_rules: list_at(old, &["rules"]).iter().filter(wild).any(wrong),
        }
    }
}

fn validate(check: &mut Check, spec: &Value, tolerated: Tolerated) {
    let (rules, backend) = (list_at(spec, &["rules"]), at(spec, &["defaultBackend"]));
    if rules.is_empty() && backend.is_none() {
        let why = "either `defaultBackend` or `rules` must be specified";
        check.invalid("spec", spec.get("rules").cloned().unwrap_or_default(), why);
    }
    if let Some(backend) = backend {
        validate_backend(check, "spec.defaultBackend", backend);
    }
    for (at, rule) in rules.iter().enumerate() {
        validate_rule(check, &format!("spec.rules[{at}]"), rule, tolerated);
    }
    for (at, tls) in list_at(spec, &["tls"]).iter().enumerate() {
        validate_tls(check, &format!("spec.tls[{at}]"), tls, tolerated);
    }
    if let Some(class) = at(spec, &["ingressClassName"]).and_then(Value::as_str) {
        check.text("spec.ingressClassName", class, names::dns1123_subdomain(class));
    }
}

/// A host, whose first part may be `*`.
fn validate_host(check: &mut Check, path: &str, host: &str) {
    let rule = match host.contains('*') {
        true => names::wildcard_dns1123_subdomain,
        false => names::dns1123_subdomain,
    };
    check.text(path, host, rule(host));
}

fn validate_tls(check: &mut Check, path: &str, tls: &Value, tolerated: Tolerated) {
    for (at, host) in list_at(tls, &["hosts"]).iter().enumerate() {
        let path = format!("{path}.hosts[{at}]");
        validate_host(check, &path, host.as_str().unwrap_or_default());
    }
    if !tolerated.secret_names {
        let name = str_at(tls, &["secretName"]);
        check.optional_text(&child(path, "secretName"), name, names::dns1123_subdomain);
    }
}

fn validate_rule(check: &mut Check, path: &str, rule: &Value, tolerated: Tolerated) {
    let (host, host_path) = (str_at(rule, &["host"]), child(path, "host"));
    if address::sloppy_ip(host).is_some() {
        check.invalid(&host_path, host, NOT_IP);
    }
    if !host.is_empty() {
        validate_host(check, &host_path, host);
    }
    if !host.contains('*') || !tolerated.wildcard_rules {
        rule_value(check, path, rule);
    }
}

fn rule_value(check: &mut Check, path: &str, rule: &Value) {
    let Some(http) = at(rule, &["http"]) else { return };
    let path = child(path, "http.paths");
    let paths = list_at(http, &["paths"]);
    if paths.is_empty() {
        check.required(&path, "");
    }
    for (at, one) in paths.iter().enumerate() {
        validate_path(check, &index(&path, at), one);
    }
}

fn validate_path(check: &mut Check, path: &str, one: &Value) {
    let (text, at_path) = (str_at(one, &["path"]), child(path, "path"));
    match at(one, &["pathType"]).and_then(Value::as_str) {
        None => return check.required(&child(path, "pathType"), "pathType must be specified"),
        Some("Exact" | "Prefix") => exact_path(check, &at_path, text),
        Some("ImplementationSpecific") => {
            if !text.is_empty() && !text.starts_with('/') {
                check.invalid(&at_path, text, "must be an absolute path");
            }
        }
        Some(other) => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"];
            check.add(FieldError::not_supported(child(path, "pathType"), other, &known));
        }
    }
    validate_backend(check, &child(path, "backend"), &one["backend"]);
}

fn exact_path(check: &mut Check, path: &str, text: &str) {
    if !text.starts_with('/') {
        check.invalid(path, text, "must be an absolute path");
    }
    for part in ["//", "/./", "/../", "%2f", "%2F"] {
        if text.contains(part) {
            check.invalid(path, text, &format!("must not contain '{part}'"));
        }
    }
    for end in ["/..", "/."] {
        if text.ends_with(end) {
            check.invalid(path, text, &format!("cannot end with '{end}'"));
        }
    }
}

fn validate_backend(check: &mut Check, path: &str, backend: &Value) {
    match (at(backend, &["resource"]), at(backend, &["service"])) {
        (Some(_), Some(_)) => {
            check.invalid(path, "", "cannot set both resource and service backends");
        }
        (Some(resource), None) => check.typed_reference(&child(path, "resource"), resource),
        (None, Some(service)) => validate_service(check, path, service),
        (None, None) => check.invalid(path, "", "resource or service backend is required"),
    }
}

fn validate_service(check: &mut Check, path: &str, service: &Value) {
    let at = child(path, "service");
    check.required_text(&child(&at, "name"), str_at(service, &["name"]), names::dns1123_label);
    let name = str_at(service, &["port", "name"]);
    let number = cells::int(service, &["port", "number"]);
    match (name, number) {
        ("", 0) => check.required(path, "port name or number is required"),
        ("", number) => check.range(&child(&at, "port.number"), Some(number), 1, 65535),
        (name, 0) => check.text(&child(&at, "port.name"), name, names::port_name(name)),
        _ => check.invalid(path, "", "cannot set both port name & port number"),
    }
}

fn validate_status(check: &mut Check, obj: &Value, old: &Value) {
    let known: Vec<_> = points(old).map(|(_, point)| str_at(point, &["ip"])).collect();
    for (path, point) in points(obj) {
        let (ip, host) = (str_at(point, &["ip"]), str_at(point, &["hostname"]));
        if !known.contains(&ip) {
            check.optional_text(&child(&path, "ip"), ip, address::legacy_ip);
        }
        check.optional_text(&child(&path, "hostname"), host, names::dns1123_subdomain);
        if address::sloppy_ip(host).is_some() {
            check.invalid(&child(&path, "hostname"), host, NOT_IP);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn service() -> Value {
        json!({"service": {"name": "web", "port": {"number": 80}}})
    }

    fn ingress(spec: Value) -> Value {
        json!({"metadata": {"name": "i"}, "spec": spec})
    }

    fn with_path(path: Value) -> Value {
        ingress(json!({"rules": [{"host": "a.b", "http": {"paths": [path]}}]}))
    }

    #[test]
    fn mistakes_are_named() {
        let backend = |backend: Value| ingress(json!({"defaultBackend": backend}));
        let path = |kind: &str, path: &str| {
            with_path(json!({"pathType": kind, "path": path, "backend": service()}))
        };
        refuses(
            &Ingresses,
            [
                (
                    ingress(json!({})),
                    "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
                ),
                (
                    backend(json!({})),
                    "spec.defaultBackend: Invalid value: \"\": resource or service backend is required",
                ),
                (
                    backend(json!({"service": {"name": "a", "port": {}}})),
                    "spec.defaultBackend: Required value: port name or number is required",
                ),
                (
                    backend(json!({"service": {"name": "a", "port": {"number": 70000}}})),
                    "spec.defaultBackend.service.port.number: Invalid value: 70000: must be between 1 \
              and 65535, inclusive",
                ),
                (
                    backend(json!({"resource": {"kind": "", "name": "x"}})),
                    "spec.defaultBackend.resource.kind: Required value",
                ),
                (
                    with_path(json!({"path": "/"})),
                    "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
                ),
                (
                    path("Exact", "a"),
                    "spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path",
                ),
                (
                    path("Prefix", "/a//b"),
                    "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b\": must not contain '//'",
                ),
                (
                    path("Regex", "/"),
                    "spec.rules[0].http.paths[0].pathType: Unsupported value: \"Regex\": supported \
              values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
                ),
                (
                    ingress(json!({"rules": [{"host": "1.2.3.4"}]})),
                    "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP \
              address",
                ),
            ],
        );
    }

    #[test]
    fn a_class_is_named_once() {
        let mut obj = ingress(json!({"defaultBackend": service()}));
        obj["metadata"]["annotations"] = json!({CLASS: "a"});
        assert_eq!(
            Ingresses.warnings(&obj, None),
            ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use \
              'spec.ingressClassName' instead"]
        );
        obj["spec"]["ingressClassName"] = "b".into();
        assert_eq!(
            texts(&Ingresses.validate_create(&obj)),
            ["annotations.kubernetes.io/ingress.class: Invalid value: \"a\": must match \
              `ingressClassName` when both are specified"]
        );
        assert_eq!(texts(&Ingresses.validate_update(&obj, &obj)), [""; 0]);
    }

    #[test]
    fn a_row_shows_where_it_leads() {
        let hosts = ["a", "b", "c", "d", "e"].map(|host| json!({"host": host}));
        let mut obj = ingress(json!({"rules": hosts, "tls": [{}], "ingressClassName": "x"}));
        obj["status"] = json!({"loadBalancer": {"ingress": [
            {"ip": "9.9.9.9"}, {"hostname": "lb"}, {"ip": "10.0.0.1"}]}});
        let row = Ingresses.row(&obj, Timestamp::now());
        let shown = json!(["i", "x", "a,b,c + 2 more...", "10.0.0.1,9.9.9.9,lb", "80, 443"]);
        assert_eq!(json!(row[..5]), shown);
        let row = Ingresses.row(&ingress(json!({})), Timestamp::now());
        assert_eq!(json!(row[..5]), json!(["i", "<none>", "*", "", "80"]));
    }

    #[test]
    fn a_status_names_hosts_and_addresses() {
        let with = |point: Value| json!({"status": {"loadBalancer": {"ingress": [point]}}});
        let bad = with(json!({"hostname": "10.0.0.1"}));
        assert_eq!(
            texts(&Ingresses.validate_status_update(&bad, &json!({}))),
            ["status.loadBalancer.ingress[0].hostname: Invalid value: \"10.0.0.1\": must be a \
              DNS name, not an IP address"]
        );
        let odd = with(json!({"ip": "010.0.0.1"}));
        assert_eq!(Ingresses.validate_status_update(&odd, &json!({})).len(), 1);
        assert!(Ingresses.validate_status_update(&odd, &odd).is_empty());
    }
}
