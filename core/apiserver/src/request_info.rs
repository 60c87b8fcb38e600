//! What a request asks for, read once from its method, path and query.
//!
//! The rules are upstream's (`RequestInfoFactory`): `/api/VERSION/…` and `/apis/GROUP/VERSION/…` are
//! resource requests, everything else is a path with a lower-case HTTP method for a verb.

use http::Method;

/// A parsed request; filters, authorization and handlers all read this and never the raw path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// The API verb (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`,
    /// `deletecollection`), or the lower-case HTTP method of a non-resource request.
    pub verb: String,
    /// `api` or `apis`; empty for a non-resource request.
    pub api_prefix: String,
    /// The API group; empty for the core group.
    pub api_group: String,
    /// The version within the group.
    pub api_version: String,
    /// The namespace in the path; for `namespaces/NAME` itself it is NAME, as upstream has it.
    pub namespace: String,
    /// The plural resource.
    pub resource: String,
    /// The subresource, empty for the object itself.
    pub subresource: String,
    /// The object's name; for lists and watches the `metadata.name` that a field selector pins.
    pub name: String,
    /// The path below the namespace: resource, name, subresource and what follows (proxy paths).
    pub parts: Vec<String>,
    /// Whether the request addresses a resource.
    pub is_resource_request: bool,
    /// The path as it came, without the query.
    pub path: String,
}

impl RequestInfo {
    /// Parses a request's method and URI; never fails, what it cannot read is a non-resource path.
    pub fn parse(method: &Method, uri: &http::Uri) -> Self {
        let path = uri.path();
        let raw: Vec<&str> = path.trim_matches('/').split('/').collect();
        let decoded: Vec<String> = raw.iter().map(|part| percent_decode(part)).collect();
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        Self::resource(method, path, &parts, uri.query().unwrap_or(""))
            .unwrap_or_else(|| Self::non_resource(method, path))
    }

    fn non_resource(method: &Method, path: &str) -> Self {
        Self {
            verb: method.as_str().to_ascii_lowercase(),
            path: path.to_string(),
            ..Self::default()
        }
    }

    fn resource(method: &Method, path: &str, parts: &[&str], query: &str) -> Option<Self> {
        let (prefix, group, version, rest) = split_group_version(parts)?;
        let (special, rest) = split_special_verb(rest);
        let (namespace, rest) = split_namespace(rest);
        let mut info = Self {
            verb: special.map_or_else(|| verb_of(method), str::to_string),
            api_prefix: prefix.to_string(),
            api_group: group.to_string(),
            api_version: version.to_string(),
            namespace: namespace.to_string(),
            resource: rest.first()?.to_string(),
            name: rest.get(1).unwrap_or(&"").to_string(),
            subresource: subresource_of(rest, special),
            parts: rest.iter().map(|part| part.to_string()).collect(),
            is_resource_request: true,
            path: path.to_string(),
        };
        info.refine_collection_verb(query);
        Some(info)
    }

    /// `get` and `delete` without a name are about the collection; `watch=true` makes it a watch.
    fn refine_collection_verb(&mut self, query: &str) {
        if !self.name.is_empty() {
            return;
        }
        match self.verb.as_str() {
            "get" => self.verb = if wants_watch(query) { "watch" } else { "list" }.to_string(),
            "delete" => self.verb = "deletecollection".to_string(),
            _ => {}
        }
        if matches!(self.verb.as_str(), "list" | "watch" | "deletecollection") {
            self.name = pinned_name(query).unwrap_or_default();
        }
    }

    /// Whether the request may stay open as long as the client likes: watches and streams.
    pub fn is_long_running(&self) -> bool {
        self.verb == "watch"
            || self.verb == "proxy"
            || matches!(
                self.subresource.as_str(),
                "attach" | "exec" | "proxy" | "log" | "portforward"
            )
    }

    /// `resource` or `resource/subresource`, as RBAC rules spell it.
    pub fn resource_path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// `metrics` labels: namespaced with a name, namespaced, or cluster, as upstream's `scope`.
    pub fn scope(&self) -> &'static str {
        if !self.name.is_empty() {
            "resource"
        } else if !self.namespace.is_empty() {
            "namespace"
        } else if self.is_resource_request {
            "cluster"
        } else {
            ""
        }
    }
}

