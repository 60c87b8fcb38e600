//! The documents have what kubectl looks for in them.

use hansa_api::schema;
use serde_json::json;

use super::*;
use crate::generic::catalog::{Catalog, Served};
use crate::generic::resource::Resource;
use crate::generic::strategy::Plain;

fn snapshot() -> Arc<Snapshot> {
    let pods = Resource::new("", "v1", "Pod", "pods").namespaced().status();
    let deployments =
        Resource::new("apps", "v1", "Deployment", "deployments").namespaced().status().scale();
    let catalog =
        Catalog::new(vec![Served::builtin(pods, Plain), Served::builtin(deployments, Plain)]);
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": {"size": {"type": "integer", "nullable": true}}}}});
    let mut custom = Served::builtin(Resource::new("ex.org", "v1", "Toy", "toys"), Plain);
    custom.schema = Some(Arc::new(schema));
    catalog.set_custom("toys.ex.org", vec![Arc::new(custom)]);
    catalog.snapshot()
}

#[test]
fn a_document_has_the_kinds_and_the_parameters_that_kubectl_looks_for() {
    let document = document::v3(&snapshot(), "apps", "v1");
    let path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let patch = &document["paths"][path]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    let names: Vec<_> =
        patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
    assert!(names.contains(&json!("fieldValidation")) && names.contains(&json!("dryRun")));
    assert!(document["paths"][format!("{path}/scale")]["put"].is_object());
    let schemas = &document["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert!(containers["description"].is_string());
}

#[test]
fn only_kinds_with_merge_keys_offer_a_strategic_patch() {
    let offers = |group: &str, path: &str| {
        let document = document::v3(&snapshot(), group, "v1");
        let content = &document["paths"][path]["patch"]["requestBody"]["content"];
        assert!(content["application/merge-patch+json"].is_object());
        content["application/strategic-merge-patch+json"].is_object()
    };
    assert!(offers("apps", "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"));
    assert!(!offers("ex.org", "/apis/ex.org/v1/toys/{name}"), "kubectl apply would send one");
}

/// Every `$ref` of a document leads somewhere.
fn check_references(value: &Value, schemas: &Value, prefix: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                let name = target.strip_prefix(prefix).unwrap();
                assert!(schemas[name].is_object(), "dangling {name}");
            }
            fields.values().for_each(|value| check_references(value, schemas, prefix));
        }
        Value::Array(list) => {
            list.iter().for_each(|value| check_references(value, schemas, prefix));
        }
        _ => {}
    }
}

#[test]
fn no_reference_dangles() {
    for (group, version) in [("", "v1"), ("apps", "v1"), ("ex.org", "v1")] {
        let document = document::v3(&snapshot(), group, version);
        let schemas = &document["components"]["schemas"];
        check_references(&document, schemas, "#/components/schemas/");
    }
    let document = v2::document(&snapshot(), &Routes::default());
    check_references(&document, &document["definitions"], "#/definitions/");
}

#[test]
fn custom_resources_have_their_own_schemas() {
    let document = document::v3(&snapshot(), "ex.org", "v1");
    let toy = &document["components"]["schemas"]["org.ex.v1.Toy"];
    assert_eq!(toy["properties"]["spec"]["properties"]["size"]["nullable"], true);
    assert_eq!(toy["properties"]["kind"]["type"], "string");
    assert_eq!(toy["x-kubernetes-group-version-kind"][0]["kind"], "Toy");
    let old = &v2::document(&snapshot(), &Routes::default())["definitions"]["org.ex.v1.Toy"];
    assert_eq!(old["properties"]["spec"]["properties"]["size"], json!({"type": "integer"}));
}

#[test]
fn the_index_changes_with_what_is_served() {
    let before = index(&snapshot(), &Routes::default());
    assert!(before["paths"]["apis/apps/v1"]["serverRelativeURL"].is_string());
    assert_eq!(before, index(&snapshot(), &Routes::default()));
    let catalog = Catalog::new(vec![Served::builtin(
        Resource::new("apps", "v1", "Deployment", "deployments").namespaced(),
        Plain,
    )]);
    let after = index(&catalog.snapshot(), &Routes::default());
    assert_ne!(before["paths"]["apis/apps/v1"], after["paths"]["apis/apps/v1"]);
}

#[test]
fn the_bundle_knows_the_types_that_every_document_needs() {
    for name in ["ObjectMeta", "ListMeta", "Status", "DeleteOptions"] {
        let full = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}");
        assert!(schema::builtin().type_named(&full).is_some(), "{full}");
    }
}
