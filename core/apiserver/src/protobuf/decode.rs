//! Messages to trees, by the schema bundle's types.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_api::schema::{self, FieldType, TypeDef};
use serde_json::{Map, Value};

use super::table::{self, Message, Slot};
use super::wire::{Field, Reader, text};
use super::{Error, special};

const MAX_DEPTH: usize = 64;

/// Decodes a message of a bundle type.
pub(super) fn object(
    def: &TypeDef,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, Error> {
    let mut out = Map::new();
    if let Some(message) = table::of(&def.name) {
        fill(def, message, bytes, depth, &mut out)?;
    }
    Ok(out)
}

fn fill(
    def: &TypeDef,
    message: &Message,
    bytes: &[u8],
    depth: usize,
    out: &mut Map<String, Value>,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Depth);
    }
    for field in Reader::new(bytes) {
        let (number, value) = field?;
        match (message.get(&number), value) {
            (Some(Slot::Inline(inner)), Field::Bytes(bytes)) => {
                fill(def, inner, bytes, depth + 1, out)?;
            }
            (Some(Slot::Field { name, omit_zero }), value) => {
                let Some(field) = def.field(name) else { continue };
                if !(*omit_zero && is_zero(&field.kind, value)) {
                    put(out, name, &field.kind, value, depth)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a field holds what Go's `omitempty` leaves out; messages are never left out.
fn is_zero(kind: &FieldType, value: Field<'_>) -> bool {
    match (kind, value) {
        (FieldType::String, Field::Bytes(bytes)) => bytes.is_empty(),
        (_, Field::Varint(number)) => number == 0,
        (_, Field::Fixed64(number)) => number == 0,
        _ => false,
    }
}

fn put(
    out: &mut Map<String, Value>,
    name: &str,
    kind: &FieldType,
    value: Field<'_>,
    depth: usize,
) -> Result<(), Error> {
    match (kind, value) {
        (FieldType::List(item), value) => {
            let slot = out.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            let list = slot.as_array_mut().ok_or(Error::Malformed)?;
            match (&**item, value) {
                // Numbers may come packed.
                (FieldType::Int32 | FieldType::Int64, Field::Bytes(packed)) => {
                    list.extend(special::packed(packed)?);
                }
                (item, value) => list.push(one(item, value, depth)?),
            }
        }
        (FieldType::Map(inner), Field::Bytes(entry)) => {
            let slot = out.entry(name).or_insert_with(|| Value::Object(Map::new()));
            let map = slot.as_object_mut().ok_or(Error::Malformed)?;
            let (key, value) = map_entry(inner, entry, depth)?;
            map.insert(key, value);
        }
        (kind, value) => {
            let value = one(kind, value, depth)?;
            if !value.is_null() {
                out.insert(name.to_string(), value);
            }
        }
    }
    Ok(())
}

fn map_entry(kind: &FieldType, bytes: &[u8], depth: usize) -> Result<(String, Value), Error> {
    let mut key = String::new();
    let mut value = None;
    for field in Reader::new(bytes) {
        match field? {
            (1, Field::Bytes(bytes)) => key = text(bytes),
            (2, field) => value = Some(map_value(kind, field, depth)?),
            _ => {}
        }
    }
    let value = match value {
        Some(value) => value,
        None => map_value(kind, Field::Bytes(&[]), depth)?,
    };
    Ok((key, value))
}

/// A list as a map's value is a message of its own, with the items in field 1.
fn map_value(kind: &FieldType, value: Field<'_>, depth: usize) -> Result<Value, Error> {
    let (FieldType::List(item), Field::Bytes(bytes)) = (kind, value) else {
        return one(kind, value, depth);
    };
    let items = Reader::new(bytes).map(|field| one(item, field?.1, depth + 1));
    items.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn one(kind: &FieldType, value: Field<'_>, depth: usize) -> Result<Value, Error> {
    Ok(match (kind, value) {
        (FieldType::String, Field::Bytes(bytes)) => text(bytes).into(),
        (FieldType::Bytes, Field::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        // Negative numbers are sign-extended to 64 bits on the wire.
        (FieldType::Int32, Field::Varint(number)) => (number as i32).into(),
        (FieldType::Int64, Field::Varint(number)) => (number as i64).into(),
        (FieldType::Bool, Field::Varint(number)) => (number != 0).into(),
        (FieldType::Double, Field::Fixed64(bits)) => special::double(f64::from_bits(bits)),
        (FieldType::Double, Field::Fixed32(bits)) => {
            special::double(f64::from(f32::from_bits(bits)))
        }
        (FieldType::Quantity, Field::Bytes(bytes)) => special::quantity(bytes)?,
        (FieldType::IntOrString, Field::Bytes(bytes)) => special::int_or_string(bytes)?,
        (FieldType::Time, Field::Bytes(bytes)) => special::time(bytes, false)?,
        (FieldType::MicroTime, Field::Bytes(bytes)) => special::time(bytes, true)?,
        (FieldType::Any | FieldType::FreeObject, Field::Bytes(bytes)) => special::raw_json(bytes)?,
        (FieldType::Object(id), Field::Bytes(bytes)) => {
            object(schema::builtin().get(*id), bytes, depth + 1)?.into()
        }
        (
            FieldType::SchemaOrArray | FieldType::SchemaOrBool | FieldType::SchemaOrStrings,
            Field::Bytes(bytes),
        ) => special::schema_or(kind, bytes, depth + 1)?,
        _ => return Err(Error::Malformed),
    })
}
