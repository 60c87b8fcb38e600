//! Field selectors: `metadata.name=web,spec.nodeName!=n1`.

use serde_json::Value;

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field's path, such as `spec.nodeName`.
    pub path: String,
    /// Whether the value must differ.
    pub negated: bool,
    /// The value compared with.
    pub value: String,
}

/// A conjunction of terms; with none it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// All of these must hold.
    pub terms: Vec<FieldTerm>,
}

/// A text that is no field selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole text.
        selector: String,
        /// The part that makes no sense.
        term: String,
    },
    /// A backslash before something that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A comma or an equals sign in a value without a backslash before it.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(char),
}

impl FieldSelector {
    /// Reads upstream's grammar: terms with `=`, `==` or `!=`, joined by commas, `\` escapes.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        let parts = split_terms(text).into_iter().filter(|part| !part.is_empty());
        let terms = parts.map(|part| parse_term(text, &part)).collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a path must equal, if the selector says so.
    pub fn required_value(&self, path: &str) -> Option<&str> {
        let term = self.terms.iter().find(|term| term.path == path && !term.negated)?;
        Some(&term.value)
    }

    /// Whether all terms hold; `value_of` gives a path's value, empty where there is none.
    pub fn matches_with(&self, mut value_of: impl FnMut(&str) -> String) -> bool {
        self.terms.iter().all(|term| (value_of(&term.path) == term.value) != term.negated)
    }

    /// Whether all terms hold for an object, paths read as JSON paths of plain field names.
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_with(|path| field_text(object, path))
    }
}

impl std::fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}{}", term.path, escape(&term.value))?;
        }
        Ok(())
    }
}

/// The value at a dotted path as a field selector compares it: strings plain, others as JSON.
pub fn field_text(object: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(object, |value, step| value.get(step));
    match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for character in text.chars() {
        if character == ',' && !escaped {
            terms.push(String::new());
        } else {
            terms.last_mut().expect("starts with one term").push(character);
        }
        escaped = character == '\\' && !escaped;
    }
    terms
}

fn parse_term(selector: &str, term: &str) -> Result<FieldTerm, FieldSelectorError> {
    let (path, operator, value) = split_term(term)
        .ok_or_else(|| FieldSelectorError::Term { selector: selector.into(), term: term.into() })?;
    Ok(FieldTerm { path: path.into(), negated: operator == "!=", value: unescape(value)? })
}

/// Splits at the first operator, the longest that fits there.
fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    for (at, _) in term.char_indices() {
        for operator in ["!=", "==", "="] {
            if let Some(value) = term[at..].strip_prefix(operator) {
                return Some((&term[..at], operator, value));
            }
        }
    }
    None
}

fn escape(text: &str) -> String {
    text.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=")
}

fn unescape(text: &str) -> Result<String, FieldSelectorError> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(next @ ('\\' | ',' | '=')) => plain.push(next),
                Some(next) => return Err(FieldSelectorError::Escape(format!("\\{next}"))),
                None => return Err(FieldSelectorError::Escape("\\".into())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(character)),
            other => plain.push(other),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn terms_are_parsed_and_matched() {
        let selector =
            FieldSelector::parse("metadata.name=a,spec.nodeName!=n1,status.x==").unwrap();
        assert_eq!(selector.terms.len(), 3);
        assert_eq!(selector.required_value("metadata.name"), Some("a"));
        assert_eq!(selector.required_value("spec.nodeName"), None);
        assert!(selector.matches(&json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n2"}})));
        assert!(!selector.matches(&json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}})));
    }

    #[test]
    fn escapes_survive_a_round_trip() {
        let selector = FieldSelector::parse(r"a=x\,y\=z\\").unwrap();
        assert_eq!(selector.terms[0].value, r"x,y=z\");
        assert_eq!(selector.to_string(), r"a=x\,y\=z\\");
    }

    #[test]
    fn errors_name_the_term() {
        let error = FieldSelector::parse("a=b,foo").unwrap_err();
        assert_eq!(error.to_string(), "invalid selector: 'a=b,foo'; can't understand 'foo'");
        assert!(FieldSelector::parse(r"a=\x").is_err());
        assert!(FieldSelector::parse("a=b=c").is_err());
        assert!(FieldSelector::parse("").unwrap().is_empty());
    }
}
