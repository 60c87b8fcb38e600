//! What an aggregated server says of itself: its resources and its schemas, fetched while it is
//! available and merged into this server's own documents.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use serde_json::{Map, Value, json};

use super::backend::Backend;
use super::proxy::send;
use crate::authn::{Identity, MASTERS, request_header};
use crate::body::{self, empty};
use crate::server::ApiServer;

/// How long one document may take; a server that is slow is one that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest document that is read, in bytes.
const LIMIT: usize = 32 << 20;
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// Everything that is known of one group version elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Documents {
    /// Its resources, as an `APIVersionDiscovery` has them; `None` before the first answer.
    pub(crate) resources: Option<Value>,
    /// Whether the last attempt to read them failed.
    pub(crate) stale: bool,
    /// The hash of its OpenAPI v3 document; empty if it has none.
    pub(crate) openapi_hash: String,
    /// The paths and definitions of its OpenAPI v2 document.
    pub(crate) openapi_v2: Option<Arc<Value>>,
}

impl Backend {
    /// What the server said of itself.
    pub(crate) fn documents(&self) -> Arc<Documents> {
        self.documents.load_full()
    }

    /// Its group version among the documents of all; stale before the first answer.
    pub(crate) fn discovery(&self) -> Value {
        let known = self.documents();
        let stale = known.stale || known.resources.is_none();
        let resources = known.resources.clone().unwrap_or_else(|| json!([]));
        let freshness = if stale { "Stale" } else { "Current" };
        json!({"version": self.version, "resources": resources, "freshness": freshness})
    }
}

/// Reads everything anew; true if something changed.
pub(super) async fn refresh(server: &Arc<ApiServer>, backend: &Backend) -> bool {
    let old = backend.documents();
    let (resources, openapi_hash, openapi_v2) = tokio::join!(
        resources(server, backend),
        openapi_hash(server, backend),
        openapi_v2(server, backend),
    );
    let stale = resources.is_none();
    let next = Documents {
        resources: resources.or_else(|| old.resources.clone()),
        stale,
        openapi_hash: openapi_hash.unwrap_or_default(),
        openapi_v2,
    };
    keep(backend, next)
}

/// The server does not answer: what it said is no longer sure.
pub(super) fn forsake(backend: &Backend) -> bool {
    keep(backend, Documents { stale: true, ..(*backend.documents()).clone() })
}

fn keep(backend: &Backend, next: Documents) -> bool {
    let changed = *backend.documents() != next;
    if changed {
        backend.documents.store(Arc::new(next));
    }
    changed
}

/// GET as this server itself, with a bound on time and size.
pub(super) async fn get(
    server: &Arc<ApiServer>,
    backend: &Backend,
    path: &str,
    accept: &'static str,
) -> Result<(StatusCode, String, Bytes), String> {
    let mut request = Request::get(path).body(empty()).map_err(|error| error.to_string())?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
    request_header::put(request.headers_mut(), &aggregator());
    let exchange = async {
        let response = send(server, backend, request).await?;
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let (code, media) = (response.status(), media.unwrap_or_default().to_string());
        let bytes = body::collect(response.into_body(), LIMIT).await;
        Ok((code, media, bytes.map_err(|error| error.to_string())?))
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err("context deadline exceeded".to_string()),
    }
}

fn aggregator() -> Identity {
    Identity {
        name: "system:kube-aggregator".into(),
        groups: vec![MASTERS.into()],
        ..Identity::default()
    }
}

async fn json_of(
    server: &Arc<ApiServer>,
    backend: &Backend,
    path: &str,
    accept: &'static str,
) -> Option<(String, Value)> {
    let (code, media, bytes) = get(server, backend, path, accept).await.ok()?;
    let value = serde_json::from_slice(&bytes).ok()?;
    (code == StatusCode::OK).then_some((media, value))
}

/// Its resources from its aggregated discovery, or from the plain document of old servers.
async fn resources(server: &Arc<ApiServer>, backend: &Backend) -> Option<Value> {
    if let Some((media, list)) = json_of(server, backend, "/apis", DISCOVERY).await
        && media.contains("APIGroupDiscoveryList")
    {
        return named(&list["items"], backend);
    }
    let (_, list) = json_of(server, backend, &backend.root(), "application/json").await?;
    Some(from_plain(&list, backend))
}

