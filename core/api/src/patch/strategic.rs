//! Strategic merge patch: lists of objects are merged by their keys, as the schema bundle says.
//!
//! Directives: `$patch: replace|delete|merge`, `$retainKeys`, `$deleteFromPrimitiveList/FIELD` and
//! `$setElementOrder/FIELD` (sig-api-machinery's strategic-merge-patch document).

use serde_json::{Map, Value};

use super::PatchError;
use super::order::{self, Identity};
use crate::schema::{Bundle, FieldDef, FieldType, PatchStrategy, TypeId};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

type Fields = Map<String, Value>;

/// Applies a strategic merge patch to an object of a type.
///
/// # Errors
///
/// `Malformed` for a patch that is no object, for unknown directives and for list elements without
/// their key.
pub fn apply(
    bundle: &Bundle,
    id: TypeId,
    target: &mut Value,
    patch: &Value,
) -> Result<(), PatchError> {
    let (Value::Object(fields), Value::Object(patch)) = (&mut *target, patch) else {
        return malformed("a strategic merge patch must be a JSON object");
    };
    let schema = Schema { bundle, kind: Some(&FieldType::Object(id)), field: None };
    *target = merge_object(schema, std::mem::take(fields), patch)?.into();
    Ok(())
}

fn malformed<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Malformed(message.into()))
}

/// What is known about the place that a value stands in.
#[derive(Clone, Copy)]
struct Schema<'a> {
    bundle: &'a Bundle,
    kind: Option<&'a FieldType>,
    field: Option<&'a FieldDef>,
}

impl<'a> Schema<'a> {
    /// The place of a field of an object (or a key of a map) that stands here.
    fn child(self, name: &str) -> Self {
        match self.kind {
            Some(FieldType::Object(id)) => {
                let field = self.bundle.get(*id).field(name);
                Self { kind: field.map(|field| &field.kind), field, ..self }
            }
            Some(FieldType::Map(item)) => Self { kind: Some(item), field: None, ..self },
            _ => Self { kind: None, field: None, ..self },
        }
    }

    /// The place of an element of a list that stands here.
    fn item(self) -> Self {
        let kind = match self.kind {
            Some(FieldType::List(item)) => Some(&**item),
            _ => None,
        };
        Self { kind, field: None, ..self }
    }

    fn strategy(self) -> PatchStrategy {
        self.field.map(|field| field.strategy).unwrap_or_default()
    }

    /// How elements of the list that stands here are told apart.
    fn identity(self) -> Identity<'a> {
        match self.field.and_then(|field| field.merge_key.as_deref()) {
            Some(key) => Identity::Key(key),
            None => Identity::Whole,
        }
    }
}

fn merge_object(
    schema: Schema<'_>,
    mut target: Fields,
    patch: &Fields,
) -> Result<Fields, PatchError> {
    let mut patch = patch.clone();
    match patch.remove(DIRECTIVE) {
        None => {}
        Some(directive) => match directive.as_str() {
            Some("replace") => return without_directives(&patch),
            Some("delete") => return Ok(Fields::new()),
            Some("merge") => {}
            _ => return malformed(format!("unknown patch type found: {directive}")),
        },
    }
    retain_keys(&mut target, &mut patch)?;
    apply_orders(schema, &mut target, &mut patch)?;
    for (name, value) in patch {
        if let Some(field) = name.strip_prefix(DELETE_PRIMITIVES) {
            delete_primitives(&mut target, field, &value)?;
        } else {
            merge_field(schema, &mut target, &name, &value)?;
        }
    }
    Ok(target)
}

fn merge_field(
    schema: Schema<'_>,
    target: &mut Fields,
    name: &str,
    value: &Value,
) -> Result<(), PatchError> {
    if value.is_null() {
        target.remove(name);
        return Ok(());
    }
    let schema = schema.child(name);
    let merged = match target.remove(name) {
        None => drop_directives(value)?,
        Some(current) => merge_value(schema, current, value)?,
    };
    target.insert(name.to_owned(), merged);
    Ok(())
}

fn merge_value(schema: Schema<'_>, current: Value, patch: &Value) -> Result<Value, PatchError> {
    match (current, patch) {
        (Value::Object(current), Value::Object(patch)) if !schema.strategy().replace => {
            Ok(merge_object(schema, current, patch)?.into())
        }
        (Value::Array(current), Value::Array(patch)) if schema.strategy().merge => {
            Ok(merge_list(schema, current, patch, None)?.into())
        }
        _ => drop_directives(patch),
    }
}

/// Only the listed keys stay; the patch itself may set only listed ones.
fn retain_keys(target: &mut Fields, patch: &mut Fields) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Some(keys) = keys.as_array() else {
        return malformed(format!("{RETAIN_KEYS} must be a list"));
    };
    let listed = |name: &str| keys.iter().any(|key| key == name);
    let stray = patch
        .iter()
        .find(|(name, value)| !name.starts_with('$') && !value.is_null() && !listed(name));
    if let Some((name, _)) = stray {
        return malformed(format!("{RETAIN_KEYS} list does not contain the patched key {name:?}"));
    }
    target.retain(|name, _| listed(name));
    Ok(())
}

