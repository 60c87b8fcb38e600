//! Graphs of types from the schema bundle and from the schemas of custom resources.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::schema::{
    Atom, DEDUCED, Field, Identity, List, Map, ObjectType, Scalar, Schema, TypeNumber, UNTYPED,
    scalar_type,
};
use crate::gvk::GroupVersionKind;
use crate::schema::{FieldDef, FieldType, ListType, MapType, TypeDef, TypeId, builtin as bundle};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The graph of all built-in types.
pub(super) struct Builtin {
    pub(super) schema: Arc<Schema>,
    pub(super) kinds: HashMap<GroupVersionKind, TypeNumber>,
}

pub(super) fn builtin() -> Builtin {
    let mut builder = Builder::new(true);
    let mut kinds = HashMap::new();
    for (id, def) in bundle().types() {
        let number = builder.object(id);
        kinds.extend(def.kinds.iter().map(|kind| (kind.clone(), number)));
    }
    Builtin { schema: builder.finish(), kinds }
}

/// The type of a custom resource.
pub(super) fn custom(schema: &Value) -> ObjectType {
    let mut builder = Builder::new(false);
    if !schema.is_object() {
        return ObjectType::new(builder.finish(), DEDUCED);
    }
    let root = builder.open_api(schema, false, true);
    ObjectType::new(builder.finish(), root)
}

struct Builder {
    atoms: Vec<Atom>,
    done: HashMap<TypeId, TypeNumber>,
    /// Whether objects have their empty fields, as those that are decoded into structs.
    fills: bool,
}

impl Builder {
    fn new(fills: bool) -> Self {
        let whatever = |atomic, element| Atom {
            scalar: Some(Scalar::Any),
            list: Some(List { identity: Identity::Atomic, element: UNTYPED }),
            map: Some(Map { atomic, fields: Vec::new(), element: Some(element) }),
        };
        let mut atoms = vec![whatever(true, UNTYPED), whatever(false, DEDUCED)];
        let scalars = [Scalar::String, Scalar::Numeric, Scalar::Boolean, Scalar::Any];
        atoms.extend(scalars.map(|scalar| Atom { scalar: Some(scalar), ..Atom::default() }));
        Self { atoms, done: HashMap::new(), fills }
    }

    fn finish(self) -> Arc<Schema> {
        Arc::new(Schema { atoms: self.atoms })
    }

    fn add(&mut self, atom: Atom) -> TypeNumber {
        self.atoms.push(atom);
        self.atoms.len() - 1
    }

    /// A type of the bundle. Its number is taken before its fields are looked at, which may lead
    /// back to it.
    fn object(&mut self, id: TypeId) -> TypeNumber {
        if let Some(number) = self.done.get(&id) {
            return *number;
        }
        let number = self.add(Atom::default());
        self.done.insert(id, number);
        let def = bundle().get(id);
        let fields = def.fields.iter().map(|field| self.field(def, field)).collect();
        let map = Map { atomic: def.atomic, fields, element: None };
        self.atoms[number].map = Some(map);
        number
    }

    fn field(&mut self, def: &TypeDef, field: &FieldDef) -> Field {
        let mut kind = self.kind(def, field, &field.kind, true);
        if let Some(map_type) = field.map_type {
            kind = self.with_map_type(kind, map_type);
        }
        Field {
            name: field.name.as_str().into(),
            kind,
            always: self.fills && field.always,
            null: field.pointer,
            default: key_default(def, field),
        }
    }

    /// A type like another, but replaced as a whole or not.
    fn with_map_type(&mut self, kind: TypeNumber, map_type: MapType) -> TypeNumber {
        let mut atom = self.atoms[kind].clone();
        if let Some(map) = &mut atom.map {
            map.atomic = map_type == MapType::Atomic;
        }
        self.add(atom)
    }

    fn kind(
        &mut self,
        def: &TypeDef,
        field: &FieldDef,
        kind: &FieldType,
        outer: bool,
    ) -> TypeNumber {
        match kind {
            FieldType::Object(id) => self.object(*id),
            FieldType::String | FieldType::Bytes => scalar_type(Scalar::String),
            FieldType::Int32 | FieldType::Int64 | FieldType::Double => scalar_type(Scalar::Numeric),
            FieldType::Bool => scalar_type(Scalar::Boolean),
            FieldType::Quantity | FieldType::Time | FieldType::MicroTime => {
                scalar_type(Scalar::Any)
            }
            FieldType::Any if !is_schema(def) => UNTYPED,
            FieldType::Any
            | FieldType::IntOrString
            | FieldType::SchemaOrArray
            | FieldType::SchemaOrBool
            | FieldType::SchemaOrStrings => DEDUCED,
            FieldType::FreeObject => {
                let map = Map { element: Some(DEDUCED), ..Map::default() };
                self.add(Atom { map: Some(map), ..Atom::default() })
            }
            FieldType::Map(value) => {
                let element = Some(self.kind(def, field, value, false));
                let map = Map { element, ..Map::default() };
                self.add(Atom { map: Some(map), ..Atom::default() })
            }
            FieldType::List(item) => {
                let element = self.kind(def, field, item, false);
                let identity = if outer { identity(field) } else { Identity::Atomic };
                self.add(Atom { list: Some(List { identity, element }), ..Atom::default() })
            }
        }
    }

