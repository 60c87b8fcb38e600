//! The functions that expressions call: one table, one small function a name.

pub(crate) mod collections;
pub(crate) mod convert;
pub(crate) mod format;
pub(crate) mod net;
pub(crate) mod numbers;
pub(crate) mod operators;
pub(crate) mod patterns;
pub(crate) mod semver;
pub(crate) mod strings;
pub(crate) mod time;
pub(crate) mod url;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::eval::{EvalError, Evaluated};
use crate::meter::Meter;
use crate::value::Value;

/// What a function is: arguments, the receiver first, to a value.
pub(crate) type Function = fn(&[Value], &mut Meter) -> Evaluated;

/// One name and its function.
pub(crate) type Entry = (&'static str, Function);

static ALL: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let tables = [
        operators::TABLE,
        convert::TABLE,
        strings::TABLE,
        patterns::TABLE,
        collections::TABLE,
        numbers::TABLE,
        time::TABLE,
        net::TABLE,
        url::TABLE,
        semver::TABLE,
        format::TABLE,
    ];
    let mut all = HashMap::new();
    for (name, function) in tables.into_iter().flatten() {
        let before = all.insert(*name, *function);
        debug_assert!(before.is_none(), "{name} is there twice");
    }
    all
});

/// The function of a name.
pub(crate) fn named(name: &str) -> Option<Function> {
    ALL.get(name).copied()
}

/// The answer to arguments that a function does not take.
pub(crate) fn no_overload() -> Evaluated {
    Err(EvalError::NoSuchOverload)
}

pub(crate) fn fail(message: impl Into<String>) -> Evaluated {
    Err(EvalError::new(message))
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_name_is_there_twice() {
        assert!(super::named("size").is_some() && super::named("nothing").is_none());
    }
}
