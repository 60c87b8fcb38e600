//! Reads the bundle's compact file.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::{Bundle, FieldDef, FieldType, ListType, MapType, PatchStrategy, TypeDef, TypeId};
use crate::gvk::GroupVersionKind;

#[derive(Deserialize)]
struct File {
    types: Vec<RawType>,
}

#[derive(Deserialize)]
struct RawType {
    n: String,
    #[serde(default)]
    g: Vec<(String, String, String)>,
    #[serde(default)]
    a: bool,
    f: BTreeMap<String, RawField>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawField {
    Plain(String),
    Full(FullField),
}

#[derive(Deserialize)]
struct FullField {
    t: String,
    #[serde(default)]
    r: bool,
    l: Option<String>,
    #[serde(default)]
    k: Vec<String>,
    m: Option<String>,
    #[serde(default)]
    s: String,
    a: Option<String>,
}

/// Why the file is no bundle.
#[derive(Debug, thiserror::Error)]
pub(super) enum BundleError {
    #[error("read the schema bundle: {0}")]
    Json(#[from] serde_json::Error),
    #[error("read the schema bundle: unknown type code {0}")]
    Code(String),
}

/// `always` has a line per type: its name and the fields that are there even when they are empty,
/// with a question mark where they are null then; `omitted` the same of scalars that are not there
/// when they are zero.
pub(super) fn parse(text: &str, always: &str, omitted: &str) -> Result<Bundle, BundleError> {
    let file: File = serde_json::from_str(text)?;
    let mut types = file.types.into_iter().map(type_def).collect::<Result<Vec<_>, _>>()?;
    mark_always(&mut types, always);
    mark_omitted(&mut types, omitted);
    let mut by_name = HashMap::new();
    let mut by_kind = HashMap::new();
    for (id, def) in (0..).map(TypeId).zip(&types) {
        by_name.insert(def.name.clone(), id);
        // DeleteOptions and WatchEvent are kinds of every group; by name they are found anyway.
        by_kind.extend(def.kinds.iter().map(|kind| (kind.clone(), id)));
    }
    Ok(Bundle { types, by_name, by_kind })
}

/// The fields that a file names, type by type.
fn by_type(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(' ')).collect()
}

fn mark_omitted(types: &mut [TypeDef], omitted: &str) {
    let names = by_type(omitted);
    for def in types {
        let Some(fields) = names.get(def.name.as_str()) else { continue };
        for field in &mut def.fields {
            field.omits_zero = fields.split(' ').any(|name| name == field.name);
        }
    }
}

fn mark_always(types: &mut [TypeDef], always: &str) {
    let names = by_type(always);
    for def in types {
        let Some(fields) = names.get(def.name.as_str()) else { continue };
        for field in &mut def.fields {
            let mut found =
                fields.split(' ').filter(|name| name.trim_end_matches('?') == field.name);
            let found = found.next();
            field.always = found.is_some();
            field.pointer = found.is_some_and(|name| name.ends_with('?'));
        }
    }
}

fn type_def(raw: RawType) -> Result<TypeDef, BundleError> {
    let kinds = raw.g.into_iter().map(|(g, v, k)| GroupVersionKind::new(g, v, k)).collect();
    let fields =
        raw.f.into_iter().map(|(name, raw)| field_def(name, raw)).collect::<Result<_, _>>()?;
    Ok(TypeDef { name: raw.n, kinds, fields, atomic: raw.a })
}

fn field_def(name: String, raw: RawField) -> Result<FieldDef, BundleError> {
    let full = match raw {
        RawField::Full(full) => full,
        RawField::Plain(t) => {
            FullField { t, r: false, l: None, k: Vec::new(), m: None, s: String::new(), a: None }
        }
    };
    Ok(FieldDef {
        name,
        kind: field_type(&full.t)?,
        required: full.r,
        list_type: full.l.as_deref().and_then(list_type),
        map_keys: full.k,
        merge_key: full.m,
        strategy: strategy(&full.s),
        map_type: full.a.as_deref().and_then(map_type),
        always: false,
        pointer: false,
        omits_zero: false,
    })
}

fn list_type(text: &str) -> Option<ListType> {
    match text {
        "atomic" => Some(ListType::Atomic),
        "set" => Some(ListType::Set),
        "map" => Some(ListType::Map),
        _ => None,
    }
}

fn map_type(text: &str) -> Option<MapType> {
    match text {
        "atomic" => Some(MapType::Atomic),
        "granular" => Some(MapType::Granular),
        _ => None,
    }
}

fn strategy(text: &str) -> PatchStrategy {
    let has = |word: &str| text.split(',').any(|part| part == word);
    PatchStrategy { merge: has("merge"), replace: has("replace"), retain_keys: has("retainKeys") }
}

fn field_type(code: &str) -> Result<FieldType, BundleError> {
    if let Some(item) = code.strip_prefix("[]") {
        return Ok(FieldType::List(Box::new(field_type(item)?)));
    }
    if let Some(value) = code.strip_prefix("{}") {
        return Ok(FieldType::Map(Box::new(field_type(value)?)));
    }
    if let Some(id) = code.strip_prefix('#').and_then(|id| id.parse().ok()) {
        return Ok(FieldType::Object(TypeId(id)));
    }
    Ok(match code {
        "string" => FieldType::String,
        "bytes" => FieldType::Bytes,
        "int32" => FieldType::Int32,
        "int64" => FieldType::Int64,
        "double" => FieldType::Double,
        "bool" => FieldType::Bool,
        "quantity" => FieldType::Quantity,
        "intOrString" => FieldType::IntOrString,
        "time" => FieldType::Time,
        "microTime" => FieldType::MicroTime,
        "any" => FieldType::Any,
        "object" => FieldType::FreeObject,
        "schemaOrArray" => FieldType::SchemaOrArray,
        "schemaOrBool" => FieldType::SchemaOrBool,
        "schemaOrStrings" => FieldType::SchemaOrStrings,
        other => return Err(BundleError::Code(other.into())),
    })
}
