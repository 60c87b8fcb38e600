//! `fieldsV1`: a set of fields as JSON. `f:` names a field, `k:` the keys of a list element, `v:` an
//! element of a set, `i:` a place in a list, and `.` the node itself.

use serde_json::{Map, Value};

use super::element::PathElement;
use super::go::json;
use super::set::Set;

/// Why JSON is no set of fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// A key shorter than its prefix.
    #[error("key must be 2 characters long:")]
    Short,
    /// No `:` behind the first letter.
    #[error("missing colon: {0}")]
    Colon(String),
    /// What stands behind the prefix does not parse.
    #[error("parsing key as path element: {0}")]
    Element(String),
    /// Something else where an object must be.
    #[error("expected an object, got {0}")]
    Shape(String),
}

/// The set as `fieldsV1`.
pub fn to_fields_v1(set: &Set) -> Value {
    let mut fields = Map::new();
    for member in &set.members {
        fields.insert(encode(member), Value::Object(Map::new()));
    }
    for (element, below) in &set.children {
        let mut inner = to_fields_v1(below);
        if let (true, Value::Object(inner)) = (set.has_member(element), &mut inner) {
            inner.insert(".".into(), Value::Object(Map::new()));
        }
        fields.insert(encode(element), inner);
    }
    Value::Object(fields)
}

/// The set that `fieldsV1` describes. Elements of kinds yet unknown are left out.
///
/// # Errors
/// If a key or a nesting is malformed.
pub fn from_fields_v1(fields: &Value) -> Result<Set, FieldsError> {
    Ok(read(fields)?.below)
}

/// What an object of `fieldsV1` says: whether its node belongs to the set, and what lies below.
struct Node {
    member: bool,
    below: Set,
}

fn read(fields: &Value) -> Result<Node, FieldsError> {
    let mut node = Node { member: false, below: Set::default() };
    let fields = match fields {
        Value::Object(fields) => fields,
        Value::Null => return Ok(Node { member: true, ..node }),
        other => return Err(FieldsError::Shape(other.to_string())),
    };
    let mut inner = Vec::with_capacity(fields.len());
    for (key, value) in fields {
        if key == "." {
            node.member = true;
        } else if let Some(element) = decode(key)? {
            inner.push((element, read(value)?));
        }
    }
    node.member |= inner.is_empty();
    // Keys are sorted as texts, which is another order than that of numbers.
    inner.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (element, inner) in inner {
        if inner.member {
            node.below.add_member(element.clone());
        }
        node.below.put_child(element, inner.below);
    }
    Ok(node)
}

/// A step as a key of `fieldsV1`.
pub(super) fn encode(element: &PathElement) -> String {
    match element {
        PathElement::Field(name) => format!("f:{name}"),
        PathElement::Index(at) => format!("i:{at}"),
        PathElement::Value(value) => format!("v:{}", json(value)),
        PathElement::Key(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{}:{}", json(&Value::from(&**name)), json(value)))
                .collect();
            format!("k:{{{}}}", fields.join(","))
        }
    }
}

/// `None` for kinds of elements that are not known.
fn decode(key: &str) -> Result<Option<PathElement>, FieldsError> {
    if key.len() < 2 {
        return Err(FieldsError::Short);
    }
    let bytes = key.as_bytes();
    if bytes[1] != b':' {
        return Err(FieldsError::Colon(key.into()));
    }
    let rest = &key[2..];
    Ok(Some(match bytes[0] {
        b'f' => PathElement::Field(rest.into()),
        b'v' => PathElement::Value(parse(rest)?),
        b'k' => match parse(rest)? {
            Value::Object(fields) => PathElement::key(
                fields.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            ),
            other => return Err(FieldsError::Element(format!("{other} is no object"))),
        },
        b'i' => PathElement::Index(
            rest.parse().map_err(|_| FieldsError::Element(format!("{rest:?} is no number")))?,
        ),
        _ => return Ok(None),
    }))
}

fn parse(text: &str) -> Result<Value, FieldsError> {
    serde_json::from_str(text).map_err(|error| FieldsError::Element(error.to_string()))
}
