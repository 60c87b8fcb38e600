//! From a request's bytes to an object of the resource's kind.

use hansa_api::gvk::GroupVersionKind;
use hansa_api::schema::{builtin, decode, strict};
use hansa_api::status::ApiError;
use serde_json::Value;
use serde_saphyr::DuplicateKeyPolicy;

use super::catalog::Served;
use super::options::FieldValidation;
use super::resource::{Resource, split_api_version};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

/// An object read from a body, and what was odd about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object; unknown fields are gone.
    pub obj: Value,
    /// `unknown field "spec.foo"` and `duplicate field "a"`, for warnings.
    pub complaints: Vec<String>,
}

/// The resource's kind.
pub fn kind_of(resource: &Resource) -> GroupVersionKind {
    GroupVersionKind::new(
        resource.group.to_string(),
        resource.version.to_string(),
        resource.kind.to_string(),
    )
}

/// Parses bytes into a tree; duplicate keys are complaints.
///
/// # Errors
/// 400 with the parser's words for what is no JSON or YAML.
pub fn parse(bytes: &[u8], format: Format, kind: &str) -> Result<Decoded, ApiError> {
    object_tree(bytes, format).map_err(|why| {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({})",
            excerpt(bytes)
        ))
    })
}

/// What the type of an object is read into, as Go prints it.
const TYPE_META: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                         Kind string \"json:\\\"kind,omitempty\\\"\" }";

/// Parses bytes into the tree of an object; duplicate keys are complaints.
///
/// # Errors
/// In the parser's words, for what is no JSON or YAML, or no object.
pub fn object_tree(bytes: &[u8], format: Format) -> Result<Decoded, String> {
    let failed = |why: String| format!("couldn't get version/kind; {why}");
    let decoded = match format {
        Format::Json => {
            let parsed = decode::parse_json(bytes);
            let parsed = parsed.map_err(|error| failed(format!("json parse error: {error}")))?;
            Decoded { obj: parsed.value, complaints: parsed.duplicates }
        }
        Format::Yaml => {
            let read = yaml(bytes).map_err(|why| failed(format!("yaml parse error: {why}")))?;
            Decoded { obj: read.value, complaints: read.complaint.into_iter().collect() }
        }
    };
    if decoded.obj.is_object() {
        return Ok(decoded);
    }
    let found = decode::json_type(&decoded.obj);
    let why = format!("json: cannot unmarshal {found} into Go value of type {TYPE_META}");
    Err(failed(format!("json parse error: {why}")))
}

/// YAML that was read, and what is odd about it: keys that occur twice.
#[derive(Debug)]
pub struct Yaml {
    /// The tree; of a repeated key the last value stays.
    pub value: Value,
    /// `yaml: unmarshal errors: …`.
    pub complaint: Option<String>,
}

/// Reads YAML; most that is sent as YAML is JSON, which is quicker to read.
///
/// # Errors
/// The parser's words.
pub fn yaml(bytes: &[u8]) -> Result<Yaml, String> {
    if bytes.first() == Some(&b'{')
        && let Ok(parsed) = decode::parse_json(bytes)
        && parsed.duplicates.is_empty()
    {
        return Ok(Yaml { value: parsed.value, complaint: None });
    }
    let failed = |error: &dyn std::fmt::Display| {
        format!("yaml: {}", error.to_string().lines().next().unwrap_or_default())
    };
    let text = std::str::from_utf8(bytes).map_err(|error| failed(&error))?;
    let error = match serde_saphyr::from_str(text) {
        Ok(value) => return Ok(Yaml { value, complaint: None }),
        Err(error) => error,
    };
    let Some(complaint) = repeated_key(&error) else { return Err(failed(error.without_snippet())) };
    let last_wins = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let value = serde_saphyr::from_str_with_options(text, last_wins)
        .map_err(|error| failed(error.without_snippet()))?;
    Ok(Yaml { value, complaint: Some(complaint) })
}

fn repeated_key(error: &serde_saphyr::Error) -> Option<String> {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key, location } => {
            let (line, key) = (location.line(), key.as_deref().unwrap_or_default());
            Some(format!("yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map"))
        }
        _ => None,
    }
}

/// Most bytes that are shown of what could not be read.
const EXCERPT: usize = 30;

/// The first bytes of what could not be read: as they are where they look like JSON, and
/// hexadecimal elsewhere.
fn excerpt(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(EXCERPT)];
    let more = if bytes.len() > EXCERPT { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => {
            let digits: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{digits}{more}")
        }
    }
}

/// Parses bytes into an object of the resource: type checked, unknown fields dropped, reported or
/// refused as `validation` says.
///
/// # Errors
/// 400 for other types, wrong types, and unknown fields under `Strict`.
pub fn object(
    served: &Served,
    bytes: &[u8],
    format: Format,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let mut decoded = parse(bytes, format, &served.resource.kind)?;
    check_type(&served.resource, &mut decoded.obj)?;
    let unknown = served.strategy.prune(&served.resource, &mut decoded.obj)?;
    decoded.complaints.extend(unknown);
    if format == Format::Json && !decoded.complaints.is_empty() {
        in_order(&served.resource, bytes, &mut decoded.complaints);
    }
    match validation {
        FieldValidation::Ignore => decoded.complaints.clear(),
        FieldValidation::Warn => {}
        FieldValidation::Strict if decoded.complaints.is_empty() => {}
        FieldValidation::Strict => {
            let error = decode::DecodeError::Strict(decoded.complaints);
            return Err(error.for_kind(&kind_of(&served.resource)));
        }
    }
    Ok(decoded)
}

