//! The handlers end to end: requests in, bytes out, over the embedded storage engine.

mod applying;
mod bad_input;
mod conflicts;
mod deleting;
mod listing;
mod managing;
mod patching;
mod subresources;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hansa_storage::Storage;
use hansa_storage::embedded::Engine;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, BodyStream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::body::{Body, empty, full};
use crate::generic::catalog::{Catalog, Served};
use crate::generic::context::Identity;
use crate::generic::registry::Registry;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Plain, ScalePaths, Strategy};
use crate::request_info::RequestInfo;

/// A whole API server without its front.
pub(crate) struct Server {
    pub(crate) registry: Arc<Registry>,
    pub(crate) storage: Arc<dyn Storage>,
    stop: CancellationToken,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A running watch.
pub(crate) struct Events {
    stream: BodyStream<Body>,
    rest: Vec<u8>,
}

struct Pods;
impl Strategy for Pods {
    fn grace_period(&self, obj: &Value, requested: Option<i64>) -> Option<i64> {
        let bound = obj["spec"]["nodeName"].is_string();
        Some(if bound { requested.unwrap_or(30) } else { 0 })
    }
    fn selectable_fields(&self) -> Vec<Str> {
        vec!["spec.nodeName".into()]
    }
}

struct Namespaces;
impl Strategy for Namespaces {
    fn prepare_create(&self, _: &crate::generic::context::Context, obj: &mut Value) {
        obj["spec"] = json!({"finalizers": ["kubernetes"]});
    }
    fn held_back(&self, obj: &Value) -> bool {
        obj["spec"].get("finalizers").is_some()
    }
}

struct Deployments;
impl Strategy for Deployments {
    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(ScalePaths::usual())
    }
    fn default(&self, obj: &mut Value) {
        hansa_api::meta::default_field(hansa_api::meta::fields_mut(obj, &["spec"]), "replicas", 1);
    }
    fn validate_create(&self, obj: &Value) -> Vec<hansa_api::FieldError> {
        let replicas = obj["spec"]["replicas"].as_i64().unwrap_or(0);
        let negative = || {
            let why = "must be greater than or equal to 0";
            vec![hansa_api::FieldError::invalid("spec.replicas", replicas, why)]
        };
        if replicas < 0 { negative() } else { Vec::new() }
    }
}

