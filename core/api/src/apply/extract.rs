//! The set of fields that a value mentions.

use std::collections::BTreeMap;

use serde_json::Value;

use super::element::PathElement;
use super::list;
use super::schema::{Identity, List, Map, Shape, Type};
use super::set::Set;
use crate::meta::Fields;

/// Every leaf that a value mentions, and the entries of maps and elements of lists themselves.
pub fn field_set(kind: Type<'_>, value: &Value) -> Set {
    walk(kind, value).below
}

/// What is found at a place: whether it is a leaf, and what lies below.
struct Found {
    leaf: bool,
    below: Set,
}

const LEAF: fn() -> Found = || Found { leaf: true, below: Set::default() };
const NOTHING: fn() -> Found = || Found { leaf: false, below: Set::default() };

fn walk(kind: Type<'_>, value: &Value) -> Found {
    match (kind.atom().shape(Some(value)), value) {
        (Some(Shape::Scalar(_)), _) => LEAF(),
        (Some(Shape::Map(map)), _) if map.atomic => LEAF(),
        (Some(Shape::Map(map)), Value::Object(fields)) => map_items(kind, map, fields),
        (Some(Shape::List(list)), _) if matches!(list.identity, Identity::Atomic) => LEAF(),
        (Some(Shape::List(list)), Value::Array(items)) => list_items(kind, list, items),
        _ => NOTHING(),
    }
}

fn map_items(kind: Type<'_>, map: &Map, fields: &Fields) -> Found {
    let mut below = Set::default();
    for (name, value) in fields {
        let Some(entry) = kind.entry(map, name) else { continue };
        let found = walk(entry, value);
        let empty = value.is_null() || value.as_object().is_some_and(Fields::is_empty);
        let element = PathElement::Field(name.as_str().into());
        if found.leaf || empty || map.field(name).is_none() {
            below.add_member(element.clone());
        }
        below.put_child(element, found.below);
    }
    Found { leaf: false, below }
}

/// Of elements that are there twice only the element itself is found.
fn list_items(kind: Type<'_>, list: &List, items: &[Value]) -> Found {
    let mut below = Set::default();
    let mut seen: BTreeMap<PathElement, Option<&Value>> = BTreeMap::new();
    for item in items {
        let Ok(element) = list::element(kind, list, item) else { continue };
        seen.entry(element).and_modify(|twice| *twice = None).or_insert(Some(item));
    }
    for (element, item) in seen {
        below.add_member(element.clone());
        if let Some(item) = item {
            below.put_child(element, walk(kind.at(list.element), item).below);
        }
    }
    Found { leaf: false, below }
}
