//! `matchConditions`: expressions that must all hold before a webhook or policy is asked.

use hansa_api::meta::str_at;
use hansa_cel::{Env, MATCH_BUDGET, Variables};
use serde_json::Value;

use super::expressions::{Budget, Compiled, compile};

/// Compiled match conditions.
#[derive(Debug, Default)]
pub(super) struct Conditions(Vec<Compiled>);

/// What conditions say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All hold.
    Yes,
    /// One does not.
    No,
    /// One could not be evaluated, and all others hold.
    Unknown(String),
}

impl Conditions {
    /// Compiles a list of `{name, expression}`.
    pub(super) fn compile(conditions: &[Value], env: &Env) -> Self {
        let compiled = conditions.iter().map(|one| compile(str_at(one, &["expression"]), env));
        Self(compiled.collect())
    }

    /// Whether there are none, so that no variables are needed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Evaluates them; one that does not hold decides, whatever others run into.
    pub(super) fn hold(&self, variables: &Variables) -> Verdict {
        let mut budget = Budget::new(MATCH_BUDGET);
        let mut errors = Vec::new();
        for condition in &self.0 {
            match budget.evaluate(condition, variables) {
                Ok(value) if value.as_bool() == Some(true) => {}
                Ok(_) => return Verdict::No,
                Err(error) => errors.push(error),
            }
        }
        match &errors[..] {
            [] => Verdict::Yes,
            [only] => Verdict::Unknown(only.clone()),
            many => Verdict::Unknown(format!("[{}]", many.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use hansa_cel::Value as Cel;
    use serde_json::json;

    use super::*;
    use crate::admission::expressions::env;

    fn hold(expressions: &[&str]) -> Verdict {
        let list: Vec<_> = expressions.iter().map(|text| json!({"expression": text})).collect();
        let object = Cel::from_json(&json!({"spec": {"replicas": 3}}));
        Conditions::compile(&list, &env()).hold(&Variables::new().with("object", object))
    }

    #[test]
    fn one_that_does_not_hold_decides() {
        assert_eq!(hold(&[]), Verdict::Yes);
        assert_eq!(hold(&["object.spec.replicas > 2"]), Verdict::Yes);
        assert_eq!(hold(&["object.spec.none == 1", "object.spec.replicas > 5"]), Verdict::No);
        assert_eq!(
            hold(&["object.spec.none == 1"]),
            Verdict::Unknown(
                "expression 'object.spec.none == 1' resulted in error: no such key: none".into()
            )
        );
        assert!(
            matches!(hold(&["nothing"]), Verdict::Unknown(why) if why.starts_with("compilation"))
        );
    }
}
