//! How a webhook is reached: a URL, or a Service of the cluster.

use hansa_api::field::child;
use hansa_api::meta::{at, int_at, str_at};
use hansa_api::names;
use serde_json::Value;

use crate::registry::check::Check;

const FORM: &str = "; desired format: https://host[/path]";

/// Exactly one of the two, and that one right.
pub(crate) fn validate(check: &mut Check, path: &str, config: &Value) {
    match (config["url"].as_str(), at(config, &["service"])) {
        (Some(url), None) => validate_url(check, &child(path, "url"), url),
        (None, Some(service)) => validate_service(check, &child(path, "service"), service),
        _ => check.required(path, "exactly one of url or service is required"),
    }
}

fn validate_url(check: &mut Check, path: &str, url: &str) {
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    let authority = match scheme {
        "" => "",
        _ => rest.split('/').next().unwrap_or_default(),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if scheme != "https" {
        check.invalid(path, scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        check.invalid(path, host, &format!("host must be specified{FORM}"));
    }
    for (found, what) in [
        (user, "user information is not permitted in the URL"),
        (Some(fragment).filter(|text| !text.is_empty()), "fragments are not permitted in the URL"),
        (
            Some(query).filter(|text| !text.is_empty()),
            "query parameters are not permitted in the URL",
        ),
    ] {
        if let Some(found) = found {
            check.invalid(path, found, what);
        }
    }
}

fn validate_service(check: &mut Check, path: &str, service: &Value) {
    for field in ["name", "namespace"] {
        if str_at(service, &[field]).is_empty() {
            check.required(&child(path, field), "");
        }
    }
    let port = int_at(service, &["port"]).unwrap_or_default();
    let why = names::port_number(port);
    if !why.is_empty() {
        let why = format!("port is not valid: {}", why.join(", "));
        check.invalid(&child(path, "port"), port, &why);
    }
    if let Some(text) = service["path"].as_str() {
        validate_path(check, &child(path, "path"), text);
    }
}

fn validate_path(check: &mut Check, path: &str, text: &str) {
    match text {
        "" | "/" => return,
        "//" => return check.invalid(path, text, "segment[0] may not be empty"),
        text if !text.starts_with('/') => check.invalid(path, text, "must start with a '/'"),
        _ => {}
    }
    let mut characters = text.chars();
    characters.next();
    let inner = characters.as_str();
    let steps = inner.strip_suffix('/').unwrap_or(inner).split('/');
    for (at, step) in steps.enumerate() {
        if step.is_empty() {
            check.invalid(path, text, &format!("segment[{at}] may not be empty"));
            continue;
        }
        for why in names::dns1123_subdomain(step) {
            check.invalid(path, text, &format!("segment[{at}]: {why}"));
        }
    }
}
