//! Expressions are compiled before they are stored: what cannot be evaluated is refused.

use hansa_api::field::child;
use hansa_api::meta::str_at;
use hansa_cel::{Env, Program, Type};
use serde_json::Value;

use crate::registry::check::Check;

/// What expressions may name, and what they must come to.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    env: &'a Env,
    /// Any of these; of any type if there are none.
    types: &'static [Type],
    /// The types, as messages name them.
    named: &'static str,
}

impl<'a> Wanted<'a> {
    /// A value of any type.
    pub(super) fn any(env: &'a Env) -> Self {
        Self { env, types: &[], named: "" }
    }

    /// Yes or no.
    pub(super) fn bool(env: &'a Env) -> Self {
        Self { env, types: &[Type::Bool], named: "bool" }
    }

    /// A text.
    pub(super) fn string(env: &'a Env) -> Self {
        Self { env, types: &[Type::String], named: "string" }
    }

    /// A text, or nothing.
    pub(super) fn note(env: &'a Env) -> Self {
        let named = "one of [string null_type]";
        Self { env, types: &[Type::String, Type::Null], named }
    }
}

/// An expression that must be there; its type, where it has one.
pub(super) fn required(
    check: &mut Check,
    path: &str,
    holder: &Value,
    (field, missing): (&str, &str),
    wanted: Wanted<'_>,
) -> Option<Type> {
    let source = str_at(holder, &[field]);
    if source.trim().is_empty() {
        check.required(&child(path, field), missing);
        return None;
    }
    compiles(check, &child(path, field), source, wanted)
}

/// An expression that is there; its type, where it has one.
pub(super) fn compiles(
    check: &mut Check,
    path: &str,
    source: &str,
    wanted: Wanted<'_>,
) -> Option<Type> {
    let program = match Program::compile(source, wanted.env) {
        Ok(program) => program,
        Err(error) => {
            check.invalid(path, source, &format!("compilation failed: {error}"));
            return None;
        }
    };
    let found = program.result_type();
    if !wanted.types.is_empty() && !wanted.types.contains(found) {
        check.invalid(path, source, &format!("must evaluate to {}", wanted.named));
    }
    Some(found.clone())
}
