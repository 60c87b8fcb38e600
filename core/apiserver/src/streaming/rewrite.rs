//! What a proxied server must not notice and its client must not miss: forwarded headers on the way
//! there, and redirects that lead back through the proxy.

use http::header::{HOST, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use super::transport::Authority;
use crate::body::{Body, empty};

const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// The two ends of a proxied request.
pub(super) struct Route {
    /// The path in front of what the far end sees.
    prefix: String,
    /// The far end's path with its query; empty if the client named none.
    pub(super) path: String,
    /// The host that the client asked.
    host: String,
}

impl Route {
    /// Splits a path behind so many segments, of which the last is the proxy subresource.
    pub(super) fn of(request: &Request<Body>, segments: usize) -> Self {
        let path = request.uri().path();
        let at = path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at);
        let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
        let (prefix, rest) = path.split_at(at);
        Self {
            prefix: prefix.to_string(),
            path: if rest.is_empty() { String::new() } else { format!("{rest}{query}") },
            host: host.unwrap_or_default().to_string(),
        }
    }

    /// Where a client goes that named no path, so that relative links work.
    pub(super) fn redirect(&self, method: &Method, uri: &Uri) -> Option<Response<Body>> {
        if !self.path.is_empty() || !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let location = HeaderValue::from_str(&format!("{}/{query}", uri.path())).ok()?;
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        response.headers_mut().insert(LOCATION, location);
        Some(response)
    }

    /// Tells the far end which path it is reached by.
    pub(super) fn announce(&self, headers: &mut HeaderMap) {
        let path = self.path.split('?').next().unwrap_or_default();
        if let Ok(value) = HeaderValue::from_str(&format!("{}{path}", self.prefix)) {
            headers.insert(FORWARDED_URI, value);
        }
    }

    /// Leads a redirect to the far end back through the proxy.
    pub(super) fn lead_back(&self, headers: &mut HeaderMap, to: &Authority) {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let rewritten = location.and_then(|location| self.rewritten(location, to));
        if let Some(value) = rewritten.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(LOCATION, value);
        }
    }

    /// `None` if a location may stay: it is relative, leads elsewhere, or through the proxy already.
    fn rewritten(&self, location: &str, to: &Authority) -> Option<String> {
        let (host, path) = match location.split_once("://").map(|(_, rest)| rest) {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None => ("", location),
        };
        let near = host == self.host;
        let ours = host.is_empty() || near || host == to.to_string();
        if !ours || !path.starts_with('/') || path.starts_with("//") {
            return None;
        }
        let path = match path.starts_with(&self.prefix) {
            true => path.to_string(),
            false => format!("{}{path}", self.prefix),
        };
        let scheme = location.split_once("://").filter(|_| near && !host.is_empty());
        Some(scheme.map_or(path.clone(), |(scheme, _)| format!("{scheme}://{host}{path}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(uri: &str) -> Route {
        let request = Request::get(uri).header(HOST, "localhost:8001").body(empty()).unwrap();
        Route::of(&request, 7)
    }

    #[test]
    fn the_far_end_sees_its_own_path() {
        let own = route("/api/v1/namespaces/a/pods/p/proxy/x%2Fy/?q=1");
        assert_eq!(
            (own.path.as_str(), own.prefix.as_str()),
            ("/x%2Fy/?q=1", "/api/v1/namespaces/a/pods/p/proxy")
        );
        let mut headers = HeaderMap::new();
        own.announce(&mut headers);
        assert_eq!(headers[FORWARDED_URI], "/api/v1/namespaces/a/pods/p/proxy/x%2Fy/");
        assert!(own.redirect(&Method::GET, &"/x".parse().unwrap()).is_none());
    }

    #[test]
    fn a_client_without_a_path_is_sent_to_the_root() {
        let uri = "/api/v1/namespaces/a/pods/p/proxy?q=1";
        let own = route(uri);
        let redirect = own.redirect(&Method::GET, &uri.parse().unwrap()).unwrap();
        assert_eq!(redirect.status(), 301);
        assert_eq!(redirect.headers()[LOCATION], "/api/v1/namespaces/a/pods/p/proxy/?q=1");
        assert!(own.redirect(&Method::POST, &uri.parse().unwrap()).is_none());
    }

    #[test]
    fn redirects_to_the_far_end_lead_back_through_the_proxy() {
        let to = Authority { host: "10.0.0.1".into(), port: 8080 };
        let prefix = "/api/v1/namespaces/a/pods/p/proxy";
        let own = route(&format!("{prefix}/x"));
        let through = |location: &str| own.rewritten(location, &to);
        assert_eq!(through("/y?q=1"), Some(format!("{prefix}/y?q=1")));
        assert_eq!(through("http://10.0.0.1:8080/y/"), Some(format!("{prefix}/y/")));
        assert_eq!(
            through("http://localhost:8001/y"),
            Some(format!("http://localhost:8001{prefix}/y"))
        );
        assert_eq!(through(&format!("{prefix}/y")), Some(format!("{prefix}/y")));
        for elsewhere in ["y", "https://example.org/y", "//example.org/y", "?q=1"] {
            assert_eq!(through(elsewhere), None, "{elsewhere}");
        }
    }
}