type GroupVersion<'a, 'p> = (&'a str, &'a str, &'a str, &'p [&'a str]);

fn split_group_version<'a, 'p>(parts: &'p [&'a str]) -> Option<GroupVersion<'a, 'p>> {
    match parts {
        ["api", version, rest @ ..] if !rest.is_empty() => Some(("api", "", version, rest)),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => {
            Some(("apis", group, version, rest))
        }
        _ => None,
    }
}

/// The deprecated path form `/api/v1/watch/…` names its verb in the path.
fn split_special_verb<'a, 'p>(rest: &'p [&'a str]) -> (Option<&'a str>, &'p [&'a str]) {
    match rest {
        [verb @ ("watch" | "proxy"), tail @ ..] if !tail.is_empty() => (Some(verb), tail),
        _ => (None, rest),
    }
}

fn split_namespace<'a, 'p>(rest: &'p [&'a str]) -> (&'a str, &'p [&'a str]) {
    match rest {
        ["namespaces", namespace, "status" | "finalize", ..] => (namespace, rest),
        ["namespaces", namespace, tail @ ..] if !tail.is_empty() => (namespace, tail),
        ["namespaces", namespace] => (namespace, rest),
        _ => ("", rest),
    }
}

fn subresource_of(rest: &[&str], special: Option<&str>) -> String {
    match special {
        Some(_) => String::new(),
        None => rest.get(2).unwrap_or(&"").to_string(),
    }
}

fn verb_of(method: &Method) -> String {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
    .to_string()
}

fn wants_watch(query: &str) -> bool {
    query_pairs(query).any(|(key, value)| key == "watch" && is_true(&value))
}

/// Go's reading of a boolean query parameter: present and neither `false` nor `0`.
pub fn is_true(value: &str) -> bool {
    !matches!(value, "false" | "False" | "FALSE" | "0" | "f" | "F")
}

fn pinned_name(query: &str) -> Option<String> {
    let selector = query_pairs(query).find(|(key, _)| key == "fieldSelector")?.1;
    selector
        .split(',')
        .filter_map(|term| term.split_once('='))
        .find(|(key, _)| *key == "metadata.name")
        .map(|(_, name)| name.trim_start_matches('=').to_string())
        .filter(|name| !name.is_empty())
}

/// The decoded `key=value` pairs of a query string, in order.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decode(key), form_decode(value))
    })
}

/// The first value of one query parameter, decoded.
pub fn query_value(query: &str, key: &str) -> Option<String> {
    query_pairs(query).find(|(name, _)| name == key).map(|(_, value)| value)
}

fn form_decode(text: &str) -> String {
    if text.contains('+') { percent_decode(&text.replace('+', " ")) } else { percent_decode(text) }
}

/// Decodes `%XX`; what is no valid escape stays as it is, bytes that are no UTF-8 are replaced.
pub fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_string();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| hex_pair(bytes.get(at + 1), bytes.get(at + 2)));
        match escape.flatten() {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex_pair(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let high = (*high? as char).to_digit(16)?;
    let low = (*low? as char).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str) -> RequestInfo {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        RequestInfo::parse(&method, &uri.parse().unwrap())
    }

    fn words(info: &RequestInfo) -> [&str; 6] {
        [
            &info.verb,
            &info.api_group,
            &info.namespace,
            &info.resource,
            &info.name,
            &info.subresource,
        ]
    }

    #[test]
    fn reads_resources_of_both_prefixes() {
        let cases = [
            ("GET", "/api/v1/pods", ["list", "", "", "pods", "", ""]),
            ("GET", "/api/v1/pods?watch=1", ["watch", "", "", "pods", "", ""]),
            ("GET", "/api/v1/pods?watch=false", ["list", "", "", "pods", "", ""]),
            ("GET", "/api/v1/namespaces/a", ["get", "", "a", "namespaces", "a", ""]),
            (
                "PUT",
                "/api/v1/namespaces/a/status",
                ["update", "", "a", "namespaces", "a", "status"],
            ),
            ("DELETE", "/api/v1/namespaces/a/pods", ["deletecollection", "", "a", "pods", "", ""]),
            ("POST", "/api/v1/namespaces/a/pods/p/exec", ["create", "", "a", "pods", "p", "exec"]),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                ["patch", "apps", "a", "deployments", "d", "scale"],
            ),
            ("GET", "/api/v1/watch/namespaces/a/pods/p", ["watch", "", "a", "pods", "p", ""]),
        ];
        for (method, uri, expected) in cases {
            assert_eq!(words(&parse(method, uri)), expected, "{method} {uri}");
        }
    }

    #[test]
    fn discovery_and_health_are_no_resources() {
        for uri in ["/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/livez/ping"] {
            let info = parse("GET", uri);
            assert!(!info.is_resource_request, "{uri}");
            assert_eq!(info.verb, "get");
            assert_eq!(info.path, uri);
        }
    }

    #[test]
    fn a_field_selector_on_the_name_pins_the_name() {
        let info = parse("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dweb-0");
        assert_eq!(words(&info), ["list", "", "a", "pods", "web-0", ""]);
        let watch = parse("GET", "/api/v1/secrets?watch=true&fieldSelector=metadata.name=x");
        assert_eq!((watch.verb.as_str(), watch.name.as_str()), ("watch", "x"));
    }

    #[test]
    fn proxy_paths_keep_their_tail() {
        let info = parse("GET", "/api/v1/namespaces/a/services/web:80/proxy/x/y");
        assert_eq!(info.parts, ["services", "web:80", "proxy", "x", "y"]);
        assert!(info.is_long_running());
    }

    #[test]
    fn decodes_escapes_and_keeps_broken_ones() {
        assert_eq!(percent_decode("a%2Fb%zz%4"), "a/b%zz%4");
        assert_eq!(
            query_value("a=1&labelSelector=x+in+%28y%29", "labelSelector").unwrap(),
            "x in (y)"
        );
    }
}
