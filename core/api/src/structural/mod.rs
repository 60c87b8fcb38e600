//! Structural schemas of custom resources: compiled once, then validate, prune and default objects.
//!
//! The subset of OpenAPI v3 and the rules are those of CustomResourceDefinition v1.

mod check;
mod default;
mod embedded;
mod format;
mod lists;
mod nested;
mod prune;
mod ratchet;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

pub use check::check;
pub use ratchet::{counterpart, unchanged};

/// A compiled schema; make one per version of a CustomResourceDefinition and keep it.
#[derive(Clone, Debug, Default)]
pub struct Structural {
    kind: Option<JsonType>,
    nullable: bool,
    properties: BTreeMap<String, Structural>,
    additional: Additional,
    items: Option<Box<Structural>>,
    preserve_unknown: bool,
    int_or_string: bool,
    embedded: bool,
    default: Option<Value>,
    list: ListKind,
    rules: Rules,
}

/// The JSON type that a schema asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonType {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

#[derive(Clone, Debug, Default)]
enum Additional {
    #[default]
    None,
    Any,
    Of(Box<Structural>),
}

/// How a list is compared and merged.
#[derive(Clone, Debug, Default)]
pub enum ListKind {
    /// As a whole.
    #[default]
    Atomic,
    /// Every scalar is itself.
    Set,
    /// Objects, known by these fields.
    Map(Vec<String>),
}

/// The value validations; what may also stand in `allOf` and its like.
#[derive(Clone, Debug, Default)]
struct Rules {
    required: Vec<String>,
    values: Vec<Value>,
    minimum: Option<Bound>,
    maximum: Option<Bound>,
    multiple_of: Option<f64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    pattern: Option<Regex>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    unique_items: bool,
    min_properties: Option<usize>,
    max_properties: Option<usize>,
    format: Option<String>,
    all_of: Vec<Structural>,
    any_of: Vec<Structural>,
    one_of: Vec<Structural>,
    not: Option<Box<Structural>>,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    limit: f64,
    exclusive: bool,
}

impl JsonType {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl Structural {
    /// Compiles an `openAPIV3Schema`. What is malformed in it is ignored here; [`check`] reports
    /// it.
    pub fn compile(schema: &Value) -> Self {
        let flag = |name: &str| schema[name] == true;
        Self {
            kind: schema["type"].as_str().and_then(JsonType::parse),
            nullable: flag("nullable"),
            properties: compile_map(&schema["properties"]),
            additional: Additional::compile(&schema["additionalProperties"]),
            items: schema.get("items").filter(|items| items.is_object()).map(boxed),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            embedded: flag("x-kubernetes-embedded-resource"),
            default: schema.get("default").filter(|value| !value.is_null()).cloned(),
            list: ListKind::compile(schema),
            rules: Rules::compile(schema),
        }
    }

    /// The schema of a property.
    pub fn property(&self, name: &str) -> Option<&Structural> {
        self.properties.get(name)
    }

    /// Whether unknown fields of the whole object are kept.
    pub fn preserves_unknown(&self) -> bool {
        self.preserve_unknown
    }
}

fn boxed(schema: &Value) -> Box<Structural> {
    Box::new(Structural::compile(schema))
}

fn compile_map(schemas: &Value) -> BTreeMap<String, Structural> {
    let schemas = schemas.as_object().into_iter().flatten();
    schemas.map(|(name, schema)| (name.clone(), Structural::compile(schema))).collect()
}

fn compile_list(schemas: &Value) -> Vec<Structural> {
    schemas.as_array().into_iter().flatten().map(Structural::compile).collect()
}

impl Additional {
    fn compile(schema: &Value) -> Self {
        match schema {
            Value::Bool(true) => Self::Any,
            Value::Object(_) => Self::Of(boxed(schema)),
            _ => Self::None,
        }
    }
}

impl ListKind {
    fn compile(schema: &Value) -> Self {
        match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => Self::Set,
            Some("map") => Self::Map(texts(&schema["x-kubernetes-list-map-keys"])),
            _ => Self::Atomic,
        }
    }
}

impl Rules {
    fn compile(schema: &Value) -> Self {
        let size = |name: &str| schema[name].as_u64().and_then(|size| usize::try_from(size).ok());
        let bound = |name: &str, exclusive: &str| {
            let limit = schema[name].as_f64()?;
            Some(Bound { limit, exclusive: schema[exclusive] == true })
        };
        Self {
            required: texts(&schema["required"]),
            values: schema["enum"].as_array().cloned().unwrap_or_default(),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: schema["multipleOf"].as_f64(),
            min_length: size("minLength"),
            max_length: size("maxLength"),
            pattern: schema["pattern"].as_str().and_then(|text| Regex::new(text).ok()),
            min_items: size("minItems"),
            max_items: size("maxItems"),
            unique_items: schema["uniqueItems"] == true,
            min_properties: size("minProperties"),
            max_properties: size("maxProperties"),
            format: schema["format"].as_str().map(str::to_owned),
            all_of: compile_list(&schema["allOf"]),
            any_of: compile_list(&schema["anyOf"]),
            one_of: compile_list(&schema["oneOf"]),
            not: schema.get("not").filter(|not| not.is_object()).map(boxed),
        }
    }
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
