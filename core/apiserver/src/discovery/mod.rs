//! What is served, told to clients: `/api`, `/apis` and below, plain and aggregated.

mod aggregated;
mod documents;
mod merged;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue, VARY};
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::aggregation::Routes;
use crate::body::Body;
use crate::generic::catalog::Snapshot;
use crate::responses::{self, Document};
use crate::server::ApiServer;

/// Aggregated documents of one catalog generation; made at first use, then shared.
#[derive(Default)]
pub struct Discovery {
    cached: ArcSwapOption<Cached>,
}

struct Cached {
    /// The catalog's and the routes'.
    generation: (u64, u64),
    /// Core group and named groups, each as v2 and v2beta1.
    documents: [Document; 4],
}

impl Discovery {
    fn aggregated(
        &self,
        snapshot: &Snapshot,
        routes: &Routes,
        core: bool,
        version: Aggregated,
    ) -> Document {
        let generation = (snapshot.generation, routes.generation);
        let at = usize::from(!core) * 2 + usize::from(version == Aggregated::V2Beta1);
        if let Some(cached) = &*self.cached.load()
            && cached.generation == generation
        {
            return cached.documents[at].clone();
        }
        let document = |core, version: Aggregated| {
            let list = aggregated::list(snapshot, routes, core, version.name());
            Document::new(Bytes::from(list.to_string()))
        };
        let documents = [
            document(true, Aggregated::V2),
            document(true, Aggregated::V2Beta1),
            document(false, Aggregated::V2),
            document(false, Aggregated::V2Beta1),
        ];
        let wanted = documents[at].clone();
        let cached = Cached { generation, documents };
        self.cached.store(Some(Arc::new(cached)));
        wanted
    }
}

/// The versions of aggregated discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregated {
    V2,
    V2Beta1,
}

impl Aggregated {
    fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }

    /// What the client asks for, the first it names that we have; `None` is plain discovery.
    fn asked(headers: &HeaderMap) -> Option<Self> {
        let accept = headers.get(ACCEPT)?.to_str().ok()?;
        accept.split(',').find_map(Self::of_media_type)
    }

    fn of_media_type(media: &str) -> Option<Self> {
        let mut parts = media.split(';').map(str::trim);
        let json = parts.next() == Some("application/json");
        let parameters: Vec<&str> = parts.collect();
        let ours = ["g=apidiscovery.k8s.io", "as=APIGroupDiscoveryList"];
        if !json || !ours.iter().all(|one| parameters.contains(one)) {
            return None;
        }
        [Self::V2, Self::V2Beta1]
            .into_iter()
            .find(|version| parameters.contains(&format!("v={}", version.name()).as_str()))
    }

    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2Beta1 => {
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
            }
        })
    }
}

/// Answers `/api…` and `/apis…`; `parts` is the path without its slashes.
pub fn handle(server: &Arc<ApiServer>, parts: &[&str], request: &Request<Body>) -> Response<Body> {
    let snapshot = server.registry.catalog.snapshot();
    let routes = server.aggregator.routes();
    if let ([root], Some(version)) = (parts, Aggregated::asked(request.headers())) {
        let document = server.discovery.aggregated(&snapshot, &routes, *root == "api", version);
        return vary(document.answer(request.headers(), version.media_type()));
    }
    let address = format!("{}:{}", server.config.advertise_address, server.config.advertise_port);
    match plain(&snapshot, &routes, parts, &address) {
        Some(document) => vary(responses::object(StatusCode::OK, &document)),
        None => responses::page_not_found(),
    }
}

