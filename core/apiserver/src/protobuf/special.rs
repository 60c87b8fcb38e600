//! Types whose protobuf message looks nothing like their JSON.

use hansa_api::schema::{self, FieldType};
use jiff::Timestamp;
use serde_json::Value;

use super::wire::{Field, Reader, text};
use super::{Error, decode};

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