fn delete_primitives(target: &mut Fields, field: &str, gone: &Value) -> Result<(), PatchError> {
    let Some(gone) = gone.as_array() else {
        return malformed(format!("{DELETE_PRIMITIVES}{field} must be a list"));
    };
    if let Some(Value::Array(items)) = target.get_mut(field) {
        items.retain(|item| !gone.contains(item));
    }
    Ok(())
}

/// Merges and orders every list that the patch gives an order for.
fn apply_orders(
    schema: Schema<'_>,
    target: &mut Fields,
    patch: &mut Fields,
) -> Result<(), PatchError> {
    let names: Vec<_> =
        patch.keys().filter_map(|key| key.strip_prefix(SET_ORDER)).map(str::to_owned).collect();
    for name in names {
        let order = patch.remove(&format!("{SET_ORDER}{name}"));
        let Some(Value::Array(order)) = order else {
            return malformed(format!("{SET_ORDER}{name} must be a list"));
        };
        if patch.get(&name).is_some_and(Value::is_null) {
            continue;
        }
        let items = match patch.remove(&name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => return malformed(format!("{name} must be a list")),
        };
        let current = match target.remove(&name) {
            Some(Value::Array(current)) => current,
            _ => Vec::new(),
        };
        let child = schema.child(&name);
        check_order(child.identity(), &name, &items, &order)?;
        if !current.is_empty() || !items.is_empty() {
            target.insert(name, merge_list(child, current, &items, Some(&order))?.into());
        }
    }
    Ok(())
}

/// Every element that the patch sets must be in the order list, in the same order.
fn check_order(
    identity: Identity<'_>,
    name: &str,
    items: &[Value],
    order: &[Value],
) -> Result<(), PatchError> {
    let mut places = order.iter();
    for item in items.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        if !places.any(|place| identity.same(place, item)) {
            let (items, order) = (Value::from(items), Value::from(order));
            return malformed(format!(
                "The order in patch list:\n{items}\n doesn't match {SET_ORDER}{name} \
                 list:\n{order}\n"
            ));
        }
    }
    Ok(())
}

fn merge_list(
    schema: Schema<'_>,
    current: Vec<Value>,
    patch: &[Value],
    order: Option<&[Value]>,
) -> Result<Vec<Value>, PatchError> {
    let identity = schema.identity();
    let of_objects = current.iter().chain(patch).any(Value::is_object);
    if of_objects && matches!(identity, Identity::Whole) {
        let name = schema.field.map_or("", |field| &field.name);
        return malformed(format!("cannot merge lists without merge key for {name}"));
    }
    let Split { items, deleted, replace } = split(identity, patch)?;
    if replace {
        return items.into_iter().map(drop_directives).collect();
    }
    let mut merged = current.clone();
    merged.retain(|item| !deleted.iter().any(|gone| identity.same(item, gone)));
    for item in &items {
        match merged.iter_mut().find(|there| identity.same(there, item)) {
            Some(there) => *there = merge_value(schema.item(), there.take(), item)?,
            None => merged.push(drop_directives(item)?),
        }
    }
    let order: Vec<Value> = match order {
        Some(order) => order.to_vec(),
        None => items.into_iter().cloned().collect(),
    };
    Ok(order::arrange(identity, merged, &order, &current))
}

struct Split<'a> {
    items: Vec<&'a Value>,
    deleted: Vec<&'a Value>,
    replace: bool,
}

/// Takes the elements that are directives out of a patch's list.
fn split<'a>(identity: Identity<'_>, patch: &'a [Value]) -> Result<Split<'a>, PatchError> {
    let mut split = Split { items: Vec::new(), deleted: Vec::new(), replace: false };
    for item in patch {
        match item.get(DIRECTIVE) {
            None => {
                check_key(identity, item)?;
                split.items.push(item);
            }
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    check_key(identity, item)?;
                    split.deleted.push(item);
                }
                Some("replace") => split.replace = true,
                Some("merge") => {
                    return malformed("merging lists cannot yet be specified in the patch");
                }
                _ => return malformed(format!("unknown patch type found: {directive}")),
            },
        }
    }
    Ok(split)
}

fn check_key(identity: Identity<'_>, item: &Value) -> Result<(), PatchError> {
    match identity {
        Identity::Key(key) if item.get(key).is_none() => {
            malformed(format!("map: {item} does not contain declared merge key: {key}"))
        }
        _ => Ok(()),
    }
}

/// What a patch stands for where nothing was before: no directives, no nulls.
fn drop_directives(patch: &Value) -> Result<Value, PatchError> {
    match patch {
        Value::Object(fields) => Ok(without_directives(fields)?.into()),
        Value::Array(items) => {
            let kept = items.iter().filter(|item| item.get(DIRECTIVE).is_none());
            kept.map(drop_directives).collect()
        }
        other => Ok(other.clone()),
    }
}

fn without_directives(fields: &Fields) -> Result<Fields, PatchError> {
    let directive = |name: &str| {
        [DIRECTIVE, RETAIN_KEYS].contains(&name)
            || name.starts_with(DELETE_PRIMITIVES)
            || name.starts_with(SET_ORDER)
    };
    let kept = fields.iter().filter(|(name, value)| !directive(name) && !value.is_null());
    kept.map(|(name, value)| Ok((name.clone(), drop_directives(value)?))).collect()
}

#[cfg(test)]
#[path = "strategic_tests.rs"]
mod tests;