    /// A type of an OpenAPI schema. `preserve` is what an outer schema says of unknown fields.
    fn open_api(&mut self, schema: &Value, preserve: bool, root: bool) -> TypeNumber {
        let preserve = preserve || schema["x-kubernetes-preserve-unknown-fields"] == true;
        let atom = match schema["type"].as_str().unwrap_or_default() {
            "object" => Atom { map: Some(self.map(schema, preserve, root)), ..Atom::default() },
            "array" => Atom { list: Some(self.list(schema, preserve)), ..Atom::default() },
            "integer" | "number" => return scalar_type(Scalar::Numeric),
            "boolean" => return scalar_type(Scalar::Boolean),
            "string" => return scalar_type(text_scalar(schema)),
            _ => Atom {
                scalar: Some(Scalar::Any),
                list: Some(self.list(schema, preserve)),
                map: Some(self.map(schema, preserve, root)),
            },
        };
        self.add(atom)
    }

    fn map(&mut self, schema: &Value, preserve: bool, root: bool) -> Map {
        let mut fields = Vec::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let kind = self.open_api(property, preserve, false);
            let default = property.get("default").filter(|value| !value.is_null()).cloned();
            let name = name.as_str().into();
            fields.push(Field { name, kind, always: false, null: false, default });
        }
        if root || schema["x-kubernetes-embedded-resource"] == true {
            self.add_type_fields(&mut fields);
        }
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let element = match &schema["additionalProperties"] {
            Value::Bool(true) => Some(DEDUCED),
            Value::Object(_) => {
                Some(self.open_api(&schema["additionalProperties"], preserve, false))
            }
            Value::Null if preserve || fields.is_empty() => Some(DEDUCED),
            _ => None,
        };
        Map { atomic: schema["x-kubernetes-map-type"] == "atomic", fields, element }
    }

    /// What every object has: its type and metadata.
    fn add_type_fields(&mut self, fields: &mut Vec<Field>) {
        fields.retain(|field| !["apiVersion", "kind", "metadata"].contains(&&*field.name));
        let text = scalar_type(Scalar::String);
        let metadata = bundle().type_named(OBJECT_META).map_or(DEDUCED, |id| self.object(id));
        for (name, kind) in [("apiVersion", text), ("kind", text), ("metadata", metadata)] {
            let name = name.into();
            fields.push(Field { name, kind, always: false, null: false, default: None });
        }
    }

    fn list(&mut self, schema: &Value, preserve: bool) -> List {
        let element = match schema.get("items").filter(|items| items.is_object()) {
            Some(items) => self.open_api(items, preserve, false),
            None => UNTYPED,
        };
        let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
        let identity = match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => Identity::Value,
            Some("map") => Identity::Keys(keys.filter_map(Value::as_str).map(Into::into).collect()),
            _ => Identity::Atomic,
        };
        List { identity, element }
    }
}

fn text_scalar(schema: &Value) -> Scalar {
    match schema["format"].as_str() {
        None | Some("" | "byte") => Scalar::String,
        Some(_) => Scalar::Any,
    }
}

/// Free JSON inside of a custom resource's schema merges by its fields; elsewhere it is one value.
fn is_schema(def: &TypeDef) -> bool {
    def.name.starts_with("io.k8s.apiextensions-apiserver.")
}

fn identity(field: &FieldDef) -> Identity {
    let keys =
        |names: &[String]| Identity::Keys(names.iter().map(|key| key.as_str().into()).collect());
    match (field.list_type, &field.merge_key) {
        (Some(ListType::Map), _) => keys(&field.map_keys),
        (Some(ListType::Set), _) => Identity::Value,
        (None, Some(key)) if field.strategy.merge => keys(std::slice::from_ref(key)),
        (None, None) if field.strategy.merge => Identity::Value,
        _ => Identity::Atomic,
    }
}

/// What an absent key stands for: required fields are their type's zero, and a few are defaulted.
fn key_default(def: &TypeDef, field: &FieldDef) -> Option<Value> {
    match (def.short_name(), field.name.as_str()) {
        ("ContainerPort" | "ServicePort", "protocol") => Some("TCP".into()),
        ("LocalObjectReference", "name") => Some("".into()),
        _ if !field.required => None,
        _ => match field.kind {
            FieldType::String => Some("".into()),
            FieldType::Int32 | FieldType::Int64 => Some(0.into()),
            FieldType::Bool => Some(false.into()),
            _ => None,
        },
    }
}
