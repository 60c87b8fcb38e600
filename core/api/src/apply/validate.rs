//! Whether a value fits its type, and what about it does not.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::go;
use super::list;
use super::schema::{Identity, List, Map, Scalar, Shape, Type};
use crate::meta::Fields;

/// One thing that does not fit, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// `.spec.ports[port=80]`.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

/// Everything that does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Mismatches(pub Vec<Mismatch>);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

impl fmt::Display for Mismatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => one.fmt(f),
            many => {
                f.write_str("errors:")?;
                many.iter().try_for_each(|one| write!(f, "\n  {one}"))
            }
        }
    }
}

impl Mismatches {
    pub(super) fn one(message: impl Into<String>) -> Self {
        Self(vec![Mismatch { path: String::new(), message: message.into() }])
    }

    fn push(&mut self, message: impl Into<String>) {
        self.0.push(Mismatch { path: String::new(), message: message.into() });
    }

    /// Adds what is wrong below a step.
    fn add(&mut self, step: impl fmt::Display, below: Self) {
        if below.0.is_empty() {
            return;
        }
        let step = step.to_string();
        let placed =
            below.0.into_iter().map(|one| Mismatch { path: step.clone() + &one.path, ..one });
        self.0.extend(placed);
    }
}

/// Checks a value; two elements of a list may not be the same.
///
/// # Errors
/// All that does not fit.
pub fn validate(kind: Type<'_>, value: &Value) -> Result<(), Mismatches> {
    let found = check(kind, value);
    if found.0.is_empty() { Ok(()) } else { Err(found) }
}

fn check(kind: Type<'_>, value: &Value) -> Mismatches {
    match (kind.atom().shape(Some(value)), value) {
        (None, _) => Mismatches::one("schema error: invalid atom: inlined"),
        (Some(Shape::Scalar(scalar)), _) => check_scalar(scalar, value),
        (Some(_), Value::Null) => Mismatches::default(),
        (Some(Shape::Map(map)), Value::Object(fields)) => check_map(kind, map, fields),
        (Some(Shape::Map(_)), other) => {
            Mismatches::one(format!("expected map, got &{{{}}}", go::plain(other)))
        }
        (Some(Shape::List(list)), Value::Array(items)) => check_list(kind, list, items),
        (Some(Shape::List(_)), other) => {
            Mismatches::one(format!("expected list, got &{{{}}}", go::plain(other)))
        }
    }
}

fn check_map(kind: Type<'_>, map: &Map, fields: &Fields) -> Mismatches {
    let mut found = Mismatches::default();
    for (name, value) in fields {
        let Some(entry) = kind.entry(map, name) else {
            found.add(format!(".{name}"), Mismatches::one("field not declared in schema"));
            break;
        };
        found.add(format_args!(".{name}"), check(entry, value));
    }
    found
}

fn check_list(kind: Type<'_>, list: &List, items: &[Value]) -> Mismatches {
    let mut found = Mismatches::default();
    let mut seen = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        if matches!(list.identity, Identity::Atomic) {
            found.add(format_args!("[{at}]"), check(kind.at(list.element), item));
            continue;
        }
        let element = match list::element(kind, list, item) {
            Ok(element) => element,
            Err(why) => {
                found.push(format!("element {at}: {why}"));
                return found;
            }
        };
        if seen.contains(&element) {
            found.push(format!("duplicate entries for key {element}"));
        }
        found.add(&element, check(kind.at(list.element), item));
        seen.insert(element);
    }
    found
}

fn check_scalar(scalar: Scalar, value: &Value) -> Mismatches {
    match scalar_mismatch(scalar, value) {
        None => Mismatches::default(),
        Some(why) => Mismatches::one(why),
    }
}

/// What is wrong with a scalar; null fits everywhere.
pub(super) fn scalar_mismatch(scalar: Scalar, value: &Value) -> Option<String> {
    match (scalar, value) {
        (_, Value::Null)
        | (Scalar::Numeric, Value::Number(_))
        | (Scalar::String, Value::String(_))
        | (Scalar::Boolean, Value::Bool(_))
        | (Scalar::Any, Value::Number(_) | Value::String(_) | Value::Bool(_)) => None,
        (Scalar::Numeric, _) => {
            Some(format!("expected numeric (int or float), got {}", go::type_name(value)))
        }
        (Scalar::String, _) => Some(format!(
            "expected string, got &value.valueUnstructured{{Value:{}}}",
            go::sharp(value)
        )),
        (Scalar::Boolean, _) => Some(format!("expected boolean, got &{{{}}}", go::plain(value))),
        (Scalar::Any, _) => Some(format!("expected any scalar, got &{{{}}}", go::plain(value))),
    }
}
