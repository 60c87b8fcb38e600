//! One OpenAPI v3 document: a group and version with its paths and schemas.

use hansa_api::GroupVersionKind;
use hansa_api::schema::{self, TypeId};
use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::schemas::{Dialect, Schemas};
use super::{custom, paths};
use crate::generic::catalog::{Served, Snapshot};
use crate::generic::resource::Resource;

/// Types that every document has.
const ALWAYS: [&str; 4] = [
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
];

/// The document of one group and version.
pub(super) fn v3(snapshot: &Snapshot, group: &str, version: &str) -> Value {
    let served = snapshot.groups.get(group).and_then(|group| group.resources.get(version));
    let served: Vec<_> = served.into_iter().flatten().collect();
    let mut paths = Map::new();
    for one in &served {
        paths::add(&mut paths, &one.resource, &|group, version, kind| {
            component(&one.resource, one.is_custom(), group, version, kind)
        });
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": hansa_api::version::GIT_VERSION},
        "paths": paths,
        "components": {
            "schemas": components(served.iter().map(|served| &***served), Dialect::V3),
            "securitySchemes": {"BearerToken": {
                "type": "apiKey", "name": "authorization", "in": "header",
                "description": "Bearer Token authentication",
            }},
        },
    })
}

/// The schemas of what is served and of all that those refer to.
pub(super) fn components<'a>(
    served: impl Iterator<Item = &'a Served> + Clone,
    dialect: Dialect,
) -> Map<String, Value> {
    let bundle = schema::builtin();
    let builtin = served.clone().filter(|served| !served.is_custom());
    let mut roots: Vec<TypeId> = builtin
        .flat_map(|served| kinds(&served.resource))
        .filter_map(|k| bundle.type_of(&k))
        .collect();
    roots.extend(ALWAYS.iter().filter_map(|name| bundle.type_named(name)));
    let scale = GroupVersionKind::new("autoscaling", "v1", "Scale");
    roots.extend(bundle.type_of(&scale));
    let descriptions = match dialect {
        Dialect::V3 => Descriptions::read(),
        Dialect::V2 => Descriptions::none(),
    };
    let schemas = Schemas { bundle, descriptions: &descriptions, dialect };
    let mut components = schemas.closure(roots);
    for served in served.filter(|served| served.is_custom()) {
        components.extend(custom::schemas(served, dialect));
    }
    components
}

/// Every kind that a resource takes or gives.
fn kinds(resource: &Resource) -> Vec<GroupVersionKind> {
    let of = |kind: &str| GroupVersionKind::new(&*resource.group, &*resource.version, kind);
    let mut kinds = vec![of(&resource.kind), of(&resource.list_kind)];
    let subs = resource.subresources.iter();
    kinds.extend(subs.map(|sub| GroupVersionKind::new(&*sub.group, &*sub.version, &*sub.kind)));
    kinds
}

fn component(
    resource: &Resource,
    is_custom: bool,
    group: &str,
    version: &str,
    kind: &str,
) -> String {
    let bundle = schema::builtin();
    let known = bundle.type_of(&GroupVersionKind::new(group, version, kind));
    match known {
        Some(id) if !is_custom || group != resource.group => bundle.get(id).name.clone(),
        _ => custom::component_name(resource, kind),
    }
}
