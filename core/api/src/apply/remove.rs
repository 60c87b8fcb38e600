//! Taking fields out of a value.

use serde_json::Value;

use super::element::PathElement;
use super::list;
use super::schema::{Identity, List, Map, Shape, Type};
use super::set::Set;
use crate::meta::Fields;

/// Takes a set of fields out. What held them stays, even if it is empty then.
pub(super) fn remove(kind: Type<'_>, value: &mut Value, gone: &Set) {
    if gone.is_empty() {
        return;
    }
    match (kind.atom().shape(Some(value)), value) {
        (Some(Shape::Map(map)), Value::Object(fields)) => remove_entries(kind, map, fields, gone),
        (Some(Shape::List(list)), Value::Array(items)) => remove_items(kind, list, items, gone),
        _ => {}
    }
}

fn remove_entries(kind: Type<'_>, map: &Map, fields: &mut Fields, gone: &Set) {
    if map.atomic {
        fields.clear();
        return;
    }
    fields.retain(|name, value| {
        let element = PathElement::Field(name.as_str().into());
        if gone.has_member(&element) {
            return false;
        }
        if let (Some(below), Some(entry)) = (gone.child(&element), kind.entry(map, name)) {
            remove(entry, value, below);
        }
        true
    });
}

fn remove_items(kind: Type<'_>, list: &List, items: &mut Vec<Value>, gone: &Set) {
    if matches!(list.identity, Identity::Atomic) {
        items.clear();
        return;
    }
    items.retain_mut(|item| {
        let Ok(element) = list::element(kind, list, item) else { return true };
        if gone.has_member(&element) {
            return false;
        }
        if let Some(below) = gone.child(&element) {
            remove(kind.at(list.element), item, below);
        }
        true
    });
}

/// The set with the named fields that lead to its fields: `a.b.c` brings `a`, but not `a.b` where
/// that is an entry of a map.
pub(super) fn with_named_parents(kind: Option<Type<'_>>, set: &Set) -> Set {
    let atom = kind.map(Type::atom);
    let map = atom.and_then(|atom| atom.map.as_ref());
    let list = atom.and_then(|atom| atom.list.as_ref());
    let mut out = Set { members: set.members.clone(), children: Vec::new() };
    for (element, below) in &set.children {
        let inner = match element {
            PathElement::Field(name) => map.and_then(|map| {
                if map.field(name).is_some() {
                    out.add_member(element.clone());
                }
                kind.and_then(|kind| kind.entry(map, name))
            }),
            PathElement::Key(_) => list.and_then(|list| kind.map(|kind| kind.at(list.element))),
            _ => None,
        };
        out.children.push((element.clone(), with_named_parents(inner, below)));
    }
    out
}
