//! Types: what the checker knows of a value, and how big it may be.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Type {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Optional(Box<Type>),
    /// The type of a type.
    TypeOf(Box<Type>),
    /// An object with known fields.
    Object(Arc<Object>),
    /// A type that only functions know what to do with.
    Opaque(&'static str),
    /// Not known yet.
    Param(usize),
    /// What an error made unknowable; everything goes with it.
    Error,
}

/// An object type.
#[derive(Debug)]
pub struct Object {
    /// How errors name it.
    pub name: String,
    /// Its fields by their escaped names; `None` has any field, of any type.
    pub fields: Option<BTreeMap<String, Decl>>,
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (!self.name.is_empty() && self.name == other.name)
    }
}

/// A type together with what a schema says of its size.
#[derive(Clone, Debug)]
pub struct Decl {
    /// The type.
    pub ty: Type,
    /// How many characters, elements or entries it may have: 0 for what has none, as upstream
    /// reckons, and [`UNSIZED`] where that is not known.
    pub max: u64,
    /// How few bytes it takes as JSON.
    pub min_size: u64,
    /// Elements of a list, values of a map.
    pub items: Option<Arc<Decl>>,
}

/// The size of what may have any.
pub const UNSIZED: u64 = u64::MAX;

impl Decl {
    /// A declaration without a size.
    pub fn of(ty: Type) -> Self {
        Self { ty, max: UNSIZED, min_size: 0, items: None }
    }

    /// A type of which values have a size.
    pub fn sized(ty: Type, max: u64, min_size: u64) -> Self {
        Self { ty, max, min_size, items: None }
    }

    /// A list of at most so many elements.
    pub fn list(items: Decl, max: u64) -> Self {
        let ty = Type::List(Box::new(items.ty.clone()));
        Self { ty, max, min_size: 2, items: Some(Arc::new(items)) }
    }

    /// A map from strings with at most so many entries.
    pub fn map(values: Decl, max: u64) -> Self {
        let ty = Type::Map(Box::new(Type::String), Box::new(values.ty.clone()));
        Self { ty, max, min_size: 2, items: Some(Arc::new(values)) }
    }

    /// An object with these fields, by their escaped names.
    pub fn object(name: &str, fields: BTreeMap<String, Decl>, min_size: u64) -> Self {
        let object = Object { name: name.to_string(), fields: Some(fields) };
        Self { ty: Type::Object(Arc::new(object)), max: 0, min_size, items: None }
    }

    /// An object of which nothing is known: any field, of any type.
    pub fn open_object(name: &str) -> Self {
        let object = Object { name: name.to_string(), fields: None };
        Self::of(Type::Object(Arc::new(object)))
    }

    /// The declaration that a step leads to: a field, `@items`, `@values` or `@keys`.
    pub(crate) fn step(&self, name: &str) -> Option<Decl> {
        match name {
            "@items" | "@values" => self.items.as_deref().cloned(),
            "@keys" => match &self.ty {
                Type::Map(..) => Some(Decl::sized(Type::String, 0, 2)),
                _ => None,
            },
            _ => match &self.ty {
                Type::Object(object) => object.fields.as_ref()?.get(name).cloned(),
                _ => None,
            },
        }
    }
}

impl Type {
    /// `list(of)`.
    pub fn list(of: Type) -> Self {
        Self::List(Box::new(of))
    }

    /// `map(string, of)`.
    pub fn map(of: Type) -> Self {
        Self::Map(Box::new(Self::String), Box::new(of))
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Whether values always have size 1.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Self::Optional(inner) => inner.is_scalar(),
            Self::Bool
            | Self::Double
            | Self::Duration
            | Self::Int
            | Self::Timestamp
            | Self::Uint => true,
            _ => false,
        }
    }

    /// An optional's inner type, or the type itself.
    pub(crate) fn unwrapped(&self) -> (&Type, bool) {
        match self {
            Self::Optional(inner) => (inner, true),
            other => (other, false),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("google.protobuf.Duration"),
            Self::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::TypeOf(of) => write!(f, "type({of})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Opaque(name) => f.write_str(name),
            Self::Param(at) => write!(f, "_var{at}"),
            Self::Error => f.write_str("!error!"),
        }
    }
}
