//! Quantities, and what quantities and versions have in common.

use std::cmp::Ordering;

use hansa_api::quantity::Quantity;

use super::{Entry, fail, no_overload};
use crate::eval::Evaluated;
use crate::value::Value;

pub(crate) const TABLE: &[Entry] = &[
    ("quantity", |args, _| match args {
        [Value::String(text)] => match text.parse::<Quantity>() {
            Ok(quantity) => Ok(Value::Quantity(quantity)),
            Err(error) => fail(error.to_string()),
        },
        _ => no_overload(),
    }),
    ("isQuantity", |args, _| match args {
        [Value::String(text)] => Ok(Value::Bool(text.parse::<Quantity>().is_ok())),
        _ => no_overload(),
    }),
    ("sign", |args, _| match args {
        [Value::Quantity(quantity)] if quantity.is_zero() => Ok(Value::Int(0)),
        [Value::Quantity(quantity)] if quantity.is_negative() => Ok(Value::Int(-1)),
        [Value::Quantity(_)] => Ok(Value::Int(1)),
        _ => no_overload(),
    }),
    ("asInteger", |args, _| match args {
        [Value::Quantity(quantity)] if quantity.is_whole() => Ok(Value::Int(quantity.value())),
        [Value::Quantity(_)] => fail("cannot convert value to integer"),
        _ => no_overload(),
    }),
    ("isInteger", |args, _| match args {
        [Value::Quantity(quantity)] => Ok(Value::Bool(quantity.is_whole())),
        _ => no_overload(),
    }),
    ("asApproximateFloat", |args, _| match args {
        [Value::Quantity(quantity)] => Ok(Value::Double(quantity.as_f64())),
        _ => no_overload(),
    }),
    ("add", |args, _| arithmetic(args, |a, b| a + b)),
    ("sub", |args, _| arithmetic(args, |a, b| a - b)),
    ("isGreaterThan", |args, _| Ok(Value::Bool(order(args)?.is_gt()))),
    ("isLessThan", |args, _| Ok(Value::Bool(order(args)?.is_lt()))),
    ("compareTo", |args, _| Ok(Value::Int(order(args)? as i64))),
];

fn arithmetic(args: &[Value], compute: fn(Quantity, Quantity) -> Quantity) -> Evaluated {
    match args {
        [Value::Quantity(a), Value::Quantity(b)] => Ok(Value::Quantity(compute(*a, *b))),
        [Value::Quantity(a), Value::Int(b)] => {
            Ok(Value::Quantity(compute(*a, Quantity::from_units(*b))))
        }
        _ => no_overload(),
    }
}

fn order(args: &[Value]) -> Result<Ordering, crate::eval::EvalError> {
    match args {
        [Value::Quantity(a), Value::Quantity(b)] => Ok(a.cmp(b)),
        [Value::Semver(a), Value::Semver(b)] => Ok(a.cmp(b)),
        _ => Err(crate::eval::EvalError::NoSuchOverload),
    }
}
