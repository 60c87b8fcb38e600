//! Sets of fields that were written under another schema.

use super::element::PathElement;
use super::schema::{Identity, Map, Shape, Type};
use super::set::Set;

/// The set under the schema as it is now: where what was merged field by field is one value by now,
/// who had a part of it has the whole. `None` if nothing is different.
pub(super) fn reconcile(kind: Type<'_>, set: &Set) -> Option<Set> {
    match walk(kind, set) {
        Verdict::Below(set) => Some(set),
        Verdict::Same | Verdict::Whole => None,
    }
}

/// What is to become of a place.
enum Verdict {
    Same,
    /// It is one value now.
    Whole,
    /// What lies below is different.
    Below(Set),
}

fn walk(kind: Type<'_>, set: &Set) -> Verdict {
    match kind.atom().shape(None) {
        Some(Shape::Map(map)) if map.is_deduced() => Verdict::Same,
        Some(Shape::Map(map)) if map.atomic && set.is_empty() => Verdict::Same,
        Some(Shape::Map(map)) if map.atomic => Verdict::Whole,
        Some(Shape::Map(map)) => below(set, |element| entry_type(kind, map, element)),
        Some(Shape::List(list)) if matches!(list.identity, Identity::Atomic) => Verdict::Whole,
        Some(Shape::List(list)) => below(set, |_| Some(kind.at(list.element))),
        _ => Verdict::Same,
    }
}

fn entry_type<'a>(kind: Type<'a>, map: &Map, element: &PathElement) -> Option<Type<'a>> {
    match element {
        PathElement::Field(name) => kind.entry(map, name),
        _ => map.element.map(|number| kind.at(number)),
    }
}

/// Only what has something below it can be different.
fn below<'a>(set: &Set, inner: impl Fn(&PathElement) -> Option<Type<'a>>) -> Verdict {
    let verdict = |(element, below): &(PathElement, Set)| match inner(element) {
        Some(kind) => walk(kind, below),
        None => Verdict::Same,
    };
    let verdicts: Vec<_> = set.children.iter().map(verdict).collect();
    if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Same)) {
        return Verdict::Same;
    }
    let mut out = Set { members: set.members.clone(), children: Vec::new() };
    for ((element, below), verdict) in set.children.iter().zip(verdicts) {
        match verdict {
            Verdict::Same => out.children.push((element.clone(), below.clone())),
            Verdict::Whole => out.add_member(element.clone()),
            Verdict::Below(below) => out.put_child(element.clone(), below),
        }
    }
    Verdict::Below(out)
}
