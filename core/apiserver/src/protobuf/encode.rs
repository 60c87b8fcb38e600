//! Trees to messages, by the schema bundle's types.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_api::schema::{FieldType, TypeId};
use serde_json::{Map, Value};

use super::special;
use super::table::{self, Step};
use super::wire::{put_bytes, put_fixed64, put_message, put_varint};

/// Appends the fields of a message of a bundle type. What does not fit its type is left out: what is
/// stored was checked when it came.
pub(super) fn object(id: TypeId, tree: &Map<String, Value>, out: &mut Vec<u8>) {
    if let Some(steps) = table::plan(id) {
        fields(steps, tree, out);
    }
}

fn fields(steps: &[Step], tree: &Map<String, Value>, out: &mut Vec<u8>) {
    for step in steps {
        match step {
            Step::Field { number, name, kind } => {
                if let Some(value) = tree.get(*name).filter(|value| !value.is_null()) {
                    field(*number, kind, value, out);
                }
            }
            Step::Inline { number, steps } => inline(*number, steps, tree, out),
        }
    }
}

/// A message that JSON inlines is there if any of its fields is.
fn inline(number: u64, steps: &[Step], tree: &Map<String, Value>, out: &mut Vec<u8>) {
    let before = out.len();
    put_message(out, number, |out| fields(steps, tree, out));
    let is_empty = out.last() == Some(&0) && out.len() - before <= 3;
    if is_empty {
        out.truncate(before);
    }
}

/// Appends a field; a list is one field per item, a map one per entry.
fn field(number: u64, kind: &FieldType, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (FieldType::List(item), Value::Array(list)) => {
            list.iter().for_each(|value| one(number, item, value, out));
        }
        (FieldType::Map(inner), Value::Object(map)) => {
            for (key, value) in map {
                put_message(out, number, |out| entry(inner, key, value, out));
            }
        }
        (kind, value) => one(number, kind, value, out),
    }
}

fn entry(kind: &FieldType, key: &str, value: &Value, out: &mut Vec<u8>) {
    put_bytes(out, 1, key.as_bytes());
    match (kind, value) {
        // A list as a map's value is a message of its own, with the items in field 1.
        (FieldType::List(_), value) => put_message(out, 2, |out| field(1, kind, value, out)),
        (kind, value) => one(2, kind, value, out),
    }
}

fn one(number: u64, kind: &FieldType, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (FieldType::String, Value::String(text)) => put_bytes(out, number, text.as_bytes()),
        (FieldType::Bytes, Value::String(text)) => {
            put_bytes(out, number, &STANDARD.decode(text).unwrap_or_default());
        }
        (FieldType::Int32 | FieldType::Int64, Value::Number(_)) => {
            // Negative numbers are sign-extended to 64 bits on the wire.
            put_varint(out, number, special::integer(value) as u64);
        }
        (FieldType::Bool, Value::Bool(flag)) => put_varint(out, number, u64::from(*flag)),
        (FieldType::Double, Value::Number(double)) => {
            put_fixed64(out, number, double.as_f64().unwrap_or_default().to_bits());
        }
        (FieldType::Object(id), Value::Object(tree)) => {
            put_message(out, number, |out| object(*id, tree, out));
        }
        (kind, value) => special::put(number, kind, value, out),
    }
}