/// Puts complaints about a built-in kind's JSON into the order of the text.
fn in_order(resource: &Resource, json: &[u8], complaints: &mut Vec<String>) {
    if let Some(id) = builtin().type_of(&kind_of(resource)) {
        *complaints = strict::complaints(builtin(), id, json);
    }
}

/// Checks `apiVersion` and `kind`, and fills them in where they are missing.
pub fn check_type(resource: &Resource, obj: &mut Value) -> Result<(), ApiError> {
    let Some(fields) = obj.as_object_mut() else {
        let text = obj.to_string();
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; \
             json parse error: cannot unmarshal {text:.40} into a {}",
            resource.kind, resource.kind
        )));
    };
    let expected = resource.api_version();
    fields.retain(|key, value| !(matches!(key.as_str(), "apiVersion" | "kind") && value.is_null()));
    let own = fields.entry("apiVersion").or_insert_with(|| expected.clone().into());
    if own.as_str() == Some("") {
        *own = expected.clone().into();
    }
    let found = own.as_str().unwrap_or_default().to_string();
    if found != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({found}) does not match the expected API version \
             ({expected})"
        )));
    }
    let kind = fields.entry("kind").or_insert_with(|| resource.kind.to_string().into());
    if kind.as_str() == Some("") {
        *kind = resource.kind.to_string().into();
    }
    match kind.as_str().unwrap_or_default() {
        own if own == resource.kind => Ok(()),
        other => Err(wrong_kind(other, &found, resource)),
    }
}

fn wrong_kind(other: &str, api_version: &str, resource: &Resource) -> ApiError {
    let (_, version) = split_api_version(api_version);
    let kind = &resource.kind;
    ApiError::bad_request(format!(
        "{other} in version {version:?} cannot be handled as a {kind}: converting \
         ({version}.{other}) to ({version}.{kind}): unknown conversion"
    ))
}

/// Drops the fields that a built-in kind does not have and names them; wrong types are 400.
pub fn prune_builtin(resource: &Resource, obj: &mut Value) -> Result<Vec<String>, ApiError> {
    let kind = kind_of(resource);
    let Some(id) = builtin().type_of(&kind) else { return Ok(Vec::new()) };
    decode::conform(builtin(), id, obj).map_err(|error| error.for_kind(&kind))
}

#[cfg(test)]
mod tests {
    use super::super::strategy::Plain;
    use super::*;

    fn config_maps() -> Served {
        let resource = Resource::new("", "v1", "ConfigMap", "configmaps").namespaced();
        Served::builtin(resource, Plain)
    }

    fn read(body: &str, validation: FieldValidation) -> Result<Decoded, ApiError> {
        object(&config_maps(), body.as_bytes(), Format::Json, validation)
    }

    #[test]
    fn unknown_fields_are_dropped_reported_or_refused() {
        let body = r#"{"metadata":{"name":"a"},"date":{"k":"v"}}"#;
        let warned = read(body, FieldValidation::Warn).unwrap();
        assert_eq!(warned.complaints, [r#"unknown field "date""#]);
        assert_eq!(warned.obj["kind"], "ConfigMap");
        assert!(warned.obj.get("date").is_none());
        assert!(read(body, FieldValidation::Ignore).unwrap().complaints.is_empty());
        let error = read(body, FieldValidation::Strict).unwrap_err();
        assert_eq!(error.code, 400);
        assert!(
            error.message.contains(r#"strict decoding error: unknown field "date""#),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_object_of_the_kind_is_a_bad_request() {
        let cases = [
            ("{", "json parse error"),
            ("[]", "must be of type ConfigMap"),
            (r#"{"apiVersion":"apps/v1"}"#, "does not match the expected API version (v1)"),
            (r#"{"kind":"Secret"}"#, "cannot be handled as a ConfigMap"),
            (r#"{"data":{"a":1}}"#, "cannot unmarshal number"),
            ("", "json parse error"),
        ];
        for (body, text) in cases {
            let error = read(body, FieldValidation::Warn).unwrap_err();
            assert_eq!(error.code, 400, "{body}");
            assert!(error.message.contains(text), "{body}: {error}");
        }
    }

    #[test]
    fn yaml_is_read_too() {
        let body = b"metadata:\n  name: a\ndata:\n  k: 'yes'\n";
        let decoded = object(&config_maps(), body, Format::Yaml, FieldValidation::Warn).unwrap();
        assert_eq!(decoded.obj["data"]["k"], "yes");
        let error = parse(b"a: [", Format::Yaml, "ConfigMap").unwrap_err();
        assert_eq!(error.code, 400);
    }
}
