//! Functions of lists and sets.

use std::cmp::Ordering;

use super::operators::same;
use super::{Entry, fail, no_overload, strings};
use crate::eval::{EvalError, Evaluated};
use crate::meter::Meter;
use crate::value::Value;

/// How deep `flatten` goes at most.
const FLATTEN_MAX: i64 = 64;

pub(crate) const TABLE: &[Entry] = &[
    ("isSorted", |args, _| {
        let items = items(args)?;
        let in_order = |pair: &[Value]| pair[0].compare(&pair[1]).is_some_and(Ordering::is_le);
        Ok(Value::Bool(items.windows(2).all(in_order)))
    }),
    ("sum", sum),
    ("min", |args, _| extreme(args, "min", Ordering::Less)),
    ("max", |args, _| extreme(args, "max", Ordering::Greater)),
    ("indexOf", |args, meter| match args {
        [Value::String(text), Value::String(part)] => strings::index_of(text, part, None),
        [Value::String(text), Value::String(part), Value::Int(start)] => {
            strings::index_of(text, part, Some(*start))
        }
        _ => place(args, meter, false),
    }),
    ("lastIndexOf", |args, meter| match args {
        [Value::String(text), Value::String(part)] => strings::last_index_of(text, part, None),
        [Value::String(text), Value::String(part), Value::Int(start)] => {
            strings::last_index_of(text, part, Some(*start))
        }
        _ => place(args, meter, true),
    }),
    ("slice", slice),
    ("flatten", flatten),
    ("sort", |args, meter| {
        let items = items(args)?;
        sorted(items, items, meter)
    }),
    ("@sortByAssociatedKeys", |args, meter| match args {
        [Value::List(list), Value::List(keys)] => sorted(&list.items, &keys.items, meter),
        _ => no_overload(),
    }),
    ("distinct", distinct),
    ("reverse", |args, meter| {
        let items = items(args)?;
        meter.work(items.len())?;
        Ok(Value::list(items.iter().rev().cloned().collect()))
    }),
    ("lists.range", |args, meter| match args {
        [Value::Int(count)] => {
            meter.work(usize::try_from(*count).unwrap_or(0))?;
            Ok(Value::list((0..*count).map(Value::Int).collect()))
        }
        _ => no_overload(),
    }),
    ("sets.contains", |args, meter| {
        let (a, b) = two(args)?;
        Ok(Value::Bool(contains_all(a, b, meter)?))
    }),
    ("sets.equivalent", |args, meter| {
        let (a, b) = two(args)?;
        Ok(Value::Bool(contains_all(a, b, meter)? && contains_all(b, a, meter)?))
    }),
    ("sets.intersects", |args, meter| {
        let (a, b) = two(args)?;
        for item in b {
            if contains(a, item, meter)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
];

fn items(args: &[Value]) -> Result<&[Value], EvalError> {
    match args {
        [Value::List(list)] => Ok(&list.items),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn two(args: &[Value]) -> Result<(&[Value], &[Value]), EvalError> {
    match args {
        [Value::List(a), Value::List(b)] => Ok((&a.items, &b.items)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn contains(list: &[Value], item: &Value, meter: &mut Meter) -> Result<bool, EvalError> {
    meter.work(list.len() / 8)?;
    for known in list {
        if same(item, known, meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains_all(list: &[Value], items: &[Value], meter: &mut Meter) -> Result<bool, EvalError> {
    for item in items {
        if !contains(list, item, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn sum(args: &[Value], meter: &mut Meter) -> Evaluated {
    let items = items(args)?;
    let add = super::named("_+_").expect("addition is a function");
    let Some(first) = items.first() else { return Ok(Value::Int(0)) };
    items[1..].iter().try_fold(first.clone(), |total, item| add(&[total, item.clone()], meter))
}

fn extreme(args: &[Value], name: &str, wanted: Ordering) -> Evaluated {
    let items = items(args)?;
    let Some((first, rest)) = items.split_first() else {
        return fail(format!("{name} called on empty list"));
    };
    let mut best = first;
    for item in rest {
        match item.compare(best) {
            Some(order) if order == wanted => best = item,
            Some(_) => {}
            None => return no_overload(),
        }
    }
    Ok(best.clone())
}

fn place(args: &[Value], meter: &mut Meter, last: bool) -> Evaluated {
    let [Value::List(list), wanted] = args else { return no_overload() };
    let mut found = -1;
    for (at, item) in list.items.iter().enumerate() {
        if same(item, wanted, meter)? {
            found = at as i64;
            if !last {
                break;
            }
        }
    }
    Ok(Value::Int(found))
}

fn slice(args: &[Value], meter: &mut Meter) -> Evaluated {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = args else {
        return no_overload();
    };
    let size = list.items.len();
    let why = match (usize::try_from(*start), usize::try_from(*end)) {
        (Ok(from), Ok(to)) if from <= to && to <= size => {
            meter.work(to - from)?;
            return Ok(Value::list(list.items[from..to].to_vec()));
        }
        (Ok(from), Ok(to)) if from > to => {
            "start index must be less than or equal to end index".into()
        }
        (Ok(_), Ok(_)) => format!("list is length {size}"),
        _ => "negative indexes not supported".to_string(),
    };
    fail(format!("cannot slice({start}, {end}), {why}"))
}

fn flatten(args: &[Value], meter: &mut Meter) -> Evaluated {
    let (list, depth) = match args {
        [Value::List(list)] => (list, 1),
        [Value::List(_), Value::Int(depth)] if *depth < 0 => {
            return fail("level must be non-negative");
        }
        [Value::List(list), Value::Int(depth)] => (list, (*depth).min(FLATTEN_MAX)),
        _ => return no_overload(),
    };
    let mut out = Vec::new();
    flatten_into(&list.items, depth, &mut out, meter)?;
    Ok(Value::list(out))
}

fn flatten_into(
    items: &[Value],
    depth: i64,
    out: &mut Vec<Value>,
    meter: &mut Meter,
) -> Result<(), EvalError> {
    meter.work(items.len())?;
    for item in items {
        match item {
            Value::List(inner) if depth > 0 => flatten_into(&inner.items, depth - 1, out, meter)?,
            other => out.push(other.clone()),
        }
    }
    Ok(())
}

/// The items in the order of their keys; equal ones stay as they were.
fn sorted(items: &[Value], keys: &[Value], meter: &mut Meter) -> Evaluated {
    meter.work(items.len())?;
    let comparable = |pair: &[Value]| pair[0].compare(&pair[1]).is_some();
    if items.len() != keys.len() || !keys.windows(2).all(comparable) {
        return fail("list elements must be comparable");
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by(|a, b| keys[*a].compare(&keys[*b]).unwrap_or(Ordering::Equal));
    Ok(Value::list(order.into_iter().map(|at| items[at].clone()).collect()))
}

fn distinct(args: &[Value], meter: &mut Meter) -> Evaluated {
    let mut kept: Vec<Value> = Vec::new();
    for item in items(args)? {
        if !contains(&kept, item, meter)? {
            kept.push(item.clone());
        }
    }
    Ok(Value::list(kept))
}
