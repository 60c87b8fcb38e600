//! `x-kubernetes-validations`: written well, compiling, and not too expensive.

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta;
use hansa_cel::schema::{REQUEST_MAX, decl};
use serde_json::{Value, json};

use super::super::rules::field_path;
use super::super::rules::rule::Rule;
use super::schema::Spot;

/// What one rule may cost at worst.
const RULE_MAX: u64 = 10_000_000;
/// What all rules of a schema may cost at worst.
const SCHEMA_MAX: u64 = 100_000_000;
const NAME: &str = "x-kubernetes-validations";
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// How the rules of a node are written.
pub(super) fn validate(schema: &Value, path: &str) -> Vec<FieldError> {
    let rules = schema[NAME].as_array().into_iter().flatten().enumerate();
    let mut errors = Vec::new();
    for (at, rule) in rules {
        errors.extend(written(rule, schema, &index(&child(path, NAME), at)));
    }
    errors
}

fn written(rule: &Value, schema: &Value, path: &str) -> Vec<FieldError> {
    let text = |field: &str| meta::str_at(rule, &[field]);
    let at = |field: &str| child(path, field);
    let lines = |text: &str| text.contains(['\n', '\r']);
    let mut errors = Vec::new();
    let (source, message) = (text("rule").trim(), text("message").trim());
    if source.is_empty() {
        errors.push(FieldError::required(at("rule"), "rule is not specified"));
    } else if !text("message").is_empty() && message.is_empty() {
        let why = "must be non-empty if specified";
        errors.push(FieldError::invalid(at("message"), text("message"), why));
    } else if lines(message) {
        let why = "must not contain line breaks";
        errors.push(FieldError::invalid(at("message"), text("message"), why));
    } else if lines(source) && message.is_empty() {
        let why = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(at("message"), why));
    }
    if !text("messageExpression").is_empty() && text("messageExpression").trim().is_empty() {
        let why = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(at("messageExpression"), why));
    }
    let reason = text("reason");
    if !reason.is_empty() && !REASONS.contains(&reason) {
        errors.push(FieldError::not_supported(at("reason"), reason, &REASONS));
    }
    errors.extend(field_path_errors(text("fieldPath"), schema, &at("fieldPath")));
    errors
}

fn field_path_errors(text: &str, schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text.is_empty() {
        return errors;
    }
    if text.trim().is_empty() {
        errors.push(FieldError::invalid(path, text, "must be non-empty if specified"));
    }
    if text.contains(['\n', '\r']) {
        errors.push(FieldError::invalid(path, text, "must not contain line breaks"));
    }
    if field_path::find(text, schema, true).is_err() {
        errors.push(FieldError::invalid(path, text, "must be a valid path"));
    }
    errors
}

/// How many children a node may have; `None` if that is not bounded.
pub(super) fn max_elements(schema: &Value) -> Option<u64> {
    let bound = |name: &str| Some(u64::try_from(schema[name].as_i64()?).unwrap_or(0));
    match schema["type"].as_str() {
        Some("object") if !schema["additionalProperties"].is_null() => bound("maxProperties"),
        Some("array") => bound("maxItems"),
        _ => Some(1),
    }
}

/// What the rules of a schema cost together.
pub(super) struct Costs {
    total: u64,
    /// The most expensive rules, where they stand.
    highest: Vec<(u64, String)>,
    /// Whether single rules were accepted before.
    accepted: bool,
}

impl Costs {
    /// Nothing yet; `accepted` if the schema did not change.
    pub(super) fn new(accepted: bool) -> Self {
        Self { total: 0, highest: Vec::new(), accepted }
    }

    fn observe(&mut self, cost: u64, path: &str) {
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_MAX / 100 {
            self.highest.push((cost, path.to_string()));
            self.highest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.highest.truncate(4);
        }
    }

    /// Compiles a node's rules.
    pub(super) fn compile(
        &mut self,
        schema: &Value,
        path: &str,
        spot: &Spot<'_>,
    ) -> Vec<FieldError> {
        let rules = schema[NAME].as_array().into_iter().flatten();
        let mut errors = Vec::new();
        let embedded = schema["x-kubernetes-embedded-resource"] == true;
        let Some(decl) = decl(schema, spot.root || embedded) else { return errors };
        let times = spot.times.unwrap_or(REQUEST_MAX / (decl.min_size + 1));
        for (at, rule) in rules.enumerate() {
            let place = index(&child(path, NAME), at);
            let Some(compiled) = Rule::compile(rule, schema, &decl) else { continue };
            errors.extend(self.check(rule, &compiled, &place, times));
            errors.extend(old_self(rule, &compiled, &place, spot));
        }
        errors
    }

    fn check(&mut self, rule: &Value, compiled: &Rule, path: &str, times: u64) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let at = child(path, "rule");
        match &compiled.program {
            Ok(program) => {
                let cost = program.estimate().max.saturating_mul(times);
                if !self.accepted && cost > RULE_MAX {
                    let why = exceeded("estimated rule cost", cost, RULE_MAX);
                    errors.push(FieldError::forbidden(&at, why));
                }
                self.observe(cost, &at);
            }
            Err(why) => errors.push(FieldError::invalid(&at, inner(rule), why.clone())),
        }
        let at = child(path, "messageExpression");
        match &compiled.message {
            Some(Ok(program)) => {
                let cost = program.estimate().max;
                if !self.accepted && cost > RULE_MAX {
                    let why = exceeded("estimated messageExpression cost", cost, RULE_MAX);
                    errors.push(FieldError::forbidden(&at, why));
                }
                self.observe(cost, &at);
            }
            Some(Err(why)) => errors.push(FieldError::invalid(&at, inner(rule), why.clone())),
            None => {}
        }
        errors
    }

    /// What all rules cost together, if that is too much.
    pub(super) fn total_errors(&self, path: &str) -> Vec<FieldError> {
        if self.total <= SCHEMA_MAX {
            return Vec::new();
        }
        let why = "contributed to estimated rule cost total exceeding cost limit for entire \
                   OpenAPIv3 schema";
        let mut errors: Vec<_> =
            self.highest.iter().map(|(_, at)| FieldError::forbidden(at, why)).collect();
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, exceeded(name, self.total, SCHEMA_MAX)));
        errors
    }
}

fn old_self(rule: &Value, compiled: &Rule, path: &str, spot: &Spot<'_>) -> Option<FieldError> {
    let optional = &rule["optionalOldSelf"];
    match (&spot.uncorrelatable, compiled.uses_old) {
        (Some(within), true) => {
            let why = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
            );
            let source = meta::str_at(rule, &["rule"]);
            Some(FieldError::invalid(child(path, "rule"), source, why))
        }
        (_, false) if !optional.is_null() => {
            let why = "may not be set if oldSelf is not used in rule";
            Some(FieldError::invalid(child(path, "optionalOldSelf"), optional.clone(), why))
        }
        _ => None,
    }
}

/// A rule as upstream's inner form prints it.
fn inner(rule: &Value) -> Value {
    let text = |name: &str| meta::str_at(rule, &[name]);
    json!({
        "Rule": text("rule"),
        "Message": text("message"),
        "MessageExpression": text("messageExpression"),
        "Reason": rule["reason"],
        "FieldPath": text("fieldPath"),
        "OptionalOldSelf": rule["optionalOldSelf"],
    })
}

fn exceeded(name: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = match times {
        times if times > 100.0 => "more than 100x".to_string(),
        times if times < 1.5 => format!("{times:.6}x"),
        times => format!("{times:.1}x"),
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, \
         maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
