//! JSON as values and back.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map as Fields, Number, Value as Json};

use crate::eval::EvalError;
use crate::functions::convert::text_of;
use crate::value::{Key, List, Map, Value};

impl Value {
    /// JSON of which no schema is known: objects are maps.
    pub fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => from_number(number),
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::list(items.iter().map(Self::from_json).collect()),
            Json::Object(fields) => Self::from_fields(fields, false),
        }
    }

    /// An object of which no schema is known, but whose fields go by escaped names.
    pub fn from_object(json: &Json) -> Self {
        match json {
            Json::Object(fields) => Self::from_fields(fields, true),
            Json::Array(items) => Self::list(items.iter().map(Self::from_object).collect()),
            other => Self::from_json(other),
        }
    }

    fn from_fields(fields: &Fields<String, Json>, object: bool) -> Self {
        let read = if object { Self::from_object } else { Self::from_json };
        let entries = fields.iter().map(|(name, value)| (Key::text(name), read(value))).collect();
        Self::Map(Arc::new(Map { entries, object, type_name: "" }))
    }

    /// As JSON; empty optionals are left out of lists and objects.
    ///
    /// # Errors
    /// If there is something in it that JSON has no word for.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        Ok(match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(flag) => Json::Bool(*flag),
            Self::Int(number) => (*number).into(),
            Self::Uint(number) => (*number).into(),
            Self::Double(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
            Self::List(list) => list_json(list)?,
            Self::Map(map) => map_json(map)?,
            Self::Optional(Some(inner)) => inner.to_json()?,
            Self::Duration(_)
            | Self::Timestamp(_)
            | Self::Quantity(_)
            | Self::Ip(_)
            | Self::Cidr(_)
            | Self::Url(_) => Json::String(text_of(self)),
            Self::Type(_) | Self::Semver(_) | Self::Format(_) | Self::Host(_) => {
                let message = format!("cannot convert {} to JSON", self.type_name());
                return Err(EvalError::new(message));
            }
        })
    }
}

fn from_number(number: &Number) -> Value {
    match (number.as_i64(), number.as_u64()) {
        (Some(number), _) => Value::Int(number),
        (None, Some(number)) => Value::Uint(number),
        _ => Value::Double(number.as_f64().unwrap_or_default()),
    }
}

fn list_json(list: &List) -> Result<Json, EvalError> {
    let present = list.items.iter().filter(|item| !matches!(item, Value::Optional(None)));
    Ok(Json::Array(present.map(Value::to_json).collect::<Result<_, _>>()?))
}

fn map_json(map: &Map) -> Result<Json, EvalError> {
    let mut fields = Fields::new();
    for (key, value) in &map.entries {
        if !matches!(value, Value::Optional(None)) {
            fields.insert(text_of(&key.value()), value.to_json()?);
        }
    }
    Ok(Json::Object(fields))
}
