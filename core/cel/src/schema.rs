//! Structural schemas as declarations, and objects as the values that their schemas say they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Schema, Value as Json};

use crate::escape::escape;
use crate::functions::time;
use crate::types::{Decl, Type};
use crate::value::{Key, List, ListKind, Map, Value};

/// How many bytes a request may have, as upstream's estimates suppose.
pub const REQUEST_MAX: u64 = 3 * 1024 * 1024;

/// The declaration that a schema makes; `None` for schemas of which expressions see nothing. The
/// root of a resource has `apiVersion`, `kind` and `metadata`, whatever its schema says.
pub fn decl(schema: &Schema, root: bool) -> Option<Decl> {
    if is_set(schema, "x-kubernetes-int-or-string") {
        let max = number(schema, "maxLength").map_or(REQUEST_MAX - 2, |length| length * 4);
        return Some(Decl::sized(Type::Dyn, max, 1));
    }
    let kind = if root { "object" } else { schema["type"].as_str().unwrap_or_default() };
    Some(match kind {
        "array" => list_decl(schema)?,
        "object" => return object_decl(schema, root),
        "string" => text_decl(schema),
        "boolean" => Decl::sized(Type::Bool, 0, 4),
        "number" => Decl::sized(Type::Double, 0, 1),
        "integer" => Decl::sized(Type::Int, 0, 1),
        _ => return None,
    })
}

fn is_set(schema: &Schema, name: &str) -> bool {
    schema[name] == true
}

fn number(schema: &Schema, name: &str) -> Option<u64> {
    Some(schema[name].as_i64()?.try_into().unwrap_or(0))
}

fn embedded(schema: &Schema) -> bool {
    is_set(schema, "x-kubernetes-embedded-resource")
}

fn list_decl(schema: &Schema) -> Option<Decl> {
    let items = schema.get("items").filter(|items| items.is_object())?;
    let items = decl(items, embedded(items))?;
    let max = number(schema, "maxItems").unwrap_or((REQUEST_MAX - 2) / (items.min_size + 1));
    Some(Decl::list(items, max))
}

fn object_decl(schema: &Schema, root: bool) -> Option<Decl> {
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object())
        && !root
    {
        let values = decl(values, embedded(values))?;
        let max =
            number(schema, "maxProperties").unwrap_or((REQUEST_MAX - 2) / (values.min_size + 6));
        return Some(Decl::map(values, max));
    }
    let required = schema["required"].as_array();
    let is_required =
        |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let mut min_size = 2;
    let mut fields = BTreeMap::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let Some(decl) = decl(property, embedded(property)) else { continue };
        if is_required(name) && property.get("default").is_none_or(Json::is_null) {
            min_size += name.len() as u64 + decl.min_size + 4;
        }
        fields.extend(escape(name).map(|name| (name, decl)));
    }
    if root {
        fields.extend(root_fields());
    }
    Some(Decl::object("object", fields, min_size))
}

/// What every resource has.
fn root_fields() -> impl Iterator<Item = (String, Decl)> {
    let text = || Decl::sized(Type::String, REQUEST_MAX - 2, 2);
    let metadata = ["name", "generateName"].map(|name| (name.to_string(), text()));
    let metadata = Decl::object("object", metadata.into_iter().collect(), 2);
    [("apiVersion", text()), ("kind", text()), ("metadata", metadata)]
        .map(|(name, decl)| (name.to_string(), decl))
        .into_iter()
}

fn text_decl(schema: &Schema) -> Decl {
    match schema["format"].as_str().unwrap_or_default() {
        "byte" => {
            let max = number(schema, "maxLength").unwrap_or(REQUEST_MAX - 2);
            Decl::sized(Type::Bytes, max, 2)
        }
        "duration" => Decl::sized(Type::Duration, 32, 3),
        "date" => Decl::sized(Type::Timestamp, 12, 12),
        "date-time" => Decl::sized(Type::Timestamp, 32, 21),
        _ => Decl::sized(Type::String, longest(schema), 2),
    }
}

fn longest(schema: &Schema) -> u64 {
    if let Some(length) = number(schema, "maxLength") {
        return length * 4;
    }
    let values = schema["enum"].as_array().filter(|values| !values.is_empty());
    let longest = values.map(|values| {
        values.iter().filter_map(Json::as_str).map(str::len).max().unwrap_or(0) as u64
    });
    longest.unwrap_or(REQUEST_MAX - 2)
}

/// An object as its schema sees it: numbers, times and bytes have the types that it names.
pub fn value(json: &Json, schema: &Schema) -> Value {
    if is_set(schema, "x-kubernetes-int-or-string") {
        return Value::from_json(json);
    }
    match json {
        Json::Array(items) => list_value(items, schema),
        Json::Object(fields) => {
            let object = schema.get("additionalProperties").is_none_or(|more| !more.is_object());
            let entry =
                |(name, json): (&String, &Json)| (Key::text(name), field_value(name, json, schema));
            let entries = fields.iter().map(entry).collect();
            Value::Map(Arc::new(Map { entries, object, type_name: "" }))
        }
        Json::String(text) => text_value(text, schema),
        Json::Number(number) if schema["type"] == "number" => {
            Value::Double(number.as_f64().unwrap_or_default())
        }
        Json::Number(number) if schema["type"] == "integer" => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Int(number.as_f64().unwrap_or_default() as i64),
        },
        other => Value::from_json(other),
    }
}

fn field_value(name: &str, json: &Json, schema: &Schema) -> Value {
    match schema["properties"].get(name) {
        Some(property) => value(json, property),
        None => match schema.get("additionalProperties").filter(|more| more.is_object()) {
            Some(values) => value(json, values),
            None => Value::from_object(json),
        },
    }
}

fn list_value(items: &[Json], schema: &Schema) -> Value {
    let keys = || {
        let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
        keys.filter_map(Json::as_str).map(str::to_string).collect()
    };
    let kind = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(keys()),
        _ => ListKind::Atomic,
    };
    let items = items.iter().map(|item| value(item, &schema["items"])).collect();
    Value::List(Arc::new(List { items, kind }))
}

/// Texts that do not have the format that they should are left as they are.
fn text_value(text: &str, schema: &Schema) -> Value {
    let found = match schema["format"].as_str().unwrap_or_default() {
        "byte" => STANDARD.decode(text).ok().map(|bytes| Value::Bytes(bytes.into())),
        "duration" => time::parse_duration(text).map(Value::Duration),
        "date" => time::parse_timestamp(&format!("{text}T00:00:00Z")).map(Value::Timestamp),
        "date-time" => time::parse_timestamp(text).map(Value::Timestamp),
        _ => None,
    };
    found.unwrap_or_else(|| Value::text(text))
}
