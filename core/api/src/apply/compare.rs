//! What changed between two values of a type, as sets of fields.

use std::collections::BTreeMap;

use serde_json::Value;

use super::element::{PathElement, same};
use super::list;
use super::schema::{Identity, List, Map, NULL, Scalar, Shape, Type};
use super::set::Set;
use super::validate::{Mismatches, scalar_mismatch};
use crate::meta::Fields;

/// What changed. No field is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Fields that only the old value has.
    pub removed: Set,
    /// Fields that both have, but not the same.
    pub modified: Set,
    /// Fields that only the new value has.
    pub added: Set,
}

impl Changes {
    /// The same without some fields and what lies below them.
    #[must_use]
    pub fn without(self, fields: &Set) -> Self {
        if fields.is_empty() {
            return self;
        }
        Self {
            removed: self.removed.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            added: self.added.recursive_difference(fields),
        }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }
}

/// Compares an old value and a new one.
///
/// # Errors
/// If a value does not fit its type so badly that the two cannot be compared.
pub fn compare(kind: Type<'_>, old: &Value, new: &Value) -> Result<Changes, Mismatches> {
    Ok(walk(kind, Some(old), Some(new))?.below)
}

/// What changed at a place: the place itself, and what lies below.
#[derive(Default)]
struct Found {
    here: Option<Change>,
    below: Changes,
}

#[derive(Clone, Copy)]
enum Change {
    Removed,
    Modified,
    Added,
}

impl Changes {
    fn place(&mut self, element: PathElement, found: Found) {
        if let Some(change) = found.here {
            self.set(change).add_member(element.clone());
        }
        let Changes { removed, modified, added } = found.below;
        if !removed.is_empty() {
            self.removed.put_child(element.clone(), removed);
        }
        if !modified.is_empty() {
            self.modified.put_child(element.clone(), modified);
        }
        if !added.is_empty() {
            self.added.put_child(element, added);
        }
    }

    fn set(&mut self, change: Change) -> &mut Set {
        match change {
            Change::Removed => &mut self.removed,
            Change::Modified => &mut self.modified,
            Change::Added => &mut self.added,
        }
    }

    fn merge(self, other: Self) -> Self {
        Self {
            removed: self.removed.union(&other.removed),
            modified: self.modified.union(&other.modified),
            added: self.added.union(&other.added),
        }
    }
}

fn walk(kind: Type<'_>, old: Option<&Value>, new: Option<&Value>) -> Result<Found, Mismatches> {
    if let (Some(old), Some(new)) = (old, new)
        && old == new
    {
        return Ok(Found::default());
    }
    let atom = kind.atom();
    let (Some(before), Some(after)) = (atom.shape(old), atom.shape(new)) else {
        return Err(Mismatches::one("schema error: invalid atom: inlined"));
    };
    match (old, new) {
        (_, None) => shaped(kind, before, old, new),
        (None, _) => shaped(kind, after, old, new),
        _ if before.is_like(&after) => shaped(kind, after, old, new),
        // A map became a list, or the like: both ways of looking at it count.
        _ => {
            let first = shaped(kind, before, old, new)?;
            let second = shaped(kind, after, old, new)?;
            let here = second.here.or(first.here);
            Ok(Found { here, below: first.below.merge(second.below) })
        }
    }
}

fn shaped(
    kind: Type<'_>,
    shape: Shape<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
) -> Result<Found, Mismatches> {
    match shape {
        Shape::Scalar(scalar) => scalars(scalar, old, new),
        Shape::Map(map) => maps(kind, map, old, new),
        Shape::List(list) => lists(kind, list, old, new),
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Found {
    let here = match (old, new) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        (Some(old), Some(new)) if same(old, new) => None,
        _ => Some(Change::Modified),
    };
    Found { here, below: Changes::default() }
}

/// What lies below a place that is there in one of the values only, with the place itself.
fn node(old: Option<&Value>, new: Option<&Value>, below: Changes) -> Found {
    let here = match (old, new) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        _ => None,
    };
    Found { here, below }
}

fn scalars(scalar: Scalar, old: Option<&Value>, new: Option<&Value>) -> Result<Found, Mismatches> {
    let wrong = |value: Option<&Value>| value.and_then(|value| scalar_mismatch(scalar, value));
    match (wrong(old), wrong(new)) {
        (Some(why), Some(_)) => Err(Mismatches::one(why)),
        _ => Ok(leaf(old, new)),
    }
}

