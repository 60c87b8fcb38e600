//! Field errors: what is wrong with one field of an object, in upstream's words.

use serde_json::Value;

use crate::status::Cause;

/// In which way a field is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FieldErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    InvalidOmitted,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl FieldErrorType {
    /// The words that messages begin with.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::InvalidOmitted | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    /// The cause's reason in a `Status`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid | Self::InvalidOmitted => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

/// One wrong field; prints as `spec.replicas: Invalid value: -1: must be …`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{path}: {}", self.body())]
pub struct FieldError {
    /// Where, such as `spec.containers[0].name`.
    pub path: String,
    /// How.
    pub kind: FieldErrorType,
    /// The value that was there.
    pub value: Value,
    /// What would be right.
    pub detail: String,
    /// Whether the value is kept out of the message, because it may be big.
    pub hidden: bool,
}

impl FieldError {
    /// A field error of any type.
    pub fn new(
        kind: FieldErrorType,
        path: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), kind, value: value.into(), detail: detail.into(), hidden: false }
    }

    /// The field is missing.
    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::Required, path, "", detail)
    }

    /// The value breaks a rule.
    pub fn invalid(
        path: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(FieldErrorType::Invalid, path, value, detail)
    }

    /// The value breaks a rule and is too long to be shown.
    pub fn invalid_omitted(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::InvalidOmitted, path, Value::Null, detail)
    }

    /// The value has the wrong JSON type.
    pub fn type_invalid(
        path: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(FieldErrorType::TypeInvalid, path, value, detail)
    }

    /// The value is not one of the known ones.
    pub fn not_supported(
        path: impl Into<String>,
        value: impl Into<Value>,
        supported: &[&str],
    ) -> Self {
        let quoted: Vec<_> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = match quoted.is_empty() {
            true => String::new(),
            false => format!("supported values: {}", quoted.join(", ")),
        };
        Self::new(FieldErrorType::NotSupported, path, value, detail)
    }

    /// The field may not be set, or not be changed.
    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::Forbidden, path, "", detail)
    }

    /// The value must be unique and is not.
    pub fn duplicate(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorType::Duplicate, path, value, "")
    }

    /// The value names something that is not there.
    pub fn not_found(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorType::NotFound, path, value, "")
    }

    /// More than `max` bytes.
    pub fn too_long(path: impl Into<String>, max: usize) -> Self {
        Self::new(FieldErrorType::TooLong, path, "", format!("may not be more than {max} bytes"))
    }

    /// More than `max` items.
    pub fn too_many(path: impl Into<String>, actual: usize, max: usize) -> Self {
        let detail = format!("must have at most {max} items");
        Self::new(FieldErrorType::TooMany, path, actual, detail)
    }

    /// The same without the value in its message.
    pub fn without_value(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// The message without the path.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        let valueless = matches!(
            self.kind,
            FieldErrorType::Required
                | FieldErrorType::Forbidden
                | FieldErrorType::TooLong
                | FieldErrorType::InvalidOmitted
                | FieldErrorType::Internal
        );
        if !valueless && !self.hidden {
            text.push_str(": ");
            text.push_str(&shown(&self.value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    /// As a cause in a `Status`.
    pub fn to_cause(&self) -> Cause {
        Cause { reason: self.kind.reason().into(), message: self.body(), field: self.path.clone() }
    }
}

/// Structs whose fields are shown in another order than that of their names; the first of them
/// tell which one it is.
const ORDERS: [(usize, &[&str]); 2] = [
    (2, &["matchLabels", "matchExpressions"]),
    (4, &["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"]),
];

/// A value as JSON, its fields in the order in which Go writes them.
fn shown(value: &Value) -> String {
    let list =
        |open: char, parts: Vec<String>, close: char| format!("{open}{}{close}", parts.join(","));
    match value {
        Value::Array(items) => list('[', items.iter().map(shown).collect(), ']'),
        Value::Object(fields) => {
            let pair = |name: &str| {
                let value = fields.get(name)?;
                Some(format!("{}:{}", Value::from(name), shown(value)))
            };
            let has = |(least, names): &&(usize, &[&str])| {
                names[..*least].iter().all(|name| fields.contains_key(*name))
                    && fields.keys().all(|name| names.contains(&name.as_str()))
            };
            match ORDERS.iter().find(has) {
                Some((_, names)) => list('{', names.iter().filter_map(|n| pair(n)).collect(), '}'),
                None => list('{', fields.keys().filter_map(|name| pair(name)).collect(), '}'),
            }
        }
        simple => simple.to_string(),
    }
}

/// Many errors as one text: the only one plain, several in brackets, repeats left out.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match &texts[..] {
        [] => String::new(),
        [only] => only.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// `path.child`, or `child` where the path is empty.
pub fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

/// `path[index]`.
pub fn index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// `path[key]`.
pub fn key(path: &str, key: &str) -> String {
    format!("{path}[{key}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_follow_the_type() {
        let cases = [
            (FieldError::required("a.b", ""), "a.b: Required value"),
            (FieldError::required("a", "why"), "a: Required value: why"),
            (FieldError::invalid("a", "x", "bad"), r#"a: Invalid value: "x": bad"#),
            (FieldError::invalid("a", Value::Null, "bad"), "a: Invalid value: null: bad"),
            (
                FieldError::not_supported("a", "x", &["B", "C"]),
                r#"a: Unsupported value: "x": supported values: "B", "C""#,
            ),
            (FieldError::forbidden("a", "no"), "a: Forbidden: no"),
            (FieldError::duplicate("a[1]", "x"), r#"a[1]: Duplicate value: "x""#),
            (FieldError::too_long("a", 3), "a: Too long: may not be more than 3 bytes"),
            (FieldError::too_many("a", 4, 3), "a: Too many: 4: must have at most 3 items"),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }
}
