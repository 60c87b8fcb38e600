//! What a call costs while it runs, in upstream's units.

use crate::ast::{ADD, EQUALS, IN, NOT_EQUALS};
use crate::value::Value;

/// A list literal.
pub(crate) const LIST: u64 = 10;
/// A map literal.
pub(crate) const MAP: u64 = 30;
/// A struct literal.
pub(crate) const STRUCT: u64 = 40;
/// Going through one character.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// Matching one character of a pattern.
pub(crate) const REGEX: f64 = 0.25;
/// Asking an authorizer.
pub(crate) const CHECK: u64 = 350_000;
/// The longest pattern of a named format.
pub(crate) const FORMAT_REGEX: u64 = 128;

/// A size times a factor, rounded up.
pub(crate) fn scaled(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn regex(text: u64, pattern: u64) -> u64 {
    scaled(text.saturating_add(1), TRAVERSAL).saturating_mul(scaled(pattern, REGEX))
}

/// What is charged before a call runs.
pub(crate) fn before(function: &str, args: &[Value]) -> u64 {
    let size = |at: usize| args.get(at).map_or(1, Value::size);
    match function {
        "check" => CHECK,
        "fieldSelector" | "labelSelector" => {
            LIST + scaled(size(1), TRAVERSAL) + scaled(scaled(size(1), 0.5), 50.0)
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => traversal(&args[0]),
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver"
        | "startsWith"
        | "endsWith"
        | "strings.quote"
        | "format" => scaled(size(0), TRAVERSAL),
        "ip" if matches!(args.first(), Some(Value::String(_))) => scaled(size(0), TRAVERSAL),
        "bytes" | "string" if matches!(args, [Value::String(_) | Value::Bytes(_)]) => {
            scaled(size(0), TRAVERSAL)
        }
        "replace" | "split" | "ip.isCanonical" => scaled(size(0), 2.0 * TRAVERSAL),
        "join" | "cel.@mapInsert" => 0,
        "matches" | "find" | "findAll" => regex(size(0), size(1)),
        "contains" => scaled(size(0), TRAVERSAL).saturating_mul(scaled(size(1), TRAVERSAL)),
        "containsIP" | "containsCIDR" => contains_net(function, args),
        "validate" => regex(size(1), FORMAT_REGEX),
        IN if matches!(args, [_, Value::List(_)]) => size(1),
        ADD if matches!(args, [Value::String(_) | Value::Bytes(_), _]) => {
            scaled(size(0).saturating_add(size(1)), TRAVERSAL)
        }
        EQUALS if is_unit(&args[0]) => 1,
        EQUALS | NOT_EQUALS => scaled(size(0).min(size(1)), TRAVERSAL),
        "_<_" | "_<=_" | "_>_" | "_>=_"
            if matches!(args, [Value::String(_) | Value::Bytes(_), _]) =>
        {
            scaled(size(0).min(size(1)), TRAVERSAL)
        }
        "sets.contains" | "sets.intersects" => size(0).saturating_mul(size(1)).max(1),
        "sets.equivalent" => size(0).saturating_mul(size(1)).saturating_mul(2).max(1),
        "sort" | "distinct" | "@sortByAssociatedKeys" => sorting(size(0)),
        "slice" | "reverse" | "flatten" => size(0).max(1),
        _ => 1,
    }
}

/// What is charged for a result.
pub(crate) fn after(function: &str, result: &Value) -> u64 {
    match function {
        "join" => scaled(result.size(), 2.0 * TRAVERSAL),
        "lists.range" => result.size(),
        _ => 0,
    }
}

fn sorting(size: u64) -> u64 {
    size.saturating_mul(u64::from(u64::BITS - size.leading_zeros())).max(1)
}

fn is_unit(value: &Value) -> bool {
    !matches!(
        value,
        Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) | Value::Optional(_)
    )
}

fn contains_net(function: &str, args: &[Value]) -> u64 {
    let network = args[0].size();
    let mut cost = scaled(network * 2, TRAVERSAL);
    if function == "containsCIDR" {
        cost += scaled(network, TRAVERSAL) + 1;
    }
    match &args[1] {
        text @ Value::String(_) => cost + scaled(text.size(), TRAVERSAL),
        _ => cost,
    }
}

fn traversal(value: &Value) -> u64 {
    match value {
        Value::String(_) | Value::Bytes(_) => (value.size() as f64 * TRAVERSAL) as u64,
        Value::List(list) => list.items.iter().map(traversal).sum(),
        Value::Map(map) => map.entries.values().map(traversal).sum(),
        _ => 1,
    }
}
