//! `conversion`: how versions become one another.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta;
use hansa_api::names::dns1035_label;
use serde_json::Value;

use super::Before;
use crate::webhook::config::{validate_ca, validate_service, validate_url};

const PATH: &str = "spec.conversion";
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// `spec.conversion`.
pub(super) fn validate(conversion: &Value, before: Before<'_>) -> Vec<FieldError> {
    if conversion.is_null() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let strategy = meta::str_at(conversion, &["strategy"]);
    match strategy {
        "" => errors.push(FieldError::required(child(PATH, "strategy"), "")),
        "None" | "Webhook" => {}
        other => {
            let known = ["None", "Webhook"];
            errors.push(FieldError::not_supported(child(PATH, "strategy"), other, &known));
        }
    }
    let webhook = &conversion["webhook"];
    match strategy {
        "Webhook" => errors.extend(webhook_errors(webhook, before)),
        _ => errors.extend(leftovers(webhook)),
    }
    errors
}

fn leftovers(webhook: &Value) -> Vec<FieldError> {
    let why = "should not be set when strategy is not set to Webhook";
    let mut errors = Vec::new();
    if !webhook["clientConfig"].is_null() {
        errors.push(FieldError::forbidden(child(PATH, "webhookClientConfig"), why));
    }
    if !meta::list_at(webhook, &["conversionReviewVersions"]).is_empty() {
        errors.push(FieldError::forbidden(child(PATH, "conversionReviewVersions"), why));
    }
    errors
}

fn webhook_errors(webhook: &Value, before: Before<'_>) -> Vec<FieldError> {
    let path = child(PATH, "webhookClientConfig");
    let config = &webhook["clientConfig"];
    let mut errors = Vec::new();
    if config.is_null() {
        errors.push(FieldError::required(&path, "required when strategy is set to Webhook"));
    } else {
        errors.extend(client_config(config, &path, before));
    }
    let versions = meta::list_at(webhook, &["conversionReviewVersions"]);
    errors.extend(reviews(versions, before));
    errors
}

fn client_config(config: &Value, path: &str, before: Before<'_>) -> Vec<FieldError> {
    let mut errors = match (config["url"].as_str(), &config["service"]) {
        (Some(url), Value::Null) => validate_url(url, &child(path, "url")),
        (None, service @ Value::Object(_)) => validate_service(service, &child(path, "service")),
        _ => vec![FieldError::required(path, "exactly one of url or service is required")],
    };
    let bundle = meta::str_at(config, &["caBundle"]);
    if !bundle.is_empty() && !allows_bad_ca(before) {
        errors.extend(validate_ca(bundle, &child(path, "caBundle")));
    }
    errors
}

/// A bundle that was bad, or may still be filled in, does not stand in the way.
fn allows_bad_ca(before: Before<'_>) -> bool {
    let Some(old) = before.old.filter(|_| before.established()) else { return true };
    let at = ["spec", "conversion", "webhook", "clientConfig", "caBundle"];
    let bundle = meta::str_at(old, &at);
    !bundle.is_empty() && !validate_ca(bundle, "").is_empty()
}

fn reviews(versions: &[Value], before: Before<'_>) -> Vec<FieldError> {
    let path = child(PATH, "conversionReviewVersions");
    if versions.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    for (at, version) in versions.iter().enumerate() {
        let text = version.as_str().unwrap_or_default();
        let at = index(&path, at);
        if !seen.insert(text) {
            errors.push(FieldError::invalid(at, text, "duplicate version"));
            continue;
        }
        let why = dns1035_label(text).into_iter();
        errors.extend(why.map(|why| FieldError::invalid(&at, text, why)));
    }
    let known = |list: &[Value]| {
        list.iter().filter_map(Value::as_str).any(|version| REVIEWS.contains(&version))
    };
    let at = ["spec", "conversion", "webhook", "conversionReviewVersions"];
    let old = before.old.map_or(&[][..], |old| meta::list_at(old, &at));
    if !known(versions) && (old.is_empty() || known(old)) {
        let why = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, versions.to_vec(), why));
    }
    errors
}
