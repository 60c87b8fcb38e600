//! What many kinds' validation has in common: a list of errors and the usual rules.

use hansa_api::field::{self, FieldError};
use hansa_api::meta::{self, list_at, map_at, str_at};
use hansa_api::names;
use hansa_api::quantity::Quantity;
use serde_json::Value;

/// Collects field errors.
#[derive(Default)]
pub(crate) struct Check {
    /// What was found so far.
    pub(crate) errors: Vec<FieldError>,
}

const NEGATIVE: &str = "must be greater than or equal to 0";
const IMMUTABLE: &str = "field is immutable";

impl Check {
    /// Runs a check and returns what it found.
    pub(crate) fn run(check: impl FnOnce(&mut Self)) -> Vec<FieldError> {
        let mut all = Self::default();
        check(&mut all);
        all.errors
    }

    /// Adds an error.
    pub(crate) fn add(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    /// Adds an `Invalid value`.
    pub(crate) fn invalid(&mut self, path: &str, value: impl Into<Value>, detail: &str) {
        self.add(FieldError::invalid(path, value, detail));
    }

    /// Adds a `Required value`.
    pub(crate) fn required(&mut self, path: &str, detail: &str) {
        self.add(FieldError::required(path, detail));
    }

    /// Adds a `Forbidden`.
    pub(crate) fn forbidden(&mut self, path: &str, detail: &str) {
        self.add(FieldError::forbidden(path, detail));
    }

    /// One `Invalid value` per complaint about a text.
    pub(crate) fn text(&mut self, path: &str, text: &str, complaints: Vec<String>) {
        self.errors.extend(complaints.iter().map(|why| FieldError::invalid(path, text, why)));
    }

    /// A text that must be there and pass a check.
    pub(crate) fn required_text(&mut self, path: &str, text: &str, rule: fn(&str) -> Vec<String>) {
        match text {
            "" => self.required(path, ""),
            text => self.text(path, text, rule(text)),
        }
    }

    /// A text that must pass a check if it is there.
    pub(crate) fn optional_text(&mut self, path: &str, text: &str, rule: fn(&str) -> Vec<String>) {
        if !text.is_empty() {
            self.text(path, text, rule(text));
        }
    }

    /// An integer that may not be negative.
    pub(crate) fn non_negative(&mut self, path: &str, value: Option<i64>) {
        if let Some(value) = value.filter(|value| *value < 0) {
            self.invalid(path, value, NEGATIVE);
        }
    }

    /// The integer `name` of an object, which may not be negative.
    pub(crate) fn non_negative_field(&mut self, path: &str, object: &Value, name: &str) {
        self.non_negative(&field::child(path, name), object[name].as_i64());
    }

    /// An integer within bounds.
    pub(crate) fn range(&mut self, path: &str, value: Option<i64>, low: i64, high: i64) {
        if let Some(value) = value.filter(|value| !(low..=high).contains(value)) {
            self.invalid(path, value, &names::inclusive_range(low, high));
        }
    }

    /// A text that must be one of these; missing is `Required`.
    pub(crate) fn one_of(&mut self, path: &str, text: &str, supported: &[&str]) {
        if text.is_empty() {
            self.required(path, "");
        } else {
            self.optional_one_of(path, text, supported);
        }
    }

    /// A text that must be one of these if it is there.
    pub(crate) fn optional_one_of(&mut self, path: &str, text: &str, supported: &[&str]) {
        if !text.is_empty() && !supported.contains(&text) {
            self.add(FieldError::not_supported(path, text, supported));
        }
    }

    /// A text that must be one of these if it is there, even if it is empty.
    pub(crate) fn supported(&mut self, path: &str, text: Option<&Value>, supported: &[&str]) {
        let Some(text) = text.and_then(Value::as_str) else { return };
        if !supported.contains(&text) {
            self.add(FieldError::not_supported(path, text, supported));
        }
    }

    /// An amount that may not be negative.
    pub(crate) fn non_negative_quantity(&mut self, path: &str, amount: Option<&Value>) {
        self.quantity(path, amount, NEGATIVE, |amount| !amount.is_negative());
    }

    /// An amount above zero.
    pub(crate) fn positive_quantity(&mut self, path: &str, amount: Option<&Value>) {
        let fits = |amount: &Quantity| !amount.is_negative() && !amount.is_zero();
        self.quantity(path, amount, "must be greater than zero", fits);
    }

    /// An amount that must fit.
    pub(crate) fn quantity(
        &mut self,
        path: &str,
        amount: Option<&Value>,
        why: &str,
        fits: impl Fn(&Quantity) -> bool,
    ) {
        let Some(text) = amount.and_then(Value::as_str) else { return };
        if text.parse().is_ok_and(|amount| !fits(&amount)) {
            self.invalid(path, text, why);
        }
    }

    /// An amount in a status.
    pub(crate) fn resource_amount(&mut self, path: &str, amount: &Value) {
        let amount: Quantity = amount.as_str().unwrap_or_default().parse().unwrap_or_default();
        if amount.value() < 0 {
            self.invalid(path, amount.value(), "must be a valid resource quantity");
        }
    }

    /// A field that may never change.
    pub(crate) fn immutable(&mut self, path: &str, new: Option<&Value>, old: Option<&Value>) {
        if new != old {
            self.invalid(path, new.cloned().unwrap_or_default(), IMMUTABLE);
        }
    }

    /// A field that may never change, by its dotted path.
    pub(crate) fn frozen(&mut self, path: &str, obj: &Value, old: &Value) {
        let steps: Vec<_> = path.split('.').collect();
        self.immutable(path, meta::at(obj, &steps), meta::at(old, &steps));
    }

    /// The same for a text, which is empty where it is missing.
    pub(crate) fn frozen_text(&mut self, path: &str, obj: &Value, old: &Value) {
        let steps: Vec<_> = path.split('.').collect();
        let [new, old] = [obj, old].map(|object| Value::from(str_at(object, &steps)));
        self.immutable(path, Some(&new), Some(&old));
    }

    /// A repeated value.
    pub(crate) fn duplicate(&mut self, path: &str, value: impl Into<Value>) {
        self.add(FieldError::duplicate(path, value));
    }

    /// A map of labels.
    pub(crate) fn labels(&mut self, path: &str, labels: Option<&Value>) {
        for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
            self.text(path, key, names::qualified_name(key));
            let value = value.as_str().unwrap_or_default();
            self.text(path, value, names::label_value(value));
        }
    }

