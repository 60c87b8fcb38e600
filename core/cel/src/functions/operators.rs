//! Operators: arithmetic, order, membership, size.

use std::cmp::Ordering;

use super::{Entry, fail, no_overload};
use crate::eval::{EvalError, Evaluated};
use crate::meter::Meter;
use crate::value::{Key, Value};

pub(crate) const TABLE: &[Entry] = &[
    ("!_", |args, _| match args {
        [Value::Bool(flag)] => Ok(Value::Bool(!flag)),
        _ => no_overload(),
    }),
    ("-_", |args, _| match args {
        [Value::Int(number)] => number.checked_neg().map(Value::Int).ok_or_else(overflow),
        [Value::Double(number)] => Ok(Value::Double(-number)),
        _ => no_overload(),
    }),
    ("_+_", add),
    ("_-_", subtract),
    ("_*_", multiply),
    ("_/_", divide),
    ("_%_", modulo),
    ("_==_", |args, meter| Ok(Value::Bool(equal(args, meter)?))),
    ("_!=_", |args, meter| Ok(Value::Bool(!equal(args, meter)?))),
    ("_<_", |args, _| ordered(args, Ordering::is_lt)),
    ("_<=_", |args, _| ordered(args, Ordering::is_le)),
    ("_>_", |args, _| ordered(args, Ordering::is_gt)),
    ("_>=_", |args, _| ordered(args, Ordering::is_ge)),
    ("@in", within),
    ("size", size),
];

fn overflow() -> EvalError {
    EvalError::new("integer overflow")
}

fn unsigned_overflow() -> EvalError {
    EvalError::new("unsigned integer overflow")
}

/// Compares, counting the values gone through.
pub(crate) fn equal(args: &[Value], meter: &mut Meter) -> Result<bool, EvalError> {
    let [a, b] = args else { return Err(EvalError::NoSuchOverload) };
    same(a, b, meter)
}

/// Whether two values are equal, counting the values gone through.
pub(crate) fn same(a: &Value, b: &Value, meter: &mut Meter) -> Result<bool, EvalError> {
    if matches!(a, Value::List(_) | Value::Map(_)) {
        meter.work(a.weight(meter.left()))?;
    }
    Ok(a.equals(b))
}

fn ordered(args: &[Value], fits: impl Fn(Ordering) -> bool) -> Evaluated {
    let [a, b] = args else { return no_overload() };
    match a.compare(b) {
        Some(order) => Ok(Value::Bool(fits(order))),
        None if matches!((a, b), (Value::Double(_), _) | (_, Value::Double(_))) => {
            fail("NaN values cannot be ordered")
        }
        None => no_overload(),
    }
}

fn add(args: &[Value], meter: &mut Meter) -> Evaluated {
    match args {
        [Value::Int(a), Value::Int(b)] => a.checked_add(*b).map(Value::Int).ok_or_else(overflow),
        [Value::Uint(a), Value::Uint(b)] => {
            a.checked_add(*b).map(Value::Uint).ok_or_else(unsigned_overflow)
        }
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a + b)),
        [Value::String(a), Value::String(b)] => {
            meter.work((a.len() + b.len()) / 32)?;
            Ok(Value::String(format!("{a}{b}").into()))
        }
        [Value::Bytes(a), Value::Bytes(b)] => {
            meter.work((a.len() + b.len()) / 32)?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        [Value::List(a), Value::List(b)] => {
            meter.work(a.items.len() + b.items.len())?;
            if a.kind != crate::value::ListKind::Atomic {
                meter.work(a.items.len().saturating_mul(b.items.len()))?;
            }
            Ok(Value::List(a.join(b).into()))
        }
        _ => super::time::add(args),
    }
}

fn subtract(args: &[Value], _: &mut Meter) -> Evaluated {
    match args {
        [Value::Int(a), Value::Int(b)] => a.checked_sub(*b).map(Value::Int).ok_or_else(overflow),
        [Value::Uint(a), Value::Uint(b)] => {
            a.checked_sub(*b).map(Value::Uint).ok_or_else(unsigned_overflow)
        }
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        _ => super::time::subtract(args),
    }
}

fn multiply(args: &[Value], _: &mut Meter) -> Evaluated {
    match args {
        [Value::Int(a), Value::Int(b)] => a.checked_mul(*b).map(Value::Int).ok_or_else(overflow),
        [Value::Uint(a), Value::Uint(b)] => {
            a.checked_mul(*b).map(Value::Uint).ok_or_else(unsigned_overflow)
        }
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
        _ => no_overload(),
    }
}

fn divide(args: &[Value], _: &mut Meter) -> Evaluated {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            fail("division by zero")
        }
        [Value::Int(a), Value::Int(b)] => a.checked_div(*b).map(Value::Int).ok_or_else(overflow),
        [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a / b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
        _ => no_overload(),
    }
}

fn modulo(args: &[Value], _: &mut Meter) -> Evaluated {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            fail("modulus by zero")
        }
        [Value::Int(a), Value::Int(b)] => a.checked_rem(*b).map(Value::Int).ok_or_else(overflow),
        [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a % b)),
        _ => no_overload(),
    }
}

fn within(args: &[Value], meter: &mut Meter) -> Evaluated {
    match args {
        [item, Value::List(list)] => {
            for known in &list.items {
                if same(item, known, meter)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        [key, Value::Map(map)] => {
            let found = Key::of(key).is_some_and(|key| map.entries.contains_key(&key));
            Ok(Value::Bool(found))
        }
        _ => no_overload(),
    }
}

fn size(args: &[Value], _: &mut Meter) -> Evaluated {
    match args {
        [value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))] => {
            Ok(Value::Int(i64::try_from(value.size()).unwrap_or(i64::MAX)))
        }
        _ => no_overload(),
    }
}
