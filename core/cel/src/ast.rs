//! What an expression is made of, after its macros are written out.

use std::sync::Arc;

use crate::value::Value;

/// Names that text in expressions is turned into.
pub(crate) type Name = Arc<str>;

/// One node. Its id indexes what parser and checker know about it.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) id: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Value),
    Ident(Name),
    Select { operand: Box<Expr>, field: Name, test: bool },
    Call { function: Name, target: Option<Box<Expr>>, args: Vec<Expr> },
    List(Vec<Item>),
    Map(Vec<Pair>),
    Struct { name: Name, fields: Vec<Field> },
    Comprehension(Box<Comprehension>),
}

/// An element of a list literal; optional ones are left out if they have no value.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// An entry of a map literal.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A field of a struct literal.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: Name,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A loop: what every collection macro becomes.
#[derive(Clone, Debug)]
pub(crate) struct Comprehension {
    pub(crate) range: Expr,
    pub(crate) var: Name,
    pub(crate) var2: Option<Name>,
    pub(crate) accu: Name,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub(crate) struct Ast {
    pub(crate) root: Expr,
    pub(crate) source: Arc<str>,
    /// Where each node starts, in characters.
    pub(crate) offsets: Vec<usize>,
}

pub(crate) const CONDITIONAL: &str = "_?_:_";
pub(crate) const AND: &str = "_&&_";
pub(crate) const OR: &str = "_||_";
pub(crate) const NOT: &str = "!_";
pub(crate) const NEGATE: &str = "-_";
pub(crate) const ADD: &str = "_+_";
pub(crate) const EQUALS: &str = "_==_";
pub(crate) const NOT_EQUALS: &str = "_!=_";
pub(crate) const INDEX: &str = "_[_]";
pub(crate) const OPT_INDEX: &str = "_[?_]";
pub(crate) const OPT_SELECT: &str = "_?._";
pub(crate) const IN: &str = "@in";
pub(crate) const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";
pub(crate) const SORT_BY: &str = "@sortByAssociatedKeys";
/// The variable that loops collect in.
pub(crate) const ACCUMULATOR: &str = "@result";

impl Expr {
    /// The dotted name that a chain of selections spells, if it is one.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select { operand, field, test: false } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }

    /// The text of a string literal.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Literal(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}
