//! `clientConfig` of webhooks and converters: where to call, and what is wrong with it.

use hansa_api::field::{FieldError, child};
use hansa_api::meta;
use hansa_api::names::{dns1123_subdomain, port_number};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;

use super::client::HookError;

const FORM: &str = "; desired format: https://host[/path]";

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The host that its certificate is for.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, starting with a slash.
    pub path: String,
    /// The Service to resolve, as namespace and name; `None` if the host is an address.
    pub service: Option<(String, String)>,
}

impl Location {
    /// Reads a `clientConfig`.
    ///
    /// # Errors
    /// If it names neither a service nor a usable URL.
    pub fn read(config: &Value) -> Result<Self, HookError> {
        if let Some(service) = meta::at(config, &["service"]) {
            return Ok(Self::of_service(service));
        }
        let url = meta::str_at(config, &["url"]);
        if url.is_empty() {
            let why = "webhook configuration must have either service or URL";
            return Err(HookError::Config(why.into()));
        }
        let parsed: http::Uri =
            url.parse().map_err(|error| HookError::Config(format!("Unparsable URL: {error}")))?;
        let host = parsed.host().unwrap_or_default();
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_string(),
            port: parsed.port_u16().unwrap_or(443),
            path: parsed.path().to_string(),
            service: None,
        })
    }

    fn of_service(service: &Value) -> Self {
        let (namespace, name) =
            (meta::str_at(service, &["namespace"]), meta::str_at(service, &["name"]));
        let port = meta::int_at(service, &["port"]).and_then(|port| u16::try_from(port).ok());
        let path = meta::str_at(service, &["path"]);
        Self {
            host: format!("{name}.{namespace}.svc"),
            port: port.unwrap_or(443),
            path: format!("/{}", path.trim_start_matches('/')),
            service: Some((namespace.to_string(), name.to_string())),
        }
    }

    /// `host:port`, as messages show it.
    pub fn authority(&self) -> String {
        match (&self.service, self.host.contains(':')) {
            (None, true) => format!("[{}]:{}", self.host, self.port),
            (None, false) if self.port == 443 => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

/// What is wrong with a `url`.
pub fn validate_url(url: &str, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or("") };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (user, host),
        None => ("", authority),
    };
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(FieldError::invalid(path, scheme, why));
    }
    if host.is_empty() {
        errors.push(FieldError::invalid(path, "", format!("host must be specified{FORM}")));
    }
    let forbidden = [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ];
    for (found, why) in forbidden {
        if !found.is_empty() {
            errors.push(FieldError::invalid(path, found, why));
        }
    }
    errors
}

/// What is wrong with a `service`.
pub fn validate_service(service: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["name", "namespace"] {
        if meta::str_at(service, &[field]).is_empty() {
            errors.push(FieldError::required(child(path, field), ""));
        }
    }
    let port = meta::int_at(service, &["port"]).unwrap_or(443);
    let why = port_number(port);
    if !why.is_empty() {
        let why = format!("port is not valid: {}", why.join(", "));
        errors.push(FieldError::invalid(child(path, "port"), port, why));
    }
    errors.extend(validate_path(meta::str_at(service, &["path"]), &child(path, "path")));
    errors
}

fn validate_path(text: &str, path: &str) -> Vec<FieldError> {
    let invalid = |why: String| FieldError::invalid(path, text, why);
    match text {
        "" | "/" => return Vec::new(),
        "//" => return vec![invalid("segment[0] may not be empty".into())],
        _ => {}
    }
    let mut errors = Vec::new();
    if !text.starts_with('/') {
        errors.push(invalid("must start with a '/'".into()));
    }
    let steps = text.get(1..).unwrap_or_default();
    for (at, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            errors.push(invalid(format!("segment[{at}] may not be empty")));
            continue;
        }
        let why = dns1123_subdomain(step).into_iter();
        errors.extend(why.map(|why| invalid(format!("segment[{at}]: {why}"))));
    }
    errors
}

/// What is wrong with a `caBundle`; it stands in the object as base64 of PEM.
pub fn validate_ca(bundle: &str, path: &str) -> Vec<FieldError> {
    if ca_certificates(bundle).is_empty() {
        let why = "unable to load root certificates: unable to parse bytes as PEM block";
        return vec![FieldError::invalid(path, bundle, why)];
    }
    Vec::new()
}

/// The certificates in a `caBundle`.
pub(super) fn ca_certificates(bundle: &str) -> Vec<CertificateDer<'static>> {
    use base64::Engine;
    let decoded = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default();
    CertificateDer::pem_slice_iter(&decoded).filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn locations_are_read_from_both_forms() {
        let service = json!({"service": {"namespace": "n", "name": "hook", "path": "/convert"}});
        let found = Location::read(&service).unwrap();
        assert_eq!(found.authority(), "hook.n.svc:443");
        assert_eq!((found.path.as_str(), found.service.is_some()), ("/convert", true));
        let found = Location::read(&json!({"url": "https://127.0.0.1:8443/a/b"})).unwrap();
        assert_eq!((found.authority(), found.port), ("127.0.0.1:8443".to_string(), 8443));
        assert!(Location::read(&json!({})).is_err());
    }

    #[test]
    fn bad_configurations_are_told() {
        let urls = [
            ("http://h/p", "'https' is the only allowed URL scheme"),
            ("https:///p", "host must be specified"),
            ("https://u:p@h/p", "user information is not permitted"),
            ("https://h/p#f", "fragments are not permitted"),
            ("https://h/p?q=1", "query parameters are not permitted"),
        ];
        for (url, text) in urls {
            let errors = validate_url(url, "url");
            assert!(errors[0].detail.contains(text), "{url}: {errors:?}");
        }
        assert!(validate_url("https://h:1/p", "url").is_empty());
        let service = json!({"name": "a", "port": 0, "path": "a//B"});
        let texts: Vec<_> =
            validate_service(&service, "s").iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], "s.namespace: Required value");
        assert!(texts[1].starts_with("s.port: Invalid value: 0: port is not valid: must be"));
        assert!(texts[2].ends_with("must start with a '/'"), "{texts:?}");
        assert!(!validate_ca("bm8=", "ca").is_empty());
    }
}
