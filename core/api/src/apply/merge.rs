//! Merging a partial object into a whole one. Nothing goes; leaves of the partial one win; lists
//! that tell their elements apart keep the order of the whole one where that agrees with the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::element::PathElement;
use super::list;
use super::schema::{Identity, List, Map, Shape, Type};
use super::validate::Mismatches;

/// The whole object with a partial one merged into it.
///
/// # Errors
/// If an element of a list cannot be told apart, or the partial list has one twice.
pub fn merge(kind: Type<'_>, whole: &Value, part: &Value) -> Result<Value, Mismatches> {
    let mut merged = whole.clone();
    merge_into(kind, &mut merged, part)?;
    Ok(merged)
}

fn merge_into(kind: Type<'_>, whole: &mut Value, part: &Value) -> Result<(), Mismatches> {
    let shape = match part {
        Value::Null => null_shape(kind, whole),
        part => kind.atom().shape(Some(part)),
    };
    match shape {
        Some(Shape::Map(map)) if !map.atomic => merge_map(kind, map, whole, part),
        Some(Shape::List(list)) if !matches!(list.identity, Identity::Atomic) => {
            merge_list(kind, list, whole, part)
        }
        _ => {
            *whole = part.clone();
            Ok(())
        }
    }
}

/// Null says nothing about a map or a list that holds something, and replaces all else.
fn null_shape<'a>(kind: Type<'a>, whole: &Value) -> Option<Shape<'a>> {
    let shape = kind.atom().shape(None)?;
    match (&shape, whole) {
        (Shape::Map(_), Value::Object(fields)) if !fields.is_empty() => Some(shape),
        (Shape::List(_), Value::Array(items)) if !items.is_empty() => Some(shape),
        _ => None,
    }
}

fn merge_map(kind: Type<'_>, map: &Map, whole: &mut Value, part: &Value) -> Result<(), Mismatches> {
    let Value::Object(part) = part else { return Ok(()) };
    let Value::Object(fields) = whole else {
        *whole = Value::Object(part.clone());
        return Ok(());
    };
    if part.is_empty() && fields.is_empty() {
        return Ok(());
    }
    for (name, value) in part {
        match (fields.get_mut(name), kind.entry(map, name)) {
            (Some(own), Some(entry)) => merge_into(entry, own, value)?,
            _ => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
    Ok(())
}

fn merge_list(
    kind: Type<'_>,
    list: &List,
    whole: &mut Value,
    part: &Value,
) -> Result<(), Mismatches> {
    let Value::Array(part) = part else { return Ok(()) };
    let own = match whole.take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    if own.is_empty() && part.is_empty() {
        *whole = Value::Array(Vec::new());
        return Ok(());
    }
    let whole_side = Items::read(kind, list, &own)?;
    let part_side = Items::read(kind, list, part)?;
    if let Some(twice) = part_side.repeated() {
        return Err(Mismatches::one(format!("duplicate entries for key {twice}")));
    }
    *whole = Value::Array(Merging::new(kind.at(list.element), whole_side, part_side).run()?);
    Ok(())
}

/// A list's elements in order, and each by what tells it apart: `None` if it is there twice.
struct Items<'a> {
    order: VecDeque<(PathElement, &'a Value)>,
    found: BTreeMap<PathElement, Option<&'a Value>>,
}

impl<'a> Items<'a> {
    fn read(kind: Type<'_>, list: &List, items: &'a [Value]) -> Result<Self, Mismatches> {
        let mut order = VecDeque::with_capacity(items.len());
        let mut found = BTreeMap::new();
        for (at, item) in items.iter().enumerate() {
            let element = list::element(kind, list, item)
                .map_err(|why| Mismatches::one(format!("element {at}: {why}")))?;
            let entry = found.entry(element.clone());
            entry.and_modify(|twice| *twice = None).or_insert(Some(item));
            order.push_back((element, item));
        }
        Ok(Self { order, found })
    }

    fn has(&self, element: &PathElement) -> bool {
        self.found.contains_key(element)
    }

    fn repeated(&self) -> Option<&PathElement> {
        self.found.iter().find(|(_, item)| item.is_none()).map(|(element, _)| element)
    }
}

/// Two lists on their way to one. Shared elements come in the order of the partial list; elements
/// that only the whole list has stay before the shared one that followed them.
struct Merging<'a> {
    kind: Type<'a>,
    whole: Items<'a>,
    part: Items<'a>,
    /// The shared elements that are still to come, in the order of the partial list.
    shared: VecDeque<PathElement>,
    merged: BTreeSet<PathElement>,
    out: Vec<Value>,
}

impl<'a> Merging<'a> {
    fn new(kind: Type<'a>, whole: Items<'a>, part: Items<'a>) -> Self {
        let shared = part.order.iter().map(|(element, _)| element);
        let shared = shared.filter(|element| whole.has(element)).cloned().collect();
        Self { kind, whole, part, shared, merged: BTreeSet::new(), out: Vec::new() }
    }

    fn run(mut self) -> Result<Vec<Value>, Mismatches> {
        loop {
            let own = self.whole.order.front().map(|(element, _)| element);
            let wanted = self.part.order.front().map(|(element, _)| element);
            match (own, wanted) {
                (None, None) => return Ok(self.out),
                (Some(own), _) if !self.part.has(own) => self.keep(),
                (Some(own), Some(wanted)) if own == wanted => {
                    self.whole.order.pop_front();
                    self.take()?;
                }
                (Some(own), Some(_)) if self.shared.front().is_some_and(|next| next != own) => {
                    self.whole.order.pop_front();
                }
                (Some(own), _) => {
                    if self.merged.contains(own) {
                        self.whole.order.pop_front();
                    }
                    self.take()?;
                }
                (None, Some(_)) => self.take()?,
            }
        }
    }

    /// Keeps an element that only the whole list has.
    fn keep(&mut self) {
        if let Some((_, item)) = self.whole.order.pop_front() {
            self.out.push(item.clone());
        }
    }

    /// Takes the next element of the partial list, merged with its counterpart.
    fn take(&mut self) -> Result<(), Mismatches> {
        let Some((element, item)) = self.part.order.pop_front() else { return Ok(()) };
        let own = self.whole.found.get(&element).copied().flatten();
        let mut merged = own.cloned().unwrap_or_default();
        merge_into(self.kind, &mut merged, item)?;
        self.out.push(merged);
        if self.shared.front() == Some(&element) {
            self.shared.pop_front();
        }
        self.merged.insert(element);
        Ok(())
    }
}
