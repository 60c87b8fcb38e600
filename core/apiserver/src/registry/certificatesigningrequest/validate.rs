//! What a request may say, and what each of its subresources may change.

use std::collections::HashSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{int_at, list_at, str_at};
use hansa_api::names;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::conditions;
use crate::registry::check::Check;

const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const CONDITIONS: &str = "status.conditions";
const CERTIFICATE: &str = "status.certificate";
/// Everything that a certificate can be for, sorted.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Which part of a request is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Request,
    Status,
    Approval,
}

/// The DER of a PEM-encoded request, as base64 has it in `spec.request`.
pub(crate) fn parse_request(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
    let pem = BASE64_STANDARD.decode(text).map_err(|_| wrong())?;
    let block = Pem::iter_from_buffer(&pem).next().and_then(Result::ok);
    let block = block.filter(|block| block.label == "CERTIFICATE REQUEST").ok_or_else(wrong)?;
    Ok(block.contents)
}

/// A new request.
pub(super) fn create(check: &mut Check, obj: &Value) {
    validate(check, obj, &Value::Null);
}

/// A changed request.
pub(super) fn update(check: &mut Check, obj: &Value, old: &Value, write: Write) {
    validate(check, obj, old);
    let count = |obj, kind| conditions::of(obj, kind).count();
    for kind in ["Approved", "Denied", "Failed"] {
        if count(obj, kind) < count(old, kind) {
            let why = format!("updates may not remove a condition of type {kind:?}");
            check.forbidden(CONDITIONS, &why);
        }
    }
    for kind in ["Approved", "Denied"].into_iter().filter(|_| write != Write::Approval) {
        let what = if count(obj, kind) > count(old, kind) {
            "add"
        } else if count(obj, kind) == count(old, kind)
            && !conditions::of(obj, kind).eq(conditions::of(old, kind))
        {
            "modify"
        } else {
            continue;
        };
        check
            .forbidden(CONDITIONS, &format!("updates may not {what} a condition of type {kind:?}"));
    }
    let [new, old] = [obj, old].map(|obj| str_at(obj, &["status", "certificate"]));
    if new != old && write != Write::Status {
        check.forbidden(CERTIFICATE, "updates may not set certificate content");
    } else if new != old && !old.is_empty() {
        check.forbidden(CERTIFICATE, "updates may not modify existing certificate content");
    }
}

fn validate(check: &mut Check, obj: &Value, old: &Value) {
    let spec = &obj["spec"];
    let request = str_at(spec, &["request"]);
    if let Err(why) = verify(request) {
        check.invalid("spec.request", request, &why);
    }
    usages(check, list_at(spec, &["usages"]), list_at(old, &["spec", "usages"]));
    let signer = str_at(spec, &["signerName"]);
    if signer == LEGACY_SIGNER && str_at(old, &["spec", "signerName"]) != LEGACY_SIGNER {
        let why = "the legacy signerName is not allowed via this API version";
        check.invalid("spec.signerName", signer, why);
    } else {
        signer_name(check, "spec.signerName", signer);
    }
    let seconds = int_at(spec, &["expirationSeconds"]);
    if let Some(seconds) = seconds.filter(|seconds| *seconds < 600) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        check.invalid("spec.expirationSeconds", seconds, why);
    }
    validate_conditions(check, obj, old);
    let [new, old] = [obj, old].map(|obj| str_at(obj, &["status", "certificate"]));
    if new != old
        && certificate(old).is_ok()
        && let Err(why) = certificate(new)
    {
        check.invalid(CERTIFICATE, "<certificate data>", &why);
    }
}

fn verify(request: &str) -> Result<(), String> {
    let der = parse_request(request)?;
    let (_, request) =
        X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
    request.verify_signature().map_err(|error| format!("x509: {error}"))
}

