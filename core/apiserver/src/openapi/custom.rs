//! Component schemas of custom resources: what their definitions say, plus what every object has.

use serde_json::{Map, Value, json};

use super::schemas::{Dialect, gvk};
use crate::generic::catalog::Served;
use crate::generic::resource::Resource;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const API_VERSION: &str =
    "APIVersion defines which version of its group's schema the object follows: GROUP/VERSION.";
const KIND: &str = "The kind of this object.";
const METADATA: &str = "Standard object's metadata, as every kind has it.";

/// The component's name: the group's parts reversed, version and kind.
pub(super) fn component_name(resource: &Resource, kind: &str) -> String {
    let mut parts: Vec<&str> = resource.group.split('.').rev().collect();
    parts.push(&resource.version);
    parts.push(kind);
    parts.join(".")
}

/// The schemas of a custom resource's kind and of its list.
pub(super) fn schemas(served: &Served, dialect: Dialect) -> Vec<(String, Value)> {
    let resource = &served.resource;
    let name = component_name(resource, &resource.kind);
    let object = object(served, dialect);
    let list = list(resource, &name, dialect);
    vec![(name, object), (component_name(resource, &resource.list_kind), list)]
}

fn object(served: &Served, dialect: Dialect) -> Value {
    let mut schema = match served.schema.as_deref().filter(|schema| schema.is_object()) {
        Some(schema) if dialect == Dialect::V3 || !preserves(schema) => typed(schema, dialect),
        // Not even the fields that every object has: kubectl would take them for all there may be.
        _ => json!({"type": "object"}),
    };
    let resource = &served.resource;
    let kind = gvk(&resource.group, &resource.version, &resource.kind);
    schema["x-kubernetes-group-version-kind"] = json!([kind]);
    schema
}

fn preserves(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

/// A definition's schema with the fields that every object has.
fn typed(schema: &Value, dialect: Dialect) -> Value {
    let mut schema = schema.clone();
    if dialect == Dialect::V2 {
        simplify(&mut schema);
    }
    if schema["type"].is_null() {
        schema["type"] = "object".into();
    }
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    let properties = schema["properties"].as_object_mut().expect("made an object above");
    let described = |text: &str| json!({"type": "string", "description": text});
    properties.insert("apiVersion".into(), described(API_VERSION));
    properties.insert("kind".into(), described(KIND));
    properties.insert("metadata".into(), described_reference(OBJECT_META, dialect));
    schema
}

fn described_reference(name: &str, dialect: Dialect) -> Value {
    let reference = dialect.reference(name);
    let mut schema = match dialect {
        Dialect::V2 => reference,
        Dialect::V3 => json!({"allOf": [reference]}),
    };
    schema["description"] = METADATA.into();
    schema
}

fn list(resource: &Resource, of: &str, dialect: Dialect) -> Value {
    json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION},
            "kind": {"type": "string", "description": KIND},
            "metadata": described_reference(LIST_META, dialect),
            "items": {"type": "array", "items": dialect.reference(of)},
        },
        "x-kubernetes-group-version-kind":
            [gvk(&resource.group, &resource.version, &resource.list_kind)],
    })
}

/// OpenAPI v2 knows neither unions nor `nullable`; what it cannot say is left open.
fn simplify(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    if fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
        || fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true))
    {
        fields.retain(|name, _| name == "description" || name.starts_with("x-kubernetes-"));
        return;
    }
    for union in ["oneOf", "anyOf", "allOf", "not", "nullable", "default"] {
        fields.remove(union);
    }
    for (name, value) in fields.iter_mut() {
        match name.as_str() {
            "properties" => simplify_each(value.as_object_mut()),
            "items" | "additionalProperties" => simplify(value),
            _ => {}
        }
    }
}

fn simplify_each(properties: Option<&mut Map<String, Value>>) {
    for (_, property) in properties.into_iter().flatten() {
        simplify(property);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::generic::strategy::Plain;

    #[test]
    fn any_fields_are_published_as_none_in_v2_only() {
        let resource = Resource::new("a.io", "v1", "Toy", "toys").namespaced();
        let mut served = Served::builtin(resource, Plain);
        served.schema = Some(Arc::new(json!({"type": "object", "properties": {"a": {}},
            "x-kubernetes-preserve-unknown-fields": true})));
        let kind = json!([{"group": "a.io", "version": "v1", "kind": "Toy"}]);
        assert_eq!(
            object(&served, Dialect::V2),
            json!({"type": "object", "x-kubernetes-group-version-kind": kind})
        );
        let v3 = object(&served, Dialect::V3);
        assert!(v3["properties"]["a"].is_object() && v3["properties"]["metadata"].is_object());
    }
}
