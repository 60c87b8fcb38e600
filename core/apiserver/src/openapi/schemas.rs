//! Component schemas from the bundle.

use std::collections::BTreeSet;

use hansa_api::schema::{Bundle, FieldDef, FieldType, ListType, MapType, TypeDef, TypeId};
use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";

/// Which OpenAPI the schemas are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// References below `#/definitions/`; siblings of a reference are allowed.
    V2,
    /// References below `#/components/schemas/`; siblings of a reference need `allOf`.
    V3,
}

impl Dialect {
    /// A reference to a component.
    pub(super) fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    /// A schema that may get siblings.
    fn with_siblings(self, schema: Value) -> Value {
        let needs_all_of = self == Self::V3 && schema.get("$ref").is_some();
        if needs_all_of { json!({"allOf": [schema]}) } else { schema }
    }
}

/// Makes schemas of bundle types.
pub(super) struct Schemas<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) descriptions: &'a Descriptions,
    pub(super) dialect: Dialect,
}

impl Schemas<'_> {
    /// The schemas of these types and of all that they refer to.
    pub(super) fn closure(&self, roots: impl IntoIterator<Item = TypeId>) -> Map<String, Value> {
        let mut todo: Vec<TypeId> = roots.into_iter().collect();
        let mut seen: BTreeSet<TypeId> = todo.iter().copied().collect();
        let mut out = self.primitives();
        while let Some(id) = todo.pop() {
            let def = self.bundle.get(id);
            out.insert(def.name.clone(), self.object(def));
            let referred = def.fields.iter().filter_map(|field| object_of(&field.kind));
            todo.extend(referred.filter(|id| seen.insert(*id)));
        }
        out
    }

    /// The named types that are no objects.
    fn primitives(&self) -> Map<String, Value> {
        let time = || json!({"type": "string", "format": "date-time"});
        let (quantity, port) = match self.dialect {
            Dialect::V2 => {
                (json!({"type": "string"}), json!({"type": "string", "format": "int-or-string"}))
            }
            Dialect::V3 => (
                json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
                json!({"oneOf": [{"type": "integer"}, {"type": "string"}],
                    "format": "int-or-string"}),
            ),
        };
        let all =
            [(QUANTITY, quantity), (INT_OR_STRING, port), (TIME, time()), (MICRO_TIME, time())];
        all.into_iter().map(|(name, schema)| (name.to_string(), schema)).collect()
    }

    fn object(&self, def: &TypeDef) -> Value {
        let mut schema = Map::new();
        if let Some(text) = self.descriptions.of_type(&def.name) {
            schema.insert("description".into(), text.into());
        }
        schema.insert("type".into(), "object".into());
        let required: Vec<&str> =
            def.fields.iter().filter(|f| f.required).map(|f| f.name.as_str()).collect();
        if !required.is_empty() {
            schema.insert("required".into(), json!(required));
        }
        let properties: Map<String, Value> =
            def.fields.iter().map(|field| (field.name.clone(), self.field(def, field))).collect();
        if !properties.is_empty() {
            schema.insert("properties".into(), properties.into());
        }
        if !def.kinds.is_empty() {
            let kinds: Vec<Value> =
                def.kinds.iter().map(|k| gvk(&k.group, &k.version, &k.kind)).collect();
            schema.insert("x-kubernetes-group-version-kind".into(), kinds.into());
        }
        if def.atomic {
            schema.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        Value::Object(schema)
    }

    fn field(&self, def: &TypeDef, field: &FieldDef) -> Value {
        let mut schema = self.dialect.with_siblings(self.value(&field.kind));
        let Some(fields) = schema.as_object_mut() else { return schema };
        if let Some(text) = self.descriptions.of_field(&def.name, &field.name) {
            fields.insert("description".into(), text.into());
        }
        for (name, value) in extensions(field) {
            fields.insert(name.into(), value);
        }
        schema
    }

    fn value(&self, kind: &FieldType) -> Value {
        match kind {
            FieldType::String => json!({"type": "string"}),
            FieldType::Bytes => json!({"type": "string", "format": "byte"}),
            FieldType::Int32 => json!({"type": "integer", "format": "int32"}),
            FieldType::Int64 => json!({"type": "integer", "format": "int64"}),
            FieldType::Double => json!({"type": "number", "format": "double"}),
            FieldType::Bool => json!({"type": "boolean"}),
            FieldType::Quantity => self.dialect.reference(QUANTITY),
            FieldType::IntOrString => self.dialect.reference(INT_OR_STRING),
            FieldType::Time => self.dialect.reference(TIME),
            FieldType::MicroTime => self.dialect.reference(MICRO_TIME),
            FieldType::Any
            | FieldType::SchemaOrArray
            | FieldType::SchemaOrBool
            | FieldType::SchemaOrStrings => json!({}),
            FieldType::FreeObject => json!({"type": "object"}),
            FieldType::List(item) => json!({"type": "array", "items": self.value(item)}),
            FieldType::Map(value) => {
                json!({"type": "object", "additionalProperties": self.value(value)})
            }
            FieldType::Object(id) => self.dialect.reference(&self.bundle.get(*id).name),
        }
    }
}

fn object_of(kind: &FieldType) -> Option<TypeId> {
    match kind {
        FieldType::Object(id) => Some(*id),
        FieldType::List(inner) | FieldType::Map(inner) => object_of(inner),
        _ => None,
    }
}

fn extensions(field: &FieldDef) -> Vec<(&'static str, Value)> {
    let mut out = Vec::new();
    if let Some(list_type) = field.list_type {
        let name = match list_type {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        out.push(("x-kubernetes-list-type", name.into()));
    }
    if !field.map_keys.is_empty() {
        out.push(("x-kubernetes-list-map-keys", json!(field.map_keys)));
    }
    if let Some(key) = &field.merge_key {
        out.push(("x-kubernetes-patch-merge-key", key.as_str().into()));
    }
    let strategy = &field.strategy;
    let words = [
        (strategy.merge, "merge"),
        (strategy.replace, "replace"),
        (strategy.retain_keys, "retainKeys"),
    ];
    let words: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
    if !words.is_empty() {
        out.push(("x-kubernetes-patch-strategy", words.join(",").into()));
    }
    if let Some(map_type) = field.map_type {
        let word = if map_type == MapType::Atomic { "atomic" } else { "granular" };
        out.push(("x-kubernetes-map-type", word.into()));
    }
    out
}

/// A group, version and kind as OpenAPI extensions spell it.
pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}
