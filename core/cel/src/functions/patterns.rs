//! Regular expressions, compiled once per thread.

use std::cell::RefCell;
use std::rc::Rc;

use regex::{Regex, RegexBuilder};

use super::{Entry, no_overload};
use crate::eval::{EvalError, Evaluated};
use crate::meter::Meter;
use crate::value::Value;

/// How big a compiled pattern may be.
const SIZE_MAX: usize = 1 << 20;
/// What compiling one counts as.
const COMPILE_WORK: usize = 10_000;
const KEPT: usize = 64;

thread_local! {
    static COMPILED: RefCell<Vec<(String, Rc<Regex>)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) const TABLE: &[Entry] = &[
    ("matches", |args, meter| match args {
        [Value::String(text), Value::String(pattern)] => {
            Ok(Value::Bool(compiled(pattern, meter)?.is_match(text)))
        }
        _ => no_overload(),
    }),
    ("find", |args, meter| match args {
        [Value::String(text), Value::String(pattern)] => {
            let found = compiled(pattern, meter)?;
            Ok(Value::text(found.find(text).map_or("", |found| found.as_str())))
        }
        _ => no_overload(),
    }),
    ("findAll", find_all),
];

fn find_all(args: &[Value], meter: &mut Meter) -> Evaluated {
    let (text, pattern, limit) = match args {
        [Value::String(text), Value::String(pattern)] => (text, pattern, -1),
        [Value::String(text), Value::String(pattern), Value::Int(limit)] => (text, pattern, *limit),
        _ => return no_overload(),
    };
    meter.work(text.len() / 4)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let pattern = compiled(pattern, meter)?;
    Ok(Value::texts(pattern.find_iter(text).take(limit).map(|found| found.as_str())))
}

fn compiled(pattern: &str, meter: &mut Meter) -> Result<Rc<Regex>, EvalError> {
    let known = |kept: &RefCell<Vec<(String, Rc<Regex>)>>| {
        kept.borrow().iter().find(|(text, _)| text == pattern).map(|(_, regex)| regex.clone())
    };
    if let Some(regex) = COMPILED.with(known) {
        return Ok(regex);
    }
    meter.work(COMPILE_WORK)?;
    let built = RegexBuilder::new(pattern).size_limit(SIZE_MAX).build();
    let regex = Rc::new(built.map_err(|error| {
        let text = error.to_string();
        let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        EvalError::new(format!("error parsing regexp: {why}: `{pattern}`"))
    })?);
    COMPILED.with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((pattern.to_string(), regex.clone()));
    });
    Ok(regex)
}
