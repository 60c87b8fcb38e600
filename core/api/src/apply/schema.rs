//! What server-side apply must know of types: which values are leaves, how lists tell their elements
//! apart, which fields a type has. One graph for built-in types and for custom resources.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::gvk::GroupVersionKind;

use super::compile;

/// A graph of types; they refer to each other by number.
#[derive(Debug, Default)]
pub struct Schema {
    pub(super) atoms: Vec<Atom>,
}

/// What a value of a type may be: any of the three that are there.
#[derive(Clone, Debug, Default)]
pub(super) struct Atom {
    pub(super) map: Option<Map>,
    pub(super) scalar: Option<Scalar>,
    pub(super) list: Option<List>,
}

/// Which scalars fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Numeric,
    String,
    Boolean,
    Any,
}

/// A list and how its elements are told apart.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) identity: Identity,
    pub(super) element: TypeNumber,
}

/// How the elements of a list are told apart.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    /// Not at all: the list is one value.
    Atomic,
    /// By themselves.
    Value,
    /// By these fields.
    Keys(Vec<Arc<str>>),
}

/// An object or a map.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    /// Whether it is one value.
    pub(super) atomic: bool,
    /// Named fields, sorted.
    pub(super) fields: Vec<Field>,
    /// The type of all other entries; none if there may be none.
    pub(super) element: Option<TypeNumber>,
}

/// A named field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: Arc<str>,
    pub(super) kind: TypeNumber,
    /// Whether it is there even when it is empty.
    pub(super) always: bool,
    /// Whether it is null when nobody wrote it, and not its type's own zero.
    pub(super) null: bool,
    /// What it is when it is absent, where it is a list's key.
    pub(super) default: Option<Value>,
}

/// A type's place in its graph.
pub(super) type TypeNumber = usize;

/// The two types that every graph starts with: one value whatever it is, and maps all the way down
/// to whatever they hold.
pub(super) const UNTYPED: TypeNumber = 0;
/// See [`UNTYPED`].
pub(super) const DEDUCED: TypeNumber = 1;

/// The four types behind those: one for each sort of scalar.
pub(super) fn scalar_type(scalar: Scalar) -> TypeNumber {
    match scalar {
        Scalar::String => 2,
        Scalar::Numeric => 3,
        Scalar::Boolean => 4,
        Scalar::Any => 5,
    }
}

/// A type of a graph.
#[derive(Clone, Copy, Debug)]
pub struct Type<'a> {
    pub(super) schema: &'a Schema,
    pub(super) number: TypeNumber,
}

/// The type of a kind's objects, to keep.
#[derive(Clone, Debug)]
pub struct ObjectType {
    schema: Arc<Schema>,
    number: TypeNumber,
}

static BUILTIN: LazyLock<compile::Builtin> = LazyLock::new(compile::builtin);

impl ObjectType {
    pub(super) fn new(schema: Arc<Schema>, number: TypeNumber) -> Self {
        Self { schema, number }
    }

    /// The type of a built-in kind; whatever is not built in is merged as its values look.
    pub fn builtin(kind: &GroupVersionKind) -> Self {
        let number = BUILTIN.kinds.get(kind).copied().unwrap_or(DEDUCED);
        Self::new(BUILTIN.schema.clone(), number)
    }

    /// The type that an `openAPIV3Schema` describes; without one, objects merge as they look.
    pub fn custom(schema: &Value) -> Self {
        compile::custom(schema)
    }

    /// The type itself.
    pub fn get(&self) -> Type<'_> {
        Type { schema: &self.schema, number: self.number }
    }
}

impl<'a> Type<'a> {
    pub(super) fn atom(self) -> &'a Atom {
        &self.schema.atoms[self.number]
    }

    pub(super) fn at(self, number: TypeNumber) -> Self {
        Self { number, ..self }
    }

    /// The type of an entry of a map of this type.
    pub(super) fn entry(self, map: &Map, name: &str) -> Option<Self> {
        match map.field(name) {
            Some(field) => Some(self.at(field.kind)),
            None => map.element.map(|number| self.at(number)),
        }
    }

    /// What an empty field of this type is that is there all the same.
    pub(super) fn nothing(self) -> &'static Value {
        static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(serde_json::Map::new()));
        static TEXT: LazyLock<Value> = LazyLock::new(|| Value::from(""));
        static NUMBER: LazyLock<Value> = LazyLock::new(|| Value::from(0));
        static FALSE: Value = Value::Bool(false);
        let atom = self.atom();
        match (&atom.map, atom.scalar) {
            (Some(_), None) => &EMPTY,
            (None, Some(Scalar::String)) => &TEXT,
            (None, Some(Scalar::Numeric)) => &NUMBER,
            (None, Some(Scalar::Boolean)) => &FALSE,
            _ => &NULL,
        }
    }
}

/// What most empty fields are.
pub(super) static NULL: Value = Value::Null;

impl Map {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        Some(&self.fields[at])
    }

    /// Whether entries are told from fields: everything in it is of whatever type.
    pub(super) fn is_deduced(&self) -> bool {
        self.fields.is_empty() && self.element == Some(DEDUCED)
    }
}

/// What a value of some type is taken for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'a> {
    Map(&'a Map),
    Scalar(Scalar),
    List(&'a List),
}

impl Atom {
    /// Takes a value for what it is if the type allows that, else for the first that the type has.
    pub(super) fn shape(&self, value: Option<&Value>) -> Option<Shape<'_>> {
        let fits = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(_)) => self.map.as_ref().map(Shape::Map),
            Some(Value::Array(_)) => self.list.as_ref().map(Shape::List),
            Some(_) => self.scalar.map(Shape::Scalar),
        };
        fits.or_else(|| self.first())
    }

    fn first(&self) -> Option<Shape<'_>> {
        let map = self.map.as_ref().map(Shape::Map);
        let scalar = || self.scalar.map(Shape::Scalar);
        map.or_else(scalar).or_else(|| self.list.as_ref().map(Shape::List))
    }
}

impl Shape<'_> {
    /// Whether two values of one type are taken for the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}
