//! One rule: compiled once, and what its failure says.

use hansa_api::field::{FieldError, FieldErrorType};
use hansa_api::meta;
use hansa_cel::{
    CALL_LIMIT, Decl, Env, EvalError, MESSAGE_MAX, Meter, Program, Type, Value as Cel, Variables,
};
use serde_json::Value;

use super::field_path;

/// A compiled rule.
pub(in crate::crd) struct Rule {
    /// The rule; the error is why it cannot be compiled.
    pub(in crate::crd) program: Result<Program, String>,
    /// The expression that makes its message, if there is one.
    pub(in crate::crd) message: Option<Result<Program, String>>,
    /// Whether it compares with the old value.
    pub(in crate::crd) uses_old: bool,
    /// Whether it also runs where there is no old value.
    pub(super) optional_old: bool,
    /// What it says when it fails, without a message expression.
    text: String,
    /// The rule itself or its message: how errors name it.
    name: String,
    reason: FieldErrorType,
    /// Where below its own place it points.
    field: String,
}

/// What became of a message expression.
enum Message {
    Text(String),
    /// It does not matter: the plain message is used.
    None,
    /// Nothing more may run.
    Stop(String),
}

impl Rule {
    /// Compiles a rule of a schema that makes this declaration; `None` for an empty rule.
    pub(in crate::crd) fn compile(rule: &Value, schema: &Value, decl: &Decl) -> Option<Self> {
        let text = |name: &str| meta::str_at(rule, &[name]).trim().to_string();
        let source = text("rule");
        if source.is_empty() {
            return None;
        }
        let optional_old = meta::bool_at(rule, &["optionalOldSelf"]);
        let old = match optional_old {
            true => Decl::of(Type::Optional(Box::new(decl.ty.clone()))),
            false => decl.clone(),
        };
        let env = Env::new().variable("self", decl.clone()).variable("oldSelf", old);
        let program = compile(meta::str_at(rule, &["rule"]), &env, &Type::Bool, "");
        let message = meta::str_at(rule, &["messageExpression"]);
        let message = (program.is_ok() && !message.is_empty())
            .then(|| compile(message, &env, &Type::String, "messageExpression "));
        let given = text("message");
        let field = field_path::find(meta::str_at(rule, &["fieldPath"]), schema, true);
        Some(Self {
            uses_old: program.as_ref().is_ok_and(|program| program.uses("oldSelf")),
            program,
            message,
            optional_old,
            text: if given.is_empty() { format!("failed rule: {source}") } else { given.clone() },
            name: if given.is_empty() { source } else { given },
            reason: reason(meta::str_at(rule, &["reason"])),
            field: field.map(|found| found.path).unwrap_or_default(),
        })
    }
}

fn reason(name: &str) -> FieldErrorType {
    match name {
        "FieldValueRequired" => FieldErrorType::Required,
        "FieldValueForbidden" => FieldErrorType::Forbidden,
        "FieldValueDuplicate" => FieldErrorType::Duplicate,
        _ => FieldErrorType::Invalid,
    }
}

fn compile(source: &str, env: &Env, wanted: &Type, what: &str) -> Result<Program, String> {
    let program = Program::compile(source, env)
        .map_err(|error| format!("{what}compilation failed: {error}"))?;
    match (program.result_type() == wanted, what) {
        (true, _) => Ok(program),
        (false, "") => Err("cel expression must evaluate to a bool".into()),
        (false, _) => Err("messageExpression must evaluate to a string".into()),
    }
}

/// Where a rule runs.
pub(super) struct Place<'a> {
    pub(super) path: &'a str,
    /// The schema's type, which stands for the value where the rule itself is at fault.
    pub(super) kind: &'a str,
    pub(super) value: &'a Value,
    /// Whether nothing changed here: what fails now may have failed before.
    pub(super) unchanged: bool,
}

/// What is still to be spent, and what was found. Below 0 nothing more runs.
pub(super) struct Tally {
    pub(super) budget: i64,
    pub(super) errors: Vec<FieldError>,
}

impl Tally {
    /// Counts what a run cost; false if that was too much.
    fn spend(&mut self, meter: &Meter) -> bool {
        let cost = i64::try_from(meter.cost()).unwrap_or(i64::MAX);
        if cost > self.budget {
            return false;
        }
        self.budget -= cost;
        true
    }

    fn stop(&mut self, error: FieldError) {
        self.errors.push(error);
        self.budget = -1;
    }
}

impl Rule {
    /// Runs the rule.
    pub(super) fn run(&self, place: &Place<'_>, variables: &Variables, tally: &mut Tally) {
        let at = shown(place.path);
        let wrong = |detail: String| FieldError::invalid(at, place.kind, detail);
        let program = match &self.program {
            Ok(program) => program,
            Err(why) => {
                tally.errors.push(wrong(format!("rule compile error: {why}")));
                return;
            }
        };
        let mut meter = Meter::new(CALL_LIMIT);
        let result = program.evaluate(variables, &mut meter);
        if !tally.spend(&meter) {
            tally.stop(wrong(OUT_OF_BUDGET.into()));
            return;
        }
        let name = &self.name;
        match result {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => self.fail(place, variables, tally),
            Err(error @ EvalError::CostExceeded) => tally.stop(wrong(format!(
                "'{error}': no further validation rules will be run due to call cost exceeds \
                 limit for rule: {name}"
            ))),
            Err(error @ EvalError::NoSuchOverload) => tally.errors.push(wrong(format!(
                "'{error}': call arguments did not match a supported operator, function or macro \
                 signature for rule: {name}"
            ))),
            Err(error) => tally.errors.push(wrong(format!("{error} evaluating rule: {name}"))),
        }
    }

    fn fail(&self, place: &Place<'_>, variables: &Variables, tally: &mut Tally) {
        let path = match (place.path, self.field.as_str()) {
            (path, "") => path.to_string(),
            (path, field) => hansa_api::field::child(path, field),
        };
        let detail = match self.message(variables, tally) {
            Message::Text(text) => text,
            Message::None => self.text.clone(),
            Message::Stop(why) => {
                tally.stop(FieldError::invalid(shown(&path), place.kind, why));
                return;
            }
        };
        if !self.uses_old && place.unchanged {
            return;
        }
        let error = FieldError::new(self.reason, shown(&path), place.value.clone(), detail);
        let big = matches!(place.kind, "object" | "array");
        tally.errors.push(if big { error.without_value() } else { error });
    }

    fn message(&self, variables: &Variables, tally: &mut Tally) -> Message {
        let Some(Ok(program)) = &self.message else { return Message::None };
        let mut meter = Meter::new(CALL_LIMIT);
        let result = program.evaluate(variables, &mut meter);
        if !tally.spend(&meter) {
            let why = "messageExpression evaluation failed due to running out of cost budget, no \
                       further validation rules will be run";
            return Message::Stop(why.into());
        }
        match result {
            Ok(Cel::String(text)) => usable(text.trim()),
            Err(EvalError::CostExceeded) => Message::Stop(format!(
                "no further validation rules will be run due to call cost exceeds limit for \
                 messageExpression: {:?}",
                program.source()
            )),
            _ => Message::None,
        }
    }
}

pub(super) const OUT_OF_BUDGET: &str = "validation failed due to running out of cost budget, no \
    further validation rules will be run";

fn usable(text: &str) -> Message {
    if text.is_empty() || text.len() > MESSAGE_MAX || text.contains('\n') {
        return Message::None;
    }
    Message::Text(text.to_string())
}

/// Upstream prints the root's path as `<nil>`.
pub(super) fn shown(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}