fn kinds() -> Vec<Served> {
    let maps = Resource::new("", "v1", "ConfigMap", "configmaps").namespaced().short(&["cm"]);
    let pods = Resource::new("", "v1", "Pod", "pods")
        .namespaced()
        .status()
        .sub("binding", "", "v1", "Binding", &["create"])
        .sub("eviction", "policy", "v1", "Eviction", &["create"]);
    let namespaces = Resource::new("", "v1", "Namespace", "namespaces").status().sub(
        "finalize",
        "",
        "v1",
        "Namespace",
        &["update"],
    );
    let deployments =
        Resource::new("apps", "v1", "Deployment", "deployments").namespaced().status().scale();
    let budgets = Resource::new("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
        .namespaced()
        .status();
    vec![
        Served::builtin(maps, Plain),
        Served::builtin(pods, Pods),
        Served::builtin(namespaces, Namespaces),
        Served::builtin(deployments, Deployments),
        Served::builtin(budgets, Plain),
    ]
}

impl Server {
    /// A fresh server.
    pub(crate) async fn start() -> Self {
        Self::serving(kinds()).await
    }

    /// A fresh server of these kinds.
    pub(crate) async fn serving(kinds: Vec<Served>) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(Engine::ephemeral().unwrap());
        let stop = CancellationToken::new();
        let catalog = Arc::new(Catalog::new(kinds));
        let registry = Registry::new(storage.clone(), catalog, stop.clone()).await.unwrap();
        Self { registry, storage, stop }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> http::Response<Body> {
        let info = RequestInfo::parse(request.method(), request.uri());
        let user = Arc::new(Identity::user("tester", &["system:masters"]));
        super::dispatch(&self.registry, user, &info, request).await
    }

    /// Any request; the body's media type is `media`.
    pub(crate) async fn call(&self, method: &str, uri: &str, media: &str, body: &[u8]) -> Answer {
        let request = Request::builder().method(method).uri(uri).header(CONTENT_TYPE, media);
        let body = if body.is_empty() { empty() } else { full(body.to_vec()) };
        read(self.send(request.body(body).unwrap()).await).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.call("GET", uri, "", b"").await
    }

    pub(crate) async fn get_as(&self, uri: &str, accept: &str) -> Answer {
        let request = Request::builder().uri(uri).header(ACCEPT, accept);
        read(self.send(request.body(empty()).unwrap()).await).await
    }

    pub(crate) async fn post(&self, uri: &str, body: &Value) -> Answer {
        self.call("POST", uri, "application/json", body.to_string().as_bytes()).await
    }

    pub(crate) async fn put(&self, uri: &str, body: &Value) -> Answer {
        self.call("PUT", uri, "application/json", body.to_string().as_bytes()).await
    }

    pub(crate) async fn patch(&self, uri: &str, kind: &str, body: &Value) -> Answer {
        let media = format!("application/{kind}-patch+json");
        self.call("PATCH", uri, &media, body.to_string().as_bytes()).await
    }

    /// Server-side apply by `query`'s field manager.
    pub(crate) async fn apply(&self, uri: &str, query: &str, body: &Value) -> Answer {
        self.apply_text(&format!("{uri}?{query}"), &body.to_string()).await
    }

    pub(crate) async fn apply_text(&self, uri: &str, body: &str) -> Answer {
        self.call("PATCH", uri, "application/apply-patch+yaml", body.as_bytes()).await
    }

    pub(crate) async fn delete(&self, uri: &str, options: &Value) -> Answer {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.call("DELETE", uri, "application/json", body.as_bytes()).await
    }

    pub(crate) async fn watch(&self, uri: &str) -> Events {
        let response = self.send(Request::builder().uri(uri).body(empty()).unwrap()).await;
        assert_eq!(response.status(), 200, "{uri}");
        Events { stream: BodyStream::new(response.into_body()), rest: Vec::new() }
    }

    /// Creates a ConfigMap `name` in namespace `n`.
    pub(crate) async fn config_map(&self, name: &str) -> Value {
        let answer = self.post(MAPS, &config_map(name)).await;
        assert_eq!(answer.code, 201, "{answer:?}");
        answer.body
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// ConfigMaps of namespace `n`.
pub(crate) const MAPS: &str = "/api/v1/namespaces/n/configmaps";
/// Pods of namespace `n`.
pub(crate) const PODS: &str = "/api/v1/namespaces/n/pods";
/// Deployments of namespace `n`.
pub(crate) const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/n/deployments";

pub(crate) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

pub(crate) fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

pub(crate) async fn read(response: http::Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Answer { code: parts.status.as_u16(), headers: parts.headers, body }
}

impl Answer {
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// Who manages what: `manager operation subresource` and its `fieldsV1`.
    pub(crate) fn managers(&self) -> Vec<(String, Value)> {
        let entries = self.body["metadata"]["managedFields"].as_array();
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or("-").to_string();
        let one = |entry: &Value| {
            let words = ["manager", "operation", "subresource"].map(|field| text(entry, field));
            (words.join(" "), entry["fieldsV1"].clone())
        };
        entries.into_iter().flatten().map(one).collect()
    }

    /// The names of a list's items.
    pub(crate) fn names(&self) -> Vec<&str> {
        let items = self.body["items"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
    }

    pub(crate) fn version(&self) -> &str {
        self.body["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }
}

impl Events {
    /// The next event; `None` at the end of the watch.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.stream.next());
            let frame = frame.await.expect("an event comes")?.unwrap();
            self.rest.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// The next event as (type, name).
    pub(crate) async fn brief(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch goes on");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }

    pub(crate) async fn expect(&mut self, event: &str, name: &str) {
        assert_eq!(self.brief().await, (event.to_string(), name.to_string()));
    }
}
