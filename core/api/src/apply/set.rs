//! Sets of fields: a tree whose nodes know whether they belong to the set themselves.

use std::cmp::Ordering;
use std::fmt;

use super::element::{Path, PathElement};

/// A set of field paths. A field's parents belong to the set only if they were added themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// The fields right here that belong to the set; sorted.
    pub(super) members: Vec<PathElement>,
    /// The fields right here that have fields of the set below them; sorted, never empty.
    pub(super) children: Vec<(PathElement, Set)>,
}

impl Set {
    /// The set of these paths.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut set = Self::default();
        for path in paths {
            set.insert(path);
        }
        set
    }

    /// Adds a path; the empty path, which is the whole object, belongs to no set.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => self.add_member(last.clone()),
            [first, rest @ ..] => self.descend(first).insert(rest),
        }
    }

    /// Adds a field right here.
    pub(super) fn add_member(&mut self, element: PathElement) {
        if self.members.last().is_none_or(|last| *last < element) {
            self.members.push(element);
        } else if let Err(at) = self.members.binary_search(&element) {
            self.members.insert(at, element);
        }
    }

    /// Puts what is below a field in its place; nothing is no entry.
    pub(super) fn put_child(&mut self, element: PathElement, below: Set) {
        if !below.is_empty() {
            *self.descend(&element) = below;
        }
    }

    fn descend(&mut self, element: &PathElement) -> &mut Set {
        let at = match self.find(element) {
            Ok(at) => at,
            Err(at) => {
                self.children.insert(at, (element.clone(), Self::default()));
                at
            }
        };
        &mut self.children[at].1
    }

    fn find(&self, element: &PathElement) -> Result<usize, usize> {
        if self.children.last().is_none_or(|(last, _)| last < element) {
            return Err(self.children.len());
        }
        self.children.binary_search_by(|(own, _)| own.cmp(element))
    }

    /// Whether nothing belongs to it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.iter().all(|(_, below)| below.is_empty())
    }

    /// How many fields belong to it.
    pub fn len(&self) -> usize {
        self.members.len() + self.children.iter().map(|(_, below)| below.len()).sum::<usize>()
    }

    /// Whether a path belongs to it.
    pub fn contains(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.has_member(last),
            [first, rest @ ..] => self.child(first).is_some_and(|below| below.contains(rest)),
        }
    }

    /// Whether a field right here belongs to it.
    pub(super) fn has_member(&self, element: &PathElement) -> bool {
        self.members.binary_search(element).is_ok()
    }

    /// What lies below a field.
    pub fn child(&self, element: &PathElement) -> Option<&Set> {
        self.find(element).ok().map(|at| &self.children[at].1)
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = Self::default();
        join(
            &self.members,
            &other.members,
            |member| member,
            |side| {
                let (Side::Left(member) | Side::Right(member) | Side::Both(member, _)) = side;
                out.members.push(member.clone());
            },
        );
        join(&self.children, &other.children, key, |side| {
            out.children.push(match side {
                Side::Left(child) | Side::Right(child) => child.clone(),
                Side::Both((element, a), (_, b)) => (element.clone(), a.union(b)),
            });
        });
        out
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self::default();
        join(
            &self.members,
            &other.members,
            |member| member,
            |side| {
                if let Side::Both(member, _) = side {
                    out.members.push(member.clone());
                }
            },
        );
        join(&self.children, &other.children, key, |side| {
            if let Side::Both((element, a), (_, b)) = side {
                out.push_child(element, a.intersection(b));
            }
        });
        out
    }

    /// What is in this one only; a field in `other` takes nothing away that lies below it.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut out = Self { members: self.members_without(other), ..Self::default() };
        join(&self.children, &other.children, key, |side| match side {
            Side::Left(child) => out.children.push(child.clone()),
            Side::Both((element, a), (_, b)) => out.push_child(element, a.difference(b)),
            Side::Right(_) => {}
        });
        out
    }

    /// What is in this one and neither in `other` nor below a field of it.
    #[must_use]
    pub fn recursive_difference(&self, other: &Self) -> Self {
        let mut out = Self { members: self.members_without(other), ..Self::default() };
        for (element, below) in &self.children {
            if other.has_member(element) {
                continue;
            }
            match other.child(element) {
                Some(gone) => out.push_child(element, below.recursive_difference(gone)),
                None => out.children.push((element.clone(), below.clone())),
            }
        }
        out
    }

    fn members_without(&self, other: &Self) -> Vec<PathElement> {
        let mut out = Vec::new();
        join(
            &self.members,
            &other.members,
            |member| member,
            |side| {
                if let Side::Left(member) = side {
                    out.push(member.clone());
                }
            },
        );
        out
    }

    /// Adds the last child; nothing is no entry.
    fn push_child(&mut self, element: &PathElement, below: Set) {
        if !below.is_empty() {
            self.children.push((element.clone(), below));
        }
    }

    /// The fields that have no field of the set below them.
    #[must_use]
    pub fn leaves(&self) -> Self {
        let members = self.members.iter().filter(|member| self.child(member).is_none());
        let children = self.children.iter();
        Self {
            members: members.cloned().collect(),
            children: children.map(|(element, below)| (element.clone(), below.leaves())).collect(),
        }
    }

    /// All paths: a node's own fields before what lies below them.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.collect(&mut Path::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Path, out: &mut Vec<Path>) {
        for member in &self.members {
            let mut path = prefix.clone();
            path.push(member.clone());
            out.push(path);
        }
        for (element, below) in &self.children {
            prefix.push(element.clone());
            below.collect(prefix, out);
            prefix.pop();
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.paths().iter().map(|path| text(path)).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// A path as messages show it: `.spec.containers[name="a"].image`.
pub(super) fn text(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}

fn key(child: &(PathElement, Set)) -> &PathElement {
    &child.0
}

/// Where an entry of two sorted lists was found.
enum Side<'a, T> {
    Left(&'a T),
    Right(&'a T),
    Both(&'a T, &'a T),
}

/// Walks two sorted lists side by side.
fn join<'a, T>(
    left: &'a [T],
    right: &'a [T],
    key: impl Fn(&'a T) -> &'a PathElement,
    mut each: impl FnMut(Side<'a, T>),
) {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => key(a).cmp(key(b)),
        };
        let a = if order.is_le() { left.next() } else { None };
        let b = if order.is_ge() { right.next() } else { None };
        match (a, b) {
            (Some(a), Some(b)) => each(Side::Both(a, b)),
            (Some(a), None) => each(Side::Left(a)),
            (None, Some(b)) => each(Side::Right(b)),
            (None, None) => return,
        }
    }
}
