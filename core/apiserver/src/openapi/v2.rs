//! The OpenAPI v2 document: definitions of everything served, for older clients.

use serde_json::{Map, Value, json};

use super::document::components;
use super::schemas::{Dialect, gvk};
use crate::aggregation::Routes;
use crate::generic::catalog::Snapshot;

/// The whole document; paths hold what clients look at: the patch operation of each kind.
pub(super) fn document(snapshot: &Snapshot, routes: &Routes) -> Value {
    let served = snapshot.all().map(|served| &**served);
    let mut definitions = components(served.collect::<Vec<_>>().into_iter(), Dialect::V2);
    let mut paths = paths(snapshot);
    for other in routes.all().filter_map(|backend| backend.documents().openapi_v2.clone()) {
        add(&mut paths, &other["paths"]);
        add(&mut definitions, &other["definitions"]);
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": hansa_api::version::GIT_VERSION},
        "paths": paths,
        "definitions": definitions,
    })
}

/// Adds what another server says; what is here already stays as it is.
fn add(own: &mut Map<String, Value>, others: &Value) {
    for (name, value) in others.as_object().into_iter().flatten() {
        own.entry(name).or_insert_with(|| value.clone());
    }
}

fn paths(snapshot: &Snapshot) -> Map<String, Value> {
    let mut paths = Map::new();
    for resource in snapshot.all().map(|served| &served.resource) {
        if !resource.verbs.iter().any(|verb| verb == "patch") {
            continue;
        }
        let root = match resource.group.as_ref() {
            "" => format!("/api/{}", resource.version),
            group => format!("/apis/{group}/{}", resource.version),
        };
        let place = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let path = format!("{root}{place}/{}/{{name}}", resource.plural);
        let parameter = |name: &str| json!({"in": "query", "name": name, "type": "string"});
        let names = ["dryRun", "fieldManager", "fieldValidation"];
        let parameters: Vec<Value> = names.into_iter().map(parameter).collect();
        let kind = gvk(&resource.group, &resource.version, &resource.kind);
        let patch = json!({
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": kind,
        });
        paths.insert(path, json!({"patch": patch}));
    }
    paths
}
