//! From bytes to a tree that fits its type: duplicates and unknown fields found, wrong types
//! refused.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::strict::{self, Path};
use super::{Bundle, FieldDef, FieldType, TypeId};
use crate::gvk::GroupVersionKind;
use crate::quantity::Quantity;
use crate::status::ApiError;
use crate::time;

/// JSON with the fields that occurred twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The tree; of a repeated field the last value stays.
    pub value: Value,
    /// `duplicate field "spec.replicas"`, one per repeated field.
    pub duplicates: Vec<String>,
}

/// Why bytes or a tree are no object of their type; the messages are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON at all.
    #[error("{0}")]
    Syntax(String),
    /// A value of the wrong JSON type.
    #[error("json: cannot unmarshal {found} into Go {place} of type {expected}")]
    Type {
        /// What was there.
        found: String,
        /// `struct field PodSpec.spec.nodeName`, or `value`.
        place: String,
        /// The Go type expected.
        expected: String,
    },
    /// A text that does not parse as what it stands for.
    #[error("{0}")]
    Text(String),
    /// Unknown or repeated fields under strict validation.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

impl DecodeError {
    /// `Pod in version "v1" cannot be handled as a Pod: …`, as a 400.
    pub fn for_kind(&self, kind: &GroupVersionKind) -> ApiError {
        let (name, version) = (&kind.kind, kind.group_version().version);
        let prefix = format!("{name} in version {version:?} cannot be handled as a {name}");
        ApiError::bad_request(format!("{prefix}: {self}"))
    }
}

/// How many strict complaints are kept, as upstream.
pub(super) const MAX_COMPLAINTS: usize = 100;

/// Parses JSON and notes repeated fields.
pub fn parse_json(bytes: &[u8]) -> Result<Parsed, DecodeError> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = Tree { path: &Path::Root, duplicates: &mut duplicates };
    let syntax = |error: serde_json::Error| DecodeError::Syntax(syntax_error(bytes, &error));
    let value = seed.deserialize(&mut deserializer).map_err(syntax)?;
    deserializer.end().map_err(syntax)?;
    Ok(Parsed { value, duplicates })
}

/// Where the parser stood when a character did not fit, by how its own message begins.
const PLACES: [(&str, &str); 11] = [
    ("expected value", "looking for beginning of value"),
    ("key must be a string", "looking for beginning of object key string"),
    ("trailing comma", "looking for beginning of value"),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("trailing characters", "after top-level value"),
    ("expected ident", "in literal"),
    ("invalid number", "in numeric literal"),
    ("control character", "in string literal"),
    ("invalid escape", "in string escape code"),
];

/// What Go says to bytes that are no JSON.
pub fn syntax_error(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".into();
    }
    let text = error.to_string();
    let place = PLACES.iter().find(|(start, _)| text.starts_with(start));
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1));
    let odd = line.and_then(|line| line.get(error.column().saturating_sub(1)));
    match (place, odd) {
        (Some((_, place)), Some(odd)) => {
            format!("invalid character '{}' {place}", char::from(*odd).escape_default())
        }
        _ => text,
    }
}

struct Tree<'a> {
    path: &'a Path<'a>,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = Path::Item(self.path, list.len());
            match items.next_element_seed(Tree { path: &path, duplicates: self.duplicates })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = Path::Field(self.path, &key);
            if map.contains_key(&key) && self.duplicates.len() < MAX_COMPLAINTS {
                self.duplicates.push(format!("duplicate field {:?}", path.render()));
            }
            let value =
                entries.next_value_seed(Tree { path: &path, duplicates: self.duplicates })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Makes a tree fit its type: unknown fields and nulls go, quantities and times become canonical.
///
/// Returns `unknown field "spec.foo"`, one per field that went.
///
/// # Errors
///
/// The first value of the wrong type, in upstream's words.
pub fn conform(bundle: &Bundle, id: TypeId, value: &mut Value) -> Result<Vec<String>, DecodeError> {
    let mut walk = Walk { bundle, unknown: Vec::new() };
    let at = At { strict: String::new(), go: String::new(), owner: String::new() };
    walk.object(id, value, &at)?;
    Ok(walk.unknown)
}

/// [`parse_json`] and [`conform`] in one, and what [strict decoding](strict) complains about.
pub fn decode(
    bundle: &Bundle,
    id: TypeId,
    bytes: &[u8],
) -> Result<(Value, Vec<String>), DecodeError> {
    let Parsed { mut value, duplicates } = parse_json(bytes)?;
    let unknown = conform(bundle, id, &mut value)?;
    let complaints = match duplicates.is_empty() && unknown.is_empty() {
        true => Vec::new(),
        false => strict::complaints(bundle, id, bytes),
    };
    Ok((value, complaints))
}

