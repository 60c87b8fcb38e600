//! Types whose protobuf message looks nothing like their JSON.

use hansa_api::schema::{self, FieldType};
use jiff::Timestamp;
use serde_json::Value;

use super::wire::{Field, Reader, put_bytes, put_message, put_varint, text};
use super::{Error, decode, encode};

const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// `resource.Quantity`: its text in field 1.
pub(super) fn quantity(bytes: &[u8]) -> Result<Value, Error> {
    let mut found = String::from("0");
    for field in Reader::new(bytes) {
        if let (1, Field::Bytes(bytes)) = field? {
            found = text(bytes);
        }
    }
    Ok(found.into())
}

/// `intstr.IntOrString`: which of the two, the number, the text.
pub(super) fn int_or_string(bytes: &[u8]) -> Result<Value, Error> {
    let (mut is_text, mut number, mut string) = (false, 0_i32, String::new());
    for field in Reader::new(bytes) {
        match field? {
            (1, Field::Varint(kind)) => is_text = kind == 1,
            (2, Field::Varint(value)) => number = value as i32,
            (3, Field::Bytes(bytes)) => string = text(bytes),
            _ => {}
        }
    }
    Ok(if is_text { string.into() } else { number.into() })
}

/// `meta/v1.Time` and `MicroTime`: seconds and nanoseconds; an empty message is no time at all.
pub(super) fn time(bytes: &[u8], micros: bool) -> Result<Value, Error> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for field in Reader::new(bytes) {
        match field? {
            (1, Field::Varint(value)) => seconds = value as i64,
            (2, Field::Varint(value)) => nanos = value as i32,
            _ => {}
        }
    }
    let time = Timestamp::new(seconds, nanos).map_err(|_| Error::Malformed)?;
    let format = if micros { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(time.strftime(format).to_string().into())
}

/// `RawExtension`, `JSON` and `FieldsV1`: JSON bytes in field 1.
pub(super) fn raw_json(bytes: &[u8]) -> Result<Value, Error> {
    let mut found = Value::Null;
    for field in Reader::new(bytes) {
        if let (1, Field::Bytes(bytes)) = field?
            && !bytes.is_empty()
        {
            found = serde_json::from_slice(bytes).map_err(|_| Error::Malformed)?;
        }
    }
    Ok(found)
}

/// A double as JSON has it: a whole number is written without a point.
pub(super) fn double(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value.fract() == 0.0 && value.abs() < EXACT {
        true => (value as i64).into(),
        false => value.into(),
    }
}

/// Numbers packed into one field.
pub(super) fn packed(bytes: &[u8]) -> Result<Vec<Value>, Error> {
    // A varint alone is a field without its key; give it one.
    let mut out = Vec::new();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte < 0x80 {
            let keyed = [&[8], &bytes[start..=at]].concat();
            for field in Reader::new(&keyed) {
                if let (_, Field::Varint(number)) = field? {
                    out.push((number as i64).into());
                }
            }
            start = at + 1;
        }
    }
    if start == bytes.len() { Ok(out) } else { Err(Error::Malformed) }
}

/// `JSONSchemaPropsOr…`: a schema, or a boolean, a list of schemas, a list of strings.
pub(super) fn schema_or(kind: &FieldType, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let (mut found, mut list, mut allows) = (None, Vec::new(), false);
    let schema_at = if *kind == FieldType::SchemaOrBool { 2 } else { 1 };
    for field in Reader::new(bytes) {
        match (kind, field?) {
            (_, (number, Field::Bytes(bytes))) if number == schema_at => {
                found = Some(json_schema(bytes, depth)?);
            }
            (FieldType::SchemaOrBool, (1, Field::Varint(value))) => allows = value != 0,
            (FieldType::SchemaOrArray, (2, Field::Bytes(bytes))) => {
                list.push(json_schema(bytes, depth)?);
            }
            (FieldType::SchemaOrStrings, (2, Field::Bytes(bytes))) => list.push(text(bytes).into()),
            _ => {}
        }
    }
    Ok(match (found, kind) {
        (Some(schema), _) => schema,
        (None, FieldType::SchemaOrBool) => allows.into(),
        (None, _) => list.into(),
    })
}

fn json_schema(bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let bundle = schema::builtin();
    let id = bundle.type_named(SCHEMA).ok_or(Error::Malformed)?;
    Ok(decode::object(bundle.get(id), bytes, depth)?.into())
}

/// Appends a field of one of these types.
pub(super) fn put(number: u64, kind: &FieldType, value: &Value, out: &mut Vec<u8>) {
    match kind {
        FieldType::Quantity => put_message(out, number, |out| put_text(out, 1, value)),
        FieldType::IntOrString => put_message(out, number, |out| put_int_or_string(out, value)),
        FieldType::Time | FieldType::MicroTime => {
            let time = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
            put_message(out, number, |out| put_time(out, time));
        }
        FieldType::Any | FieldType::FreeObject => {
            put_message(out, number, |out| put_bytes(out, 1, value.to_string().as_bytes()));
        }
        FieldType::SchemaOrArray | FieldType::SchemaOrBool | FieldType::SchemaOrStrings => {
            put_message(out, number, |out| put_schema_or(out, kind, value));
        }
        _ => {}
    }
}

/// An integer, also where it is written as `1.0`.
pub(super) fn integer(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_f64().map(|double| double as i64)).unwrap_or_default()
}

/// A string, or the text of a number.
fn put_text(out: &mut Vec<u8>, number: u64, value: &Value) {
    match value {
        Value::String(text) => put_bytes(out, number, text.as_bytes()),
        other => put_bytes(out, number, other.to_string().as_bytes()),
    }
}

fn put_int_or_string(out: &mut Vec<u8>, value: &Value) {
    let text = value.as_str();
    put_varint(out, 1, u64::from(text.is_some()));
    put_varint(out, 2, integer(value) as u64);
    put_bytes(out, 3, text.unwrap_or_default().as_bytes());
}

fn put_time(out: &mut Vec<u8>, time: Option<Timestamp>) {
    if let Some(time) = time {
        put_varint(out, 1, time.as_second() as u64);
        put_varint(out, 2, u64::from(time.subsec_nanosecond().unsigned_abs()));
    }
}

fn put_schema_or(out: &mut Vec<u8>, kind: &FieldType, value: &Value) {
    let id = schema::builtin().type_named(SCHEMA);
    let put_schema = |out: &mut Vec<u8>, number: u64, value: &Value| {
        if let (Some(id), Value::Object(tree)) = (id, value) {
            put_message(out, number, |out| encode::object(id, tree, out));
        }
    };
    match (kind, value) {
        (FieldType::SchemaOrBool, Value::Bool(allows)) => {
            put_varint(out, 1, u64::from(*allows));
        }
        (FieldType::SchemaOrBool, schema) => {
            put_varint(out, 1, 1);
            put_schema(out, 2, schema);
        }
        (FieldType::SchemaOrArray, Value::Array(list)) => {
            list.iter().for_each(|schema| put_schema(out, 2, schema));
        }
        (_, Value::Array(list)) => list.iter().for_each(|text| put_text(out, 2, text)),
        (_, schema) => put_schema(out, 1, schema),
    }
}
