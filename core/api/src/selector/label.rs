//! Label selectors: the string grammar (`app in (a,b),!legacy`) and `LabelSelector` objects.

use serde_json::{Map, Value};

use super::parser;
use crate::field::{self, FieldError};
use crate::names;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The label is one of the values.
    In,
    /// The label is missing or none of the values.
    NotIn,
    /// As `In`, written `=`.
    Equals,
    /// As `NotIn`, written `!=`.
    NotEquals,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
    /// The label is an integer above the value.
    GreaterThan,
    /// The label is an integer below the value.
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// The comparison.
    pub operator: Operator,
    /// What it is compared with, sorted, without repeats.
    pub values: Vec<String>,
}

/// A conjunction of requirements; with none it selects everything, unless it is
/// [`Selector::nothing`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// All of these must hold.
    pub requirements: Vec<Requirement>,
    nothing: bool,
}

/// A text that is no label selector; the message is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LabelSelectorError(pub String);

impl From<FieldError> for LabelSelectorError {
    fn from(error: FieldError) -> Self {
        Self(error.to_string())
    }
}

impl Requirement {
    /// Checks key, operator and values; errors name `values[0][key]` as upstream does.
    pub fn new(
        key: &str,
        operator: Operator,
        mut values: Vec<String>,
    ) -> Result<Self, LabelSelectorError> {
        check_key(key)?;
        check_values(operator, &values)?;
        for (at, value) in values.iter().enumerate() {
            let path = field::key(&field::index("values", at), key);
            check_with(path, value, names::label_value(value))?;
        }
        values.sort();
        values.dedup();
        Ok(Self { key: key.into(), operator, values })
    }

    /// Whether a label's value (or its absence) satisfies the requirement.
    pub fn accepts(&self, label: Option<&str>) -> bool {
        let listed = |label: &str| self.values.iter().any(|value| value == label);
        match self.operator {
            Operator::In | Operator::Equals => label.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => self.compare(label, |label, bound| label > bound),
            Operator::LessThan => self.compare(label, |label, bound| label < bound),
        }
    }

    fn compare(&self, label: Option<&str>, test: impl Fn(i64, i64) -> bool) -> bool {
        let label = label.and_then(|label| label.parse().ok());
        let bound = self.values.first().and_then(|bound| bound.parse().ok());
        label.zip(bound).is_some_and(|(label, bound)| test(label, bound))
    }
}

fn check_with(
    path: String,
    value: &str,
    complaints: Vec<String>,
) -> Result<(), LabelSelectorError> {
    if complaints.is_empty() {
        return Ok(());
    }
    Err(FieldError::invalid(path, value, complaints.join("; ")).into())
}

pub(super) fn check_key(key: &str) -> Result<(), LabelSelectorError> {
    check_with("<nil>".into(), key, names::qualified_name(key))
}

fn check_values(operator: Operator, values: &[String]) -> Result<(), LabelSelectorError> {
    let complaint = match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            "for 'in', 'notin' operators, values set can't be empty"
        }
        Operator::Equals | Operator::NotEquals if values.len() != 1 => {
            "exact-match compatibility requires one single value"
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            "values set must be empty for exists and does not exist"
        }
        Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
            "for 'Gt', 'Lt' operators, exactly one value is required"
        }
        Operator::GreaterThan | Operator::LessThan if values[0].parse::<i64>().is_err() => {
            "for 'Gt', 'Lt' operators, the value must be an integer"
        }
        _ => return Ok(()),
    };
    Err(FieldError::invalid("values", Value::from(values), complaint).into())
}

impl Selector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Reads upstream's grammar; an empty text selects everything.
    pub fn parse(text: &str) -> Result<Self, LabelSelectorError> {
        Ok(Self { requirements: parser::parse(text)?, nothing: false })
    }

    /// From a map of labels that must all be equal (`spec.selector` of Services).
    pub fn from_map(labels: &Map<String, Value>) -> Self {
        let requirements = labels.iter().map(|(key, value)| equals(key, value)).collect();
        Self { requirements, nothing: false }
    }

    /// From a `LabelSelector` object; a missing one selects nothing, an empty one everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, LabelSelectorError> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self::nothing());
        };
        let mut requirements = Vec::new();
        if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
            requirements.extend(labels.iter().map(|(key, value)| equals(key, value)));
        }
        let expressions = selector.get("matchExpressions").and_then(Value::as_array);
        for expression in expressions.into_iter().flatten() {
            requirements.push(expression_requirement(expression)?);
        }
        Ok(Self { requirements, nothing: false })
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it selects nothing whatever the labels.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Whether all requirements hold; `label` looks a key up.
    pub fn matches_with<'a>(&self, mut label: impl FnMut(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|one| one.accepts(label(&one.key)))
    }

    /// Whether all requirements hold for a JSON map of labels.
    pub fn matches_map(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches_with(|key| labels?.get(key)?.as_str())
    }

    /// Whether all requirements hold for an object's labels.
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_map(crate::meta::labels(object))
    }
}

fn equals(key: &str, value: &Value) -> Requirement {
    let value = value.as_str().unwrap_or_default().to_owned();
    Requirement { key: key.into(), operator: Operator::Equals, values: vec![value] }
}

fn expression_requirement(expression: &Value) -> Result<Requirement, LabelSelectorError> {
    let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            let message = format!("{other:?} is not a valid label selector operator");
            return Err(LabelSelectorError(message));
        }
    };
    let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
    let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
    Requirement::new(text("key"), operator, values)
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<_> = self.requirements.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn accepts(selector: &str, labels: &Value) -> bool {
        Selector::parse(selector).unwrap().matches(&json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn the_grammar_selects() {
        let labels = json!({"app": "web", "tier": "2", "x": ""});
        for yes in [
            "",
            "app",
            "app=web",
            "app == web",
            "app!=db",
            "other!=db",
            "!other",
            "app in (web,db)",
            "app notin (db)",
            "other notin (db)",
            "tier>1",
            "tier<3",
            "app=web,tier in (2)",
            "x=",
            "x in (,a)",
            " app = web , !y ",
        ] {
            assert!(accepts(yes, &labels), "{yes:?}");
        }
        for no in ["other", "app=db", "!app", "app notin (web)", "tier>2", "app>1", "app=web,!tier"]
        {
            assert!(!accepts(no, &labels), "{no:?}");
        }
    }

    #[test]
    fn errors_are_upstreams() {
        let cases = [
            ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a in b", "found 'b' expected: '('"),
            ("a in (b", "found '', expected: ',' or ')'"),
        ];
        for (text, message) in cases {
            let error = Selector::parse(text).unwrap_err().to_string();
            assert!(error.ends_with(message), "{text:?} gave {error:?}");
        }
        let error = Selector::parse("a=-b").unwrap_err().to_string();
        let start =
            "unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label";
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn objects_select() {
        let object = json!({"matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["1"]}]});
        let selector = Selector::from_object(Some(&object)).unwrap();
        assert_eq!(selector.to_string(), "app=web,tier notin (1)");
        assert!(selector.matches(&json!({"metadata": {"labels": {"app": "web"}}})));
        assert!(Selector::from_object(None).unwrap().is_nothing());
        assert!(Selector::from_object(Some(&json!({}))).unwrap().is_everything());
        let bad = json!({"matchExpressions": [{"key": "a", "operator": "Like"}]});
        let error = Selector::from_object(Some(&bad)).unwrap_err();
        assert_eq!(error.to_string(), "\"Like\" is not a valid label selector operator");
    }
}
