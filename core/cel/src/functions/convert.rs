//! Conversions between types, and optionals.

use std::sync::Arc;

use super::{Entry, fail, no_overload, time};
use crate::eval::{EvalError, Evaluated};
use crate::meter::Meter;
use crate::value::Value;

pub(crate) const TABLE: &[Entry] = &[
    ("dyn", |args, _| args.first().cloned().ok_or(EvalError::NoSuchOverload)),
    ("type", |args, _| match args {
        [value] => Ok(Value::Type(value.type_name().into())),
        _ => no_overload(),
    }),
    ("bool", to_bool),
    ("int", to_int),
    ("uint", to_uint),
    ("double", to_double),
    ("string", to_string),
    ("bytes", |args, _| match args {
        [Value::Bytes(_)] => Ok(args[0].clone()),
        [Value::String(text)] => Ok(Value::Bytes(text.as_bytes().into())),
        _ => no_overload(),
    }),
    ("optional.of", |args, _| match args {
        [value] => Ok(Value::some(value.clone())),
        _ => no_overload(),
    }),
    ("optional.none", |_, _| Ok(Value::Optional(None))),
    ("optional.ofNonZeroValue", |args, _| match args {
        [value] if is_zero(value) => Ok(Value::Optional(None)),
        [value] => Ok(Value::some(value.clone())),
        _ => no_overload(),
    }),
    ("hasValue", |args, _| match args {
        [Value::Optional(inner)] => Ok(Value::Bool(inner.is_some())),
        _ => no_overload(),
    }),
    ("value", |args, _| match args {
        [Value::Optional(Some(inner))] => Ok((**inner).clone()),
        [Value::Optional(None)] => fail("optional.none() dereference"),
        _ => no_overload(),
    }),
    ("or", |args, _| match args {
        [Value::Optional(None), other] => Ok(other.clone()),
        [Value::Optional(Some(_)), _] => Ok(args[0].clone()),
        _ => no_overload(),
    }),
    ("orValue", |args, _| match args {
        [Value::Optional(None), other] => Ok(other.clone()),
        [Value::Optional(Some(inner)), _] => Ok((**inner).clone()),
        _ => no_overload(),
    }),
];

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(flag) => !flag,
        Value::Int(number) | Value::Duration(number) => *number == 0,
        Value::Uint(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::Timestamp(then) => then.as_nanosecond() == 0,
        Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => value.size() == 0,
        _ => false,
    }
}

fn bad(from: &Value, to: &str) -> Evaluated {
    let text = text_of(from);
    fail(format!("type conversion error from '{}' to '{to}': {text:?}", from.type_name()))
}

fn to_bool(args: &[Value], _: &mut Meter) -> Evaluated {
    match args {
        [Value::Bool(_)] => Ok(args[0].clone()),
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => bad(&args[0], "bool"),
        },
        _ => no_overload(),
    }
}

fn to_int(args: &[Value], _: &mut Meter) -> Evaluated {
    let range = || EvalError::new("integer overflow");
    match args {
        [Value::Int(_)] => Ok(args[0].clone()),
        [Value::Uint(number)] => i64::try_from(*number).map(Value::Int).map_err(|_| range()),
        [Value::Double(number)] if number.abs() < 9_223_372_036_854_775_807.0 => {
            Ok(Value::Int(*number as i64))
        }
        [Value::Double(_)] => Err(range()),
        [Value::String(text)] => text.parse().map(Value::Int).or_else(|_| bad(&args[0], "int")),
        [Value::Timestamp(then)] => Ok(Value::Int(then.as_second())),
        [Value::Duration(nanos)] => Ok(Value::Int(*nanos)),
        _ => no_overload(),
    }
}

fn to_uint(args: &[Value], _: &mut Meter) -> Evaluated {
    let range = || EvalError::new("unsigned integer overflow");
    match args {
        [Value::Uint(_)] => Ok(args[0].clone()),
        [Value::Int(number)] => u64::try_from(*number).map(Value::Uint).map_err(|_| range()),
        [Value::Double(number)] if *number >= 0.0 && *number < 18_446_744_073_709_551_615.0 => {
            Ok(Value::Uint(*number as u64))
        }
        [Value::Double(_)] => Err(range()),
        [Value::String(text)] => text.parse().map(Value::Uint).or_else(|_| bad(&args[0], "uint")),
        _ => no_overload(),
    }
}

fn to_double(args: &[Value], _: &mut Meter) -> Evaluated {
    match args {
        [Value::Double(_)] => Ok(args[0].clone()),
        [Value::Int(number)] => Ok(Value::Double(*number as f64)),
        [Value::Uint(number)] => Ok(Value::Double(*number as f64)),
        [Value::String(text)] => {
            text.parse().map(Value::Double).or_else(|_| bad(&args[0], "double"))
        }
        _ => no_overload(),
    }
}

fn to_string(args: &[Value], _: &mut Meter) -> Evaluated {
    match args {
        [Value::Bytes(bytes)] => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::text(text)),
            Err(_) => fail("invalid UTF-8 in bytes, cannot convert to string"),
        },
        [
            Value::String(_)
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::Timestamp(_)
            | Value::Duration(_)
            | Value::Ip(_)
            | Value::Cidr(_),
        ] => Ok(Value::text(&text_of(&args[0]))),
        _ => no_overload(),
    }
}

/// A number as Go prints it.
pub(crate) fn double_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let size = number.abs();
    if number == 0.0 || (1e-4..1e21).contains(&size) {
        return format!("{number}");
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// How a value prints.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => double_text(*number),
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Duration(nanos) => time::duration_text(*nanos),
        Value::Timestamp(then) => time::timestamp_text(*then),
        Value::Type(name) => name.to_string(),
        Value::Ip(ip) => ip.to_string(),
        Value::Cidr(cidr) => cidr.to_string(),
        Value::Quantity(quantity) => quantity.to_string(),
        Value::Url(url) => url.text().to_string(),
        Value::Optional(Some(inner)) => format!("optional({})", text_of(inner)),
        Value::Optional(None) => "optional.none".into(),
        other => other.to_json().map_or_else(|_| other.type_name().into(), |json| json.to_string()),
    }
}

impl Value {
    /// An optional value, none where there is none.
    pub(crate) fn maybe(value: Option<Value>) -> Value {
        Value::Optional(value.map(Arc::new))
    }
}