/// Where the walk stands, in the two notations that messages use.
struct At {
    /// `spec.containers[0].name`.
    strict: String,
    /// `spec.containers.name`.
    go: String,
    /// The Go struct that holds the field.
    owner: String,
}

impl At {
    fn field(&self, owner: &str, name: &str) -> Self {
        Self {
            strict: crate::field::child(&self.strict, name),
            go: crate::field::child(&self.go, name),
            owner: owner.into(),
        }
    }

    /// An entry of a map, which Go's notation does not name.
    fn entry(&self, key: &str) -> Self {
        let strict = crate::field::child(&self.strict, key);
        Self { strict, go: self.go.clone(), owner: self.owner.clone() }
    }

    fn item(&self, index: usize) -> Self {
        let strict = crate::field::index(&self.strict, index);
        Self { strict, go: self.go.clone(), owner: self.owner.clone() }
    }

    fn place(&self) -> String {
        match self.owner.is_empty() {
            true => "value".into(),
            false => format!("struct field {}.{}", self.owner, self.go),
        }
    }
}

struct Walk<'a> {
    bundle: &'a Bundle,
    unknown: Vec<String>,
}

impl Walk<'_> {
    fn object(&mut self, id: TypeId, value: &mut Value, at: &At) -> Result<(), DecodeError> {
        let def = self.bundle.get(id);
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        let Value::Object(fields) = value else {
            return Err(self.mismatch(value, &FieldType::Object(id), at));
        };
        let owner = def.short_name();
        let mut dropped = Vec::new();
        for (name, value) in fields.iter_mut() {
            match def.field(name) {
                Some(field) => {
                    self.field(field, value, &at.field(owner, name))?;
                    if is_nothing(field, value, &at.strict) {
                        dropped.push(name.clone());
                    }
                }
                None => {
                    self.complain(&crate::field::child(&at.strict, name));
                    dropped.push(name.clone());
                }
            }
        }
        for name in dropped {
            fields.remove(&name);
        }
        Ok(())
    }

    fn complain(&mut self, path: &str) {
        if self.unknown.len() < MAX_COMPLAINTS {
            self.unknown.push(format!("unknown field {path:?}"));
        }
    }

    fn field(&mut self, field: &FieldDef, value: &mut Value, at: &At) -> Result<(), DecodeError> {
        if value.is_null() {
            return Ok(());
        }
        self.value(&field.kind, value, at)
    }

    fn value(&mut self, kind: &FieldType, value: &mut Value, at: &At) -> Result<(), DecodeError> {
        match kind {
            FieldType::Any => Ok(()),
            FieldType::Object(id) => self.object(*id, value, at),
            FieldType::List(item) => self.list(kind, item, value, at),
            FieldType::Map(item) => self.map(kind, item, value, at),
            FieldType::SchemaOrArray | FieldType::SchemaOrBool | FieldType::SchemaOrStrings => {
                self.schema(value, at)
            }
            scalar => match check_scalar(scalar, value) {
                Scalar::Fits => Ok(()),
                Scalar::Mismatch => Err(self.mismatch(value, scalar, at)),
                Scalar::Text(message) => Err(DecodeError::Text(message)),
            },
        }
    }

    fn list(
        &mut self,
        kind: &FieldType,
        item: &FieldType,
        value: &mut Value,
        at: &At,
    ) -> Result<(), DecodeError> {
        let Value::Array(items) = value else {
            return if value.is_null() { Ok(()) } else { Err(self.mismatch(value, kind, at)) };
        };
        for (index, value) in items.iter_mut().enumerate() {
            self.element(item, value, &at.item(index))?;
        }
        Ok(())
    }

    fn map(
        &mut self,
        kind: &FieldType,
        item: &FieldType,
        value: &mut Value,
        at: &At,
    ) -> Result<(), DecodeError> {
        let Value::Object(entries) = value else {
            return if value.is_null() { Ok(()) } else { Err(self.mismatch(value, kind, at)) };
        };
        for (key, value) in entries.iter_mut() {
            self.element(item, value, &at.entry(key))?;
        }
        Ok(())
    }

    /// Elements of lists and maps: null is the type's zero.
    fn element(&mut self, kind: &FieldType, value: &mut Value, at: &At) -> Result<(), DecodeError> {
        if value.is_null() {
            *value = zero(kind);
        }
        self.value(kind, value, at)
    }

    /// A JSON schema where upstream also takes a list or a boolean.
    fn schema(&mut self, value: &mut Value, at: &At) -> Result<(), DecodeError> {
        const NAME: &str =
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
        let id = self.bundle.type_named(NAME).expect("the bundle holds JSONSchemaProps");
        match value {
            Value::Object(_) => self.object(id, value, at),
            Value::Array(items) => {
                let objects = items.iter_mut().enumerate().filter(|(_, item)| item.is_object());
                objects
                    .into_iter()
                    .try_for_each(|(index, item)| self.object(id, item, &at.item(index)))
            }
            _ => Ok(()),
        }
    }

    fn mismatch(&self, value: &Value, kind: &FieldType, at: &At) -> DecodeError {
        let expected = self.go_type(kind);
        DecodeError::Type { found: found(value, kind), place: at.place(), expected }
    }

    fn go_type(&self, kind: &FieldType) -> String {
        match kind {
            FieldType::String | FieldType::Quantity | FieldType::Time | FieldType::MicroTime => {
                "string".into()
            }
            FieldType::IntOrString => "intstr.IntOrString".into(),
            FieldType::Bytes => "[]uint8".into(),
            FieldType::Int32 => "int32".into(),
            FieldType::Int64 => "int64".into(),
            FieldType::Double => "float64".into(),
            FieldType::Bool => "bool".into(),
            FieldType::List(item) => format!("[]{}", self.go_type(item)),
            FieldType::Map(item) => format!("map[string]{}", self.go_type(item)),
            FieldType::Object(id) => self.bundle.get(*id).versioned_name().into(),
            _ => "map[string]interface {}".into(),
        }
    }
}

