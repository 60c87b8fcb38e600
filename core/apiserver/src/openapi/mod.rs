//! The schema of everything served: OpenAPI v3 per group and version, and one OpenAPI v2 document.
//!
//! Types come from the schema bundle, paths from the catalog, custom resources from their own
//! schemas. A document is made when it is first asked for and kept until the catalog changes.

mod custom;
mod descriptions;
mod document;
mod gnostic;
mod paths;
mod schemas;
mod v2;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Request, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::aggregation::{self, Routes};
use crate::body::Body;
use crate::generic::catalog::Snapshot;
use crate::request_info::query_value;
use crate::responses::{self, Document, JSON};
use crate::server::ApiServer;

/// Clients ask for `…v2@v1.0+protobuf`; '@' is no media type character and Go's parser refuses it,
/// so the answer is named as kube-openapi names it.
const PROTO_V2: HeaderValue =
    HeaderValue::from_static("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");

/// The documents made so far.
#[derive(Default)]
pub struct OpenApi {
    cached: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    /// The catalog's and the routes'.
    generation: (u64, u64),
    documents: HashMap<Name, Document>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    V3(String, String),
    V2Json,
    V2Proto,
}

impl OpenApi {
    fn document(&self, served: &Everything, name: Name, make: impl FnOnce() -> Bytes) -> Document {
        let generation = (served.snapshot.generation, served.routes.generation);
        let mut cached = self.cached.lock();
        if cached.generation != generation {
            *cached = Cached { generation, documents: HashMap::new() };
        }
        cached.documents.entry(name).or_insert_with(|| Document::new(make())).clone()
    }

    fn v3(&self, served: &Everything, group: &str, version: &str) -> Document {
        let name = Name::V3(group.to_string(), version.to_string());
        let make = || Bytes::from(document::v3(&served.snapshot, group, version).to_string());
        self.document(served, name, make)
    }
}

/// What is served here and elsewhere at one moment.
struct Everything {
    snapshot: Arc<Snapshot>,
    routes: Arc<Routes>,
}

/// Answers `/openapi/…`; `rest` is the path below it.
pub async fn handle(
    server: &Arc<ApiServer>,
    rest: &[&str],
    request: Request<Body>,
) -> Response<Body> {
    let snapshot = server.registry.catalog.snapshot();
    let served = Everything { snapshot, routes: server.aggregator.routes() };
    match rest {
        ["v2"] => v2(server, &served, &request),
        ["v3"] => responses::json(StatusCode::OK, &index(&served.snapshot, &served.routes)),
        ["v3", "api", version] => group_version(server, &served, "", version, &request),
        ["v3", "apis", group, version] => match served.routes.of(group, version) {
            Some(backend) => aggregation::handle(server, backend, request).await,
            None => group_version(server, &served, group, version, &request),
        },
        _ => responses::page_not_found(),
    }
}

/// The index names a hash per document; what it changes with is the catalog's content, so it is
/// taken over that and not over the documents, which need not be made for it. Other servers have
/// hashes of their own.
fn index(snapshot: &Snapshot, routes: &Routes) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String, hash: &str| {
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    for (name, group) in &snapshot.groups {
        for version in &group.versions {
            let path = match name.as_str() {
                "" => format!("api/{version}"),
                name => format!("apis/{name}/{version}"),
            };
            if routes.of(name, version).is_none() {
                add(path, &version_hash(snapshot, name, version));
            }
        }
    }
    for backend in routes.all() {
        let hash = &backend.documents().openapi_hash;
        if !hash.is_empty() {
            add(format!("apis/{}/{}", backend.group, backend.version), hash);
        }
    }
    json!({"paths": paths})
}

fn version_hash(snapshot: &Snapshot, group: &str, version: &str) -> String {
    let mut text = hansa_api::version::GIT_VERSION.to_owned();
    let served = snapshot.groups.get(group).and_then(|group| group.resources.get(version));
    for one in served.into_iter().flatten() {
        text.push_str(&format!("{:?}", one.resource));
        if let Some(schema) = &one.schema {
            text.push_str(&schema.to_string());
        }
    }
    responses::hash(text.as_bytes())
}

fn group_version(
    server: &Arc<ApiServer>,
    served: &Everything,
    group: &str,
    version: &str,
    request: &Request<Body>,
) -> Response<Body> {
    let snapshot = &served.snapshot;
    if !snapshot.has_version(group, version) {
        return responses::page_not_found();
    }
    let document = server.openapi.v3(served, group, version);
    let mut response = document.answer(request.headers(), JSON);
    let asked = query_value(request.uri().query().unwrap_or_default(), "hash");
    if asked.is_some_and(|hash| hash == version_hash(snapshot, group, version)) {
        // The URL changes with the content: clients may keep it for as long as they like.
        let forever = HeaderValue::from_static("public, immutable");
        response.headers_mut().insert(http::header::CACHE_CONTROL, forever);
    }
    response
}

fn v2(server: &Arc<ApiServer>, served: &Everything, request: &Request<Body>) -> Response<Body> {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let document = || v2::document(&served.snapshot, &served.routes);
    if accept.is_some_and(|accept| accept.contains("com.github.proto-openapi.spec.v2")) {
        let make = || Bytes::from(gnostic::encode(&document()));
        let document = server.openapi.document(served, Name::V2Proto, make);
        return document.answer(request.headers(), PROTO_V2);
    }
    let make = || Bytes::from(document().to_string());
    server.openapi.document(served, Name::V2Json, make).answer(request.headers(), JSON)
}

/// The first `bytes` bytes of a text's hash, in base64.
pub(crate) fn hash_text(text: &str, bytes: usize) -> String {
    use base64::Engine;
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest.as_ref()[..bytes])
}

#[cfg(test)]
mod tests;