    /// A LabelSelector object.
    pub(crate) fn label_selector(&mut self, path: &str, selector: &Value) {
        self.labels(&field::child(path, "matchLabels"), selector.get("matchLabels"));
        let expressions = list_at(selector, &["matchExpressions"]);
        for (at, expression) in expressions.iter().enumerate() {
            let path = field::index(&field::child(path, "matchExpressions"), at);
            self.selector_requirement(&path, expression);
        }
    }

    fn selector_requirement(&mut self, path: &str, expression: &Value) {
        let values = list_at(expression, &["values"]);
        let values_path = field::child(path, "values");
        match str_at(expression, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                self.required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'")
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                self.forbidden(&values_path, why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let at = field::child(path, "operator");
                self.invalid(&at, other, "not a valid selector operator");
            }
        }
        let key = str_at(expression, &["key"]);
        self.text(&field::child(path, "key"), key, names::qualified_name(key));
        for (at, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            self.text(&field::index(&values_path, at), value, names::label_value(value));
        }
    }

    /// A reference to an object of a kind: its group if given, its kind and name.
    pub(crate) fn typed_reference(&mut self, path: &str, reference: &Value) {
        if let Some(group) = reference["apiGroup"].as_str() {
            let path = field::child(path, "apiGroup");
            self.text(&path, group, names::dns1123_subdomain(group));
        }
        for part in ["kind", "name"] {
            let text = str_at(reference, &[part]);
            self.required_text(&field::child(path, part), text, names::path_segment);
        }
    }

    /// A domain and a path, such as `acme.io/foo`.
    pub(crate) fn domain_prefixed_path(&mut self, path: &str, text: &str) {
        match text.split_once('/') {
            _ if text.is_empty() => self.required(path, ""),
            Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
                self.text(path, domain, names::dns1123_subdomain(domain));
                self.text(path, rest, names::http_path(rest));
            }
            _ => {
                let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
                self.invalid(path, text, why);
            }
        }
    }

    /// An integer that may not be negative, or a percentage.
    pub(crate) fn int_or_percent(&mut self, path: &str, value: Option<&Value>) {
        match value {
            Some(Value::String(text)) => self.text(path, text, names::percent(text)),
            Some(value) => self.non_negative(path, value.as_i64()),
            None => {}
        }
    }

    /// A port's number or name.
    pub(crate) fn port(&mut self, path: &str, value: &Value) {
        match value {
            Value::String(name) => self.text(path, name, names::port_name(name)),
            value => self.range(path, Some(value.as_i64().unwrap_or_default()), 1, 65535),
        }
    }
}

/// The entries of a map at a path.
pub(crate) fn entries<'a>(
    object: &'a Value,
    path: &[&str],
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    map_at(object, path).into_iter().flatten()
}

#[cfg(test)]
pub(crate) fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// Asserts that each object is refused on creation with exactly this error.
#[cfg(test)]
pub(crate) fn refuses<const N: usize>(
    strategy: &impl crate::generic::strategy::Strategy,
    cases: [(Value, &str); N],
) {
    for (obj, error) in cases {
        assert_eq!(texts(&strategy.validate_create(&obj)), [error], "{obj}");
    }
}