/// Whether a field's value says nothing: null, a zero that is not written, or an empty list or map
/// that may be missing. The object's own managed fields, empty, are a wish: to forget them.
fn is_nothing(field: &FieldDef, value: &Value, owner: &str) -> bool {
    match (&field.kind, value) {
        (FieldType::Any, _) => false,
        (_, Value::Null) => true,
        (_, value) if field.omits_zero => is_zero(value),
        (FieldType::List(_), Value::Array(items)) => {
            let wish = field.name == "managedFields" && owner == "metadata";
            items.is_empty() && !field.required && !wish
        }
        (FieldType::Map(_), Value::Object(entries)) => entries.is_empty() && !field.required,
        _ => false,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(is) => !is,
        _ => false,
    }
}

fn zero(kind: &FieldType) -> Value {
    match kind {
        FieldType::String | FieldType::Bytes => "".into(),
        FieldType::Int32 | FieldType::Int64 | FieldType::Double => 0.into(),
        FieldType::Bool => false.into(),
        FieldType::Quantity => "0".into(),
        FieldType::Object(_) | FieldType::FreeObject | FieldType::Map(_) => {
            Value::Object(Map::new())
        }
        FieldType::List(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    }
}

fn found(value: &Value, kind: &FieldType) -> String {
    let number_wanted = matches!(kind, FieldType::Int32 | FieldType::Int64);
    match value {
        Value::Number(number) if number_wanted => format!("number {number}"),
        other => json_type(other).into(),
    }
}

/// A value's JSON type, as messages name it.
pub fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

enum Scalar {
    Fits,
    Mismatch,
    Text(String),
}

fn fits(condition: bool) -> Scalar {
    if condition { Scalar::Fits } else { Scalar::Mismatch }
}

fn check_scalar(kind: &FieldType, value: &mut Value) -> Scalar {
    match kind {
        FieldType::String => fits(value.is_string()),
        FieldType::Bytes => check_bytes(value),
        FieldType::Int32 => fits(value.as_i64().is_some_and(|n| i32::try_from(n).is_ok())),
        FieldType::Int64 => fits(value.is_i64()),
        FieldType::Double => fits(value.is_number()),
        FieldType::Bool => fits(value.is_boolean()),
        FieldType::Quantity => check_quantity(value),
        FieldType::IntOrString => fits(value.is_string() || value.is_i64()),
        FieldType::Time => check_time(value, time::format_time),
        FieldType::MicroTime => check_time(value, time::format_micro),
        FieldType::FreeObject => fits(value.is_object() || value.is_null()),
        _ => Scalar::Fits,
    }
}

fn check_bytes(value: &Value) -> Scalar {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let Some(text) = value.as_str() else {
        return Scalar::Mismatch;
    };
    match STANDARD.decode(text) {
        Ok(_) => Scalar::Fits,
        Err(base64::DecodeError::InvalidByte(at, _)) => {
            Scalar::Text(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Scalar::Text(format!("illegal base64 data at input byte {}", text.len() / 4 * 4)),
    }
}

fn check_quantity(value: &mut Value) -> Scalar {
    let text = match &*value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return Scalar::Mismatch,
    };
    match text.parse::<Quantity>() {
        Ok(quantity) => {
            *value = quantity.to_string().into();
            Scalar::Fits
        }
        Err(error) => Scalar::Text(error.to_string()),
    }
}

fn check_time(value: &mut Value, format: fn(jiff::Timestamp) -> String) -> Scalar {
    let Some(text) = value.as_str() else {
        return Scalar::Mismatch;
    };
    match time::parse(text) {
        Some(instant) => {
            *value = format(instant).into();
            Scalar::Fits
        }
        None => Scalar::Text(format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \
             \"2006\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    fn kind(group: &str, kind: &str) -> TypeId {
        builtin().type_of(&GroupVersionKind::new(group, "v1", kind)).unwrap()
    }

    #[test]
    fn unknown_and_repeated_fields_are_named_and_dropped() {
        let text = br#"{"kind":"Deployment","spec":{"replicas":1,"replicas":2,"foo":1,
            "template":{"spec":{"containers":[{"name":"a","imag":"b"}]}}}}"#;
        let (value, complaints) = decode(builtin(), kind("apps", "Deployment"), text).unwrap();
        assert_eq!(
            complaints,
            [
                r#"duplicate field "spec.replicas""#,
                r#"unknown field "spec.foo""#,
                r#"unknown field "spec.template.spec.containers[0].imag""#,
            ]
        );
        assert_eq!(value["spec"]["replicas"], 2);
        assert_eq!(value["spec"]["template"]["spec"]["containers"], json!([{"name": "a"}]));
        let strict = DecodeError::Strict(complaints);
        let error = strict.for_kind(&GroupVersionKind::new("apps", "v1", "Deployment"));
        assert!(error.message.starts_with(
            "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding \
             error: duplicate field \"spec.replicas\", unknown field \"spec.foo\", "
        ));
    }

    #[test]
    fn wrong_types_are_refused_as_go_would() {
        let cases = [
            (
                json!({"spec": {"replicas": "3"}}),
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas \
                 of type int32",
            ),
            (
                json!({"spec": {"replicas": 1.5}}),
                "json: cannot unmarshal number 1.5 into Go struct field \
                 DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": {}}}}}),
                "json: cannot unmarshal object into Go struct field \
                 PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of \
                 type string",
            ),
            (json!([]), "json: cannot unmarshal array into Go value of type v1.Deployment"),
        ];
        for (mut value, message) in cases {
            let error = conform(builtin(), kind("apps", "Deployment"), &mut value).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let mut secret = json!({"data": {"a": "!"}});
        let error = conform(builtin(), kind("", "Secret"), &mut secret).unwrap_err();
        assert_eq!(error.to_string(), "illegal base64 data at input byte 0");
    }

    #[test]
    fn nulls_and_empty_collections_go_and_texts_become_canonical() {
        let mut pod = json!({
            "metadata": {"creationTimestamp": null, "labels": {}},
            "spec": {
                "volumes": [],
                "containers": [
                    {"name": "a", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}},
                ],
            },
            "status": {"startTime": "2026-01-02T03:04:05+01:00"},
        });
        pod["spec"]["hostNetwork"] = false.into();
        pod["spec"]["enableServiceLinks"] = false.into();
        assert!(conform(builtin(), kind("", "Pod"), &mut pod).unwrap().is_empty());
        assert_eq!(pod["metadata"], json!({}));
        assert!(pod["spec"].get("volumes").is_none() && pod["spec"].get("hostNetwork").is_none());
        assert_eq!(pod["spec"]["enableServiceLinks"], false);
        let limits = &pod["spec"]["containers"][0]["resources"]["limits"];
        assert_eq!(*limits, json!({"cpu": "500m", "memory": "1Gi"}));
        assert_eq!(pod["status"]["startTime"], "2026-01-02T02:04:05Z");
    }

    #[test]
    fn the_schema_of_a_crd_is_walked() {
        let mut crd = json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {
            "type": "object", "additionalProperties": {"type": "string", "bogus": 1},
            "properties": {"a": {"default": null, "items": {"type": "string"}}}}}}]}});
        let id = kind("apiextensions.k8s.io", "CustomResourceDefinition");
        let unknown = conform(builtin(), id, &mut crd).unwrap();
        let path = "spec.versions[0].schema.openAPIV3Schema.additionalProperties.bogus";
        assert_eq!(unknown, [format!("unknown field {path:?}")]);
    }
}