fn maps(
    kind: Type<'_>,
    map: &Map,
    old: Option<&Value>,
    new: Option<&Value>,
) -> Result<Found, Mismatches> {
    let (before, after) = (Side::of(map, old), Side::of(map, new));
    if map.atomic || (before.is_empty() && after.is_empty()) {
        return Ok(leaf(old, new));
    }
    let mut below = Changes::default();
    let mut visit = |name: &str| -> Result<(), Mismatches> {
        let entry = kind.entry(map, name).ok_or_else(undeclared)?;
        let (old, new) = (before.get(entry, name), after.get(entry, name));
        if old.is_some() || new.is_some() {
            below.place(PathElement::Field(name.into()), walk(entry, old, new)?);
        }
        Ok(())
    };
    before.names().try_for_each(&mut visit)?;
    after.names().filter(|name| !before.has(name)).try_for_each(&mut visit)?;
    if before.fields.is_some() != after.fields.is_some() {
        let silent = map.fields.iter().filter(|field| field.always);
        let silent = silent.filter(|field| !before.has(&field.name) && !after.has(&field.name));
        silent.map(|field| &*field.name).try_for_each(&mut visit)?;
    }
    Ok(node(old, new, below))
}

fn undeclared() -> Mismatches {
    Mismatches::one("field not declared in schema")
}

/// One of the two maps, with the fields that are there though nobody wrote them.
#[derive(Clone, Copy)]
struct Side<'a> {
    map: &'a Map,
    fields: Option<&'a Fields>,
}

impl<'a> Side<'a> {
    fn of(map: &'a Map, value: Option<&'a Value>) -> Self {
        Self { map, fields: value.and_then(Value::as_object) }
    }

    fn is_empty(self) -> bool {
        let silent = || self.map.fields.iter().any(|field| field.always);
        self.fields.is_none_or(|fields| fields.is_empty() && !silent())
    }

    fn names(self) -> impl Iterator<Item = &'a str> {
        self.fields.into_iter().flat_map(|fields| fields.keys().map(String::as_str))
    }

    fn has(self, name: &str) -> bool {
        self.fields.is_some_and(|fields| fields.contains_key(name))
    }

    fn get(self, entry: Type<'_>, name: &str) -> Option<&'a Value> {
        let fields = self.fields?;
        fields.get(name).or_else(|| {
            let silent = self.map.field(name).filter(|field| field.always)?;
            Some(if silent.null { &NULL } else { entry.nothing() })
        })
    }
}

fn lists(
    kind: Type<'_>,
    list: &List,
    old: Option<&Value>,
    new: Option<&Value>,
) -> Result<Found, Mismatches> {
    let before = old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let after = new.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if matches!(list.identity, Identity::Atomic) || (before.is_empty() && after.is_empty()) {
        return Ok(leaf(old, new));
    }
    let mut pairs: BTreeMap<PathElement, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, items) in [before, after].into_iter().enumerate() {
        for (at, item) in items.iter().enumerate() {
            let element = list::element(kind, list, item)
                .map_err(|why| Mismatches::one(format!("element {at}: {why}")))?;
            pairs.entry(element).or_default()[side].push(item);
        }
    }
    let mut below = Changes::default();
    for (element, [old, new]) in pairs {
        items_of(kind.at(list.element), &mut below, element, &old, &new)?;
    }
    Ok(node(old, new, below))
}

/// Compares what two lists have under one key; what is there twice is compared as one value.
fn items_of(
    kind: Type<'_>,
    below: &mut Changes,
    element: PathElement,
    old: &[&Value],
    new: &[&Value],
) -> Result<(), Mismatches> {
    match (old, new) {
        ([], []) => {}
        ([], [_]) | ([_], []) | ([_], [_]) => {
            let found = walk(kind, old.first().copied(), new.first().copied())?;
            below.place(element, found);
        }
        ([_, _, ..], [_, _, ..]) => {
            let equal = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b));
            if !equal {
                below.modified.add_member(element);
            }
        }
        ([_, _, ..], _) => {
            if let [one] = new {
                below.place(element.clone(), walk(kind, None, Some(one))?);
            }
            below.removed.add_member(element);
        }
        (_, [_, _, ..]) => {
            if let [one] = old {
                below.place(element.clone(), walk(kind, Some(one), None)?);
            }
            below.added.add_member(element);
        }
    }
    Ok(())
}