/// Unknown and repeated usages stay where they were before.
fn usages(check: &mut Check, usages: &[Value], old: &[Value]) {
    let path = "spec.usages";
    if usages.is_empty() {
        check.required(path, "");
    }
    let unknown = |usage: &Value| !USAGES.contains(&usage.as_str().unwrap_or_default());
    let (mut strange, mut repeated) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for (at, usage) in usages.iter().enumerate() {
        if unknown(usage) {
            strange.push(FieldError::not_supported(index(path, at), usage.clone(), &USAGES));
        }
        if !seen.insert(usage.as_str()) {
            repeated.push(FieldError::duplicate(index(path, at), usage.clone()));
        }
    }
    if !old.iter().any(unknown) {
        check.errors.extend(strange);
    }
    let distinct: HashSet<_> = old.iter().map(Value::as_str).collect();
    if distinct.len() == old.len() {
        check.errors.extend(repeated);
    }
}

/// `example.com/signer-name`.
fn signer_name(check: &mut Check, path: &str, name: &str) {
    if name.is_empty() {
        return check.required(path, "");
    }
    let [domain, rest] = name.split('/').collect::<Vec<_>>()[..] else {
        let why = "must be a fully qualified domain and path of the form \
                   'example.com/signer-name'";
        return check.invalid(path, name, why);
    };
    if domain.len() > names::SUBDOMAIN_MAX {
        check.add(FieldError::too_long(path, names::SUBDOMAIN_MAX));
    }
    labels(check, path, domain, names::dns1123_label);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        check.invalid(path, domain, why);
    }
    labels(check, path, rest, names::dns1123_subdomain);
    let longest = 2 * (names::SUBDOMAIN_MAX + 1) + names::LABEL_MAX;
    if name.len() > longest {
        check.add(FieldError::too_long(path, longest));
    }
}

/// The first bad label of a dotted text.
fn labels(check: &mut Check, path: &str, text: &str, rule: fn(&str) -> Vec<String>) {
    let bad = text.split('.').find(|label| !rule(label).is_empty());
    for why in bad.into_iter().flat_map(rule) {
        let label = bad.unwrap_or_default();
        check.invalid(path, text, &format!("validating label {label:?}: {why}"));
    }
}

fn validate_conditions(check: &mut Check, obj: &Value, old: &Value) {
    let all = list_at(obj, &["status", "conditions"]);
    let kinds = |obj| list_at(obj, &["status", "conditions"]).iter().map(|one| &one["type"]);
    let distinct: HashSet<_> = kinds(old).map(Value::as_str).collect();
    let (repeats, unnamed) =
        (distinct.len() != kinds(old).count(), kinds(old).any(|kind| *kind == ""));
    let both = ["Approved", "Denied"].iter().all(|kind| conditions::of(old, kind).count() > 0);
    let mut seen = HashSet::new();
    for (at, condition) in all.iter().enumerate() {
        let path = index(CONDITIONS, at);
        let kind = str_at(condition, &["type"]);
        if kind.is_empty() && !unnamed {
            check.required(&child(&path, "type"), "");
        }
        let known: &[&str] = match kind {
            "Approved" | "Denied" | "Failed" => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        check.one_of(&child(&path, "status"), str_at(condition, &["status"]), known);
        let opposite = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !both && seen.contains(opposite) && !opposite.is_empty() {
            let why = "Approved and Denied conditions are mutually exclusive";
            check.invalid(CONDITIONS, kind, why);
        }
        if !seen.insert(kind) && !repeats {
            check.duplicate(&child(&path, "type"), kind);
        }
    }
}

/// PEM blocks that are all certificates.
fn certificate(text: &str) -> Result<(), String> {
    let pem = BASE64_STANDARD.decode(text).map_err(|error| error.to_string())?;
    if pem.is_empty() {
        return Ok(());
    }
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(&pem) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            let label = block.label;
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {label:?}"));
        }
        X509Certificate::from_der(&block.contents).map_err(|error| format!("x509: {error}"))?;
        blocks += 1;
    }
    if blocks == 0 {
        return Err("must contain at least one CERTIFICATE PEM block".into());
    }
    match has_headers(&pem) {
        true => Err("no PEM block headers are permitted".into()),
        false => Ok(()),
    }
}

/// Whether a block has lines such as `Proc-Type: 4,ENCRYPTED`.
fn has_headers(pem: &[u8]) -> bool {
    let mut inside = false;
    String::from_utf8_lossy(pem).lines().any(|line| {
        let header = inside && line.contains(':');
        inside = (inside || line.starts_with("-----BEGIN")) && !line.starts_with("-----END");
        header
    })
}
