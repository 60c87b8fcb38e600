//! The order of a merged list: what the patch names stands as the patch has it, the rest finds its
//! place.

use serde_json::Value;

/// How the elements of a list are told apart.
#[derive(Clone, Copy)]
pub(super) enum Identity<'a> {
    /// By the value as a whole.
    Whole,
    /// By one field.
    Key(&'a str),
}

impl Identity<'_> {
    /// Whether two elements are the same one.
    pub(super) fn same(self, one: &Value, other: &Value) -> bool {
        match self {
            Self::Whole => one == other,
            Self::Key(key) => one.get(key).is_some() && one.get(key) == other.get(key),
        }
    }

    fn index_in(self, list: &[Value], item: &Value) -> Option<usize> {
        list.iter().position(|there| self.same(there, item))
    }
}

/// Orders `merged`: elements in `order` as there; the others keep the server's order among
/// themselves
/// and stand before the first ordered element that followed them on the server.
pub(super) fn arrange(
    identity: Identity<'_>,
    merged: Vec<Value>,
    order: &[Value],
    server: &[Value],
) -> Vec<Value> {
    let (mut ordered, mut others): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|item| identity.index_in(order, item).is_some());
    ordered.sort_by_key(|item| identity.index_in(order, item));
    others.sort_by_key(|item| identity.index_in(server, item).unwrap_or(usize::MAX));
    let before = |other: &Value, ordered: &Value| {
        let places = (identity.index_in(server, other), identity.index_in(server, ordered));
        matches!(places, (Some(other), Some(ordered)) if other < ordered)
    };
    let mut others = others.into_iter().peekable();
    let mut arranged = Vec::new();
    for item in ordered {
        while let Some(other) = others.next_if(|other| before(other, &item)) {
            arranged.push(other);
        }
        arranged.push(item);
    }
    arranged.extend(others);
    arranged
}