fn named(groups: &Value, backend: &Backend) -> Option<Value> {
    let groups = groups.as_array()?.iter();
    let mut own = groups.filter(|group| group["metadata"]["name"] == backend.group.as_str());
    let versions = own.next()?["versions"].as_array()?.iter();
    let mut own = versions.filter(|version| version["version"] == backend.version.as_str());
    Some(own.next()?["resources"].clone()).filter(Value::is_array)
}

/// An `APIResourceList` in the words of aggregated discovery.
fn from_plain(list: &Value, backend: &Backend) -> Value {
    let all = || list["resources"].as_array().into_iter().flatten();
    let kind = |one: &Value| {
        let or = |field: &str, own: &str| match one[field].as_str() {
            Some(text) if !text.is_empty() => text.to_string(),
            _ => own.to_string(),
        };
        let (group, version) = (or("group", &backend.group), or("version", &backend.version));
        json!({"group": group, "version": version, "kind": one["kind"]})
    };
    let subresource = |one: &Value, name: &str| {
        json!({
            "subresource": name, "responseKind": kind(one), "verbs": one["verbs"],
        })
    };
    let resource = |one: &Value| {
        let name = one["name"].as_str().filter(|name| !name.contains('/'))?;
        let prefix = format!("{name}/");
        let subs: Vec<Value> = all()
            .filter_map(|sub| Some(subresource(sub, sub["name"].as_str()?.strip_prefix(&prefix)?)))
            .collect();
        let scope = if one["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut entry = json!({
            "resource": name, "responseKind": kind(one), "scope": scope,
            "singularResource": one["singularName"], "verbs": one["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if one[field].is_array() {
                entry[field] = one[field].clone();
            }
        }
        if !subs.is_empty() {
            entry["subresources"] = subs.into();
        }
        Some(entry)
    };
    all().filter_map(resource).collect()
}

async fn openapi_hash(server: &Arc<ApiServer>, backend: &Backend) -> Option<String> {
    let (_, index) = json_of(server, backend, "/openapi/v3", "application/json").await?;
    let path = format!("apis/{}/{}", backend.group, backend.version);
    let url = index["paths"][&path]["serverRelativeURL"].as_str()?;
    let (_, hash) = url.split_once("hash=")?;
    Some(hash.to_string()).filter(|hash| hash.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

async fn openapi_v2(server: &Arc<ApiServer>, backend: &Backend) -> Option<Arc<Value>> {
    let (_, mut document) = json_of(server, backend, "/openapi/v2", "application/json").await?;
    let root = format!("{}/", backend.root());
    let own = |path: &str| path == backend.root() || path.starts_with(&root);
    let paths: Map<String, Value> = match document["paths"].take() {
        Value::Object(all) => all.into_iter().filter(|(path, _)| own(path)).collect(),
        _ => Map::new(),
    };
    let definitions = document["definitions"].take();
    Some(Arc::new(json!({"paths": paths, "definitions": definitions})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_discovery_reads_as_the_aggregated_one() {
        let service = json!({"spec": {"group": "ex.org", "version": "v1", "service": {}}});
        let backend = Backend::new(&service, None);
        assert_eq!(backend.discovery()["freshness"], "Stale");
        let list = json!({"resources": [
            {"name": "toys", "singularName": "toy", "namespaced": true, "kind": "Toy",
             "verbs": ["get"], "shortNames": ["ty"]},
            {"name": "toys/scale", "namespaced": true, "kind": "Scale", "group": "autoscaling",
             "version": "v1", "verbs": ["get"]}]});
        let expected = json!([{"resource": "toys", "scope": "Namespaced", "verbs": ["get"],
            "responseKind": {"group": "ex.org", "version": "v1", "kind": "Toy"},
            "singularResource": "toy", "shortNames": ["ty"], "subresources": [{
                "subresource": "scale", "verbs": ["get"],
                "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}}]}]);
        assert_eq!(from_plain(&list, &backend), expected);
        let groups = json!([{"metadata": {"name": "ex.org"}, "versions": [
            {"version": "v2", "resources": []}, {"version": "v1", "resources": expected}]}]);
        assert_eq!(named(&groups, &backend).unwrap(), expected);
        assert_eq!(named(&json!([]), &backend), None);
    }
}
