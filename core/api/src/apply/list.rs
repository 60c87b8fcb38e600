//! How the elements of a list are told apart.

use std::sync::Arc;

use serde_json::Value;

use super::element::PathElement;
use super::schema::{Identity, List, Type};

/// The step that leads to an element of a list.
///
/// # Errors
/// In upstream's words, if the element lacks what tells it apart.
pub(super) fn element(kind: Type<'_>, list: &List, item: &Value) -> Result<PathElement, String> {
    match &list.identity {
        Identity::Atomic => Err("invalid indexing of non-associative list".into()),
        Identity::Value => value_element(item),
        Identity::Keys(keys) => key_element(kind, list, keys, item),
    }
}

fn value_element(item: &Value) -> Result<PathElement, String> {
    match item {
        Value::Object(_) => {
            Err("associative list without keys has an element that's a map type".into())
        }
        Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
        Value::Null => {
            Err("associative list without keys has an element that's an explicit null".into())
        }
        scalar => Ok(PathElement::Value(scalar.clone())),
    }
}

fn key_element(
    kind: Type<'_>,
    list: &List,
    keys: &[Arc<str>],
    item: &Value,
) -> Result<PathElement, String> {
    let fields = match item {
        Value::Object(fields) => fields,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let map = kind.at(list.element).atom().map.as_ref();
    let map = map.ok_or("associative list may not have non-map types")?;
    let value = |key: &Arc<str>| {
        let default = || map.field(key).and_then(|field| field.default.as_ref());
        fields.get(&**key).or_else(default).map(|value| (key.clone(), value.clone()))
    };
    let found: Vec<_> = keys.iter().filter_map(value).collect();
    if found.is_empty() && !keys.is_empty() {
        let keys: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and \
             doesn't have default values for any key fields)",
            keys.join(" ")
        ));
    }
    Ok(PathElement::key(found))
}
