//! Which types fit where: type parameters are bound as arguments turn up.

use crate::types::Type;

/// What the type parameters stand for so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings {
    bound: Vec<Option<Type>>,
}

impl Bindings {
    /// A parameter that stands for nothing yet.
    pub(crate) fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Param(self.bound.len() - 1)
    }

    /// So many new parameters; returns the first one's number.
    pub(crate) fn fresh_many(&mut self, count: usize) -> usize {
        let first = self.bound.len();
        self.bound.resize(first + count, None);
        first
    }

    /// The type with every bound parameter replaced; the others become `dyn` if `finally`.
    pub(crate) fn resolve(&self, ty: &Type, finally: bool) -> Type {
        let inner = |ty: &Type| Box::new(self.resolve(ty, finally));
        match ty {
            Type::Param(at) => match &self.bound[*at] {
                Some(bound) => self.resolve(bound, finally),
                None if finally => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(of) => Type::List(inner(of)),
            Type::Optional(of) => Type::Optional(inner(of)),
            Type::TypeOf(of) => Type::TypeOf(inner(of)),
            Type::Map(key, value) => Type::Map(inner(key), inner(value)),
            other => other.clone(),
        }
    }

    /// Whether the types can be the same; binds what has to be for that, or nothing.
    pub(crate) fn unify_all(&mut self, pairs: &[(Type, Type)]) -> bool {
        let before = self.clone();
        let fits = pairs.iter().all(|(given, wanted)| self.fit(given, wanted));
        if !fits {
            *self = before;
        }
        fits
    }

    /// [`unify_all`](Self::unify_all) of one pair.
    pub(crate) fn unify(&mut self, given: &Type, wanted: &Type) -> bool {
        self.unify_all(&[(given.clone(), wanted.clone())])
    }

    fn fit(&mut self, given: &Type, wanted: &Type) -> bool {
        let (given, wanted) = (self.resolve(given, false), self.resolve(wanted, false));
        match (&given, &wanted) {
            (Type::Param(a), Type::Param(b)) if a == b => true,
            (Type::Param(at), other) | (other, Type::Param(at)) => self.bind(*at, other),
            (a, b) if a.is_dyn_or_error() || b.is_dyn_or_error() => true,
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
                self.fit(a, b)
            }
            (Type::Map(ka, va), Type::Map(kb, vb)) => self.fit(ka, kb) && self.fit(va, vb),
            (Type::TypeOf(_), Type::TypeOf(_)) => true,
            (a, b) => a == b,
        }
    }

    fn bind(&mut self, at: usize, ty: &Type) -> bool {
        if mentions(ty, at) {
            return false;
        }
        self.bound[at] = Some(ty.clone());
        true
    }
}

/// What may be null besides null itself.
fn nullable(ty: &Type) -> bool {
    matches!(ty, Type::Null | Type::Object(_) | Type::Duration | Type::Timestamp)
}

fn mentions(ty: &Type, at: usize) -> bool {
    match ty {
        Type::Param(other) => *other == at,
        Type::List(of) | Type::Optional(of) | Type::TypeOf(of) => mentions(of, at),
        Type::Map(key, value) => mentions(key, at) || mentions(value, at),
        _ => false,
    }
}

/// The same type with its parameters counted from `first`.
pub(crate) fn instantiate(ty: &Type, first: usize) -> Type {
    let inner = |ty: &Type| Box::new(instantiate(ty, first));
    match ty {
        Type::Param(at) => Type::Param(first + at),
        Type::List(of) => Type::List(inner(of)),
        Type::Optional(of) => Type::Optional(inner(of)),
        Type::TypeOf(of) => Type::TypeOf(inner(of)),
        Type::Map(key, value) => Type::Map(inner(key), inner(value)),
        other => other.clone(),
    }
}