fn vary(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn plain(snapshot: &Snapshot, routes: &Routes, parts: &[&str], address: &str) -> Option<Value> {
    match parts {
        ["api"] => Some(documents::core_versions(snapshot, address)),
        ["api", version] => documents::resources(snapshot, "", version),
        ["apis"] => Some(documents::group_list(snapshot, routes)),
        ["apis", group] => documents::group(snapshot, routes, group),
        ["apis", group, version] if !group.is_empty() => {
            documents::resources(snapshot, group, version)
        }
        _ => None,
    }
}

/// The list of paths at `/`.
pub fn paths(server: &Arc<ApiServer>) -> Response<Body> {
    let snapshot = server.registry.catalog.snapshot();
    let mut paths: Vec<String> =
        ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/"]
            .map(String::from)
            .to_vec();
    let routes = server.aggregator.routes();
    let mut named = merged::groups(&snapshot, &routes);
    named.retain(|group| !group.name.is_empty());
    named.sort_by_key(|group| group.name);
    for group in named {
        let root = format!("/apis/{}", group.name);
        paths.push(root.clone());
        paths.extend(group.versions.iter().map(|version| format!("{root}/{}", version.name)));
    }
    let others = ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3"];
    paths.extend(others.map(String::from));
    paths.extend(["/openid/v1/jwks", "/readyz", "/version"].map(String::from));
    responses::json(StatusCode::OK, &json!({"paths": paths}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generic::catalog::{Catalog, Served};
    use crate::generic::resource::Resource;
    use crate::generic::strategy::Plain;

    fn plain(snapshot: &Snapshot, parts: &[&str]) -> Option<Value> {
        super::plain(snapshot, &Routes::default(), parts, "")
    }

    fn snapshot() -> Arc<Snapshot> {
        let pods = Resource::new("", "v1", "Pod", "pods")
            .namespaced()
            .short(&["po"])
            .categories(&["all"])
            .status()
            .sub("eviction", "policy", "v1", "Eviction", &["create"]);
        let apps = |version| Resource::new("apps", version, "Deployment", "deployments").scale();
        let all = [pods, apps("v1beta1"), apps("v1")];
        let served = all.map(|resource| Served::builtin(resource, Plain));
        Catalog::new(served.into_iter().collect()).snapshot()
    }

    #[test]
    fn plain_documents_tell_resources_and_preferred_versions() {
        let snapshot = snapshot();
        let list = plain(&snapshot, &["api", "v1"]).unwrap();
        assert_eq!(list["groupVersion"], "v1");
        assert_eq!(list["resources"][0]["shortNames"], json!(["po"]));
        let names: Vec<_> = list["resources"].as_array().unwrap().iter().collect();
        assert_eq!(names[1]["name"], "pods/eviction");
        assert_eq!((&names[1]["group"], &names[1]["kind"]), (&json!("policy"), &json!("Eviction")));
        let group = plain(&snapshot, &["apis", "apps"]).unwrap();
        assert_eq!(group["preferredVersion"]["groupVersion"], "apps/v1");
        assert_eq!(group["versions"][1]["version"], "v1beta1");
        assert_eq!(plain(&snapshot, &["apis", "nope"]), None);
        assert_eq!(plain(&snapshot, &["apis", "apps", "v9"]), None);
        assert_eq!(plain(&snapshot, &["apis"]).unwrap()["groups"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn aggregated_documents_hold_everything_at_once() {
        let document = aggregated::list(&snapshot(), &Routes::default(), false, "v2");
        assert_eq!(document["items"][0]["metadata"]["name"], "apps");
        let deployments = &document["items"][0]["versions"][0]["resources"][0];
        assert_eq!(deployments["resource"], "deployments");
        assert_eq!(deployments["scope"], "Cluster");
        assert_eq!(deployments["subresources"][0]["responseKind"]["group"], "autoscaling");
    }

    #[test]
    fn the_client_gets_the_first_form_that_it_names() {
        let mut headers = HeaderMap::new();
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (accept, expected) in [
            (format!("{v2},{beta},application/json"), Some(Aggregated::V2)),
            (format!("{beta},application/json"), Some(Aggregated::V2Beta1)),
            ("application/json".to_string(), None),
            ("*/*".to_string(), None),
        ] {
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(Aggregated::asked(&headers), expected, "{accept}");
        }
    }
}
