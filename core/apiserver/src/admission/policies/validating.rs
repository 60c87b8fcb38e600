//! ValidatingAdmissionPolicy.

use std::sync::Arc;

use hansa_api::ApiError;
use hansa_api::meta::{list_at, str_at};
use hansa_api::status::Reason;
use hansa_cel::{MESSAGE_MAX, OBJECT_BUDGET, Value as Cel, Variables};
use serde_json::Value;

use super::{Binding, GROUP, Policy, binding, due};
use crate::admission::conditions::Verdict;
use crate::admission::expressions::{Budget, Compiled, Given, compile, with_variables};
use crate::admission::group_resource;
use crate::admission::index::{Index, Source};
use crate::admission::matching::{is_exempt, name_of, namespace_of};
use crate::authz::Authorizer;
use crate::generic::admit::Attributes;
use crate::generic::registry::Registry;

/// A policy and what it demands.
struct Validating {
    policy: Policy,
    validations: Vec<Validation>,
    /// Values for an audit log; there is none, but what fails here fails the request.
    annotations: Vec<(String, Compiled)>,
}

struct Validation {
    expression: String,
    program: Compiled,
    message: String,
    message_program: Option<Compiled>,
    reason: String,
}

impl AsRef<Policy> for Validating {
    fn as_ref(&self) -> &Policy {
        &self.policy
    }
}

fn policy(object: &Value) -> Vec<Validating> {
    let (policy, env) = Policy::read(object, |env| env);
    let text = |of: &Value, field: &str| str_at(of, &[field]).to_owned();
    let validation = |one: &Value| {
        let message = Some(text(one, "messageExpression")).filter(|text| !text.is_empty());
        Validation {
            program: compile(&text(one, "expression"), &env),
            expression: text(one, "expression"),
            message: text(one, "message").trim().to_owned(),
            message_program: message.map(|message| compile(&message, &env)),
            reason: text(one, "reason"),
        }
    };
    let annotation = |one: &Value| {
        let expression = text(one, "valueExpression");
        (expression.clone(), compile(&expression, &env))
    };
    let validations = list_at(object, &["spec", "validations"]).iter().map(validation).collect();
    let annotations =
        list_at(object, &["spec", "auditAnnotations"]).iter().map(annotation).collect();
    vec![Validating { policy, validations, annotations }]
}

/// All of them, compiled.
pub(in crate::admission) struct ValidatingPolicies {
    policies: Arc<Index<Validating>>,
    bindings: Arc<Index<Binding>>,
    authorizer: Arc<Authorizer>,
}

/// A refusal: in what words, and with which reason.
struct Denial {
    message: String,
    reason: String,
}

/// What a policy has against a request.
#[derive(Default)]
struct Findings {
    /// What the binding's actions apply to.
    failed: Vec<Denial>,
    /// What fails the request in any case.
    broken: Vec<Denial>,
}

impl ValidatingPolicies {
    /// Follows policies and bindings.
    pub(in crate::admission) async fn follow(
        registry: &Arc<Registry>,
        authorizer: &Arc<Authorizer>,
    ) -> Self {
        let policies =
            Source { group: GROUP, plural: "validatingadmissionpolicies", compile: policy };
        let bindings =
            Source { group: GROUP, plural: "validatingadmissionpolicybindings", compile: binding };
        Self {
            policies: Index::follow(registry, policies).await,
            bindings: Index::follow(registry, bindings).await,
            authorizer: authorizer.clone(),
        }
    }

    /// Whether no policy holds anywhere.
    pub(in crate::admission) fn is_empty(&self) -> bool {
        self.policies.is_empty() || self.bindings.is_empty()
    }

    /// Evaluates whatever is due; the first denial counts.
    pub(in crate::admission) async fn validate(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
    ) -> Result<(), ApiError> {
        let (policies, bindings) = (self.policies.all(), self.bindings.all());
        if policies.is_empty() || bindings.is_empty() || is_exempt(attrs) {
            return Ok(());
        }
        let mut denials = Vec::new();
        for one in due(attrs, obj, &policies, &bindings).await {
            let due = match one {
                Ok(due) => due,
                Err(broken) if broken.policy.policy.ignores_failures => continue,
                Err(broken) => {
                    let who = title(&broken.policy.policy, broken.binding);
                    denials.push((who, Denial { message: broken.why, reason: String::new() }));
                    continue;
                }
            };
            let given = Given { attrs, seen: &due.seen, obj, authorizer: &self.authorizer };
            let base = self.base(&given).await?;
            for params in &due.params {
                let findings = due.policy.findings(&base, params.as_deref());
                let who = title(&due.policy.policy, Some(due.binding));
                denials.extend(
                    act(attrs, &due.policy.policy, due.binding, findings)
                        .into_iter()
                        .map(|denial| (who.clone(), denial)),
                );
            }
        }
        match denials.into_iter().next() {
            None => Ok(()),
            Some((who, denial)) => Err(refusal(attrs, obj, &who, &denial)),
        }
    }

    async fn base(&self, given: &Given<'_>) -> Result<Variables, ApiError> {
        let itself = given.attrs.is("", "namespaces");
        let namespace = match itself {
            true => None,
            false => namespace_of(given.attrs, given.obj).await?,
        };
        let namespace = namespace.map_or(Cel::Null, |namespace| Cel::from_json(&namespace));
        Ok(given.variables().with("namespaceObject", namespace))
    }
}

/// `ValidatingAdmissionPolicy 'p' with binding 'b'`.
fn title(policy: &Policy, binding: Option<&Binding>) -> String {
    let policy = format!("ValidatingAdmissionPolicy '{}'", policy.name);
    match binding {
        Some(binding) => format!("{policy} with binding '{}'", binding.name),
        None => policy,
    }
}

/// What a binding makes of findings: warnings for the client, denials for the caller.
fn act(
    attrs: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
    findings: Findings,
) -> Vec<Denial> {
    let does = |action: &str| binding.actions.iter().any(|own| own == action);
    if does("Warn") {
        for denial in &findings.failed {
            attrs.ctx.warnings.add(format!(
                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                policy.name, binding.name, denial.message
            ));
        }
    }
    let mut denials = if does("Deny") { findings.failed } else { Vec::new() };
    denials.extend(findings.broken);
    denials
}

fn refusal(attrs: &Attributes<'_>, obj: Option<&Value>, who: &str, denial: &Denial) -> ApiError {
    let message = format!("{who} denied request: {}", denial.message);
    let mut error = ApiError::forbidden(&group_resource(attrs), name_of(attrs, obj), &message);
    (error.reason, error.code) = match denial.reason.as_str() {
        "Forbidden" => (Reason::Forbidden, 403),
        "Unauthorized" => (Reason::Unauthorized, 401),
        "RequestEntityTooLarge" => (Reason::RequestEntityTooLarge, 413),
        _ => (Reason::Invalid, 422),
    };
    error.with_cause("", message, "")
}

impl Validating {
    fn findings(&self, base: &Variables, params: Option<&Value>) -> Findings {
        let params = params.map_or(Cel::Null, Cel::from_json);
        let with = with_variables(base.clone().with("params", params), &self.policy.variables);
        let mut findings = Findings::default();
        match self.policy.conditions.hold(&with) {
            Verdict::Yes => {}
            Verdict::No => return findings,
            Verdict::Unknown(why) => {
                findings.failed.extend(self.failure(why));
                return findings;
            }
        }
        let mut budget = Budget::new(OBJECT_BUDGET);
        for validation in &self.validations {
            match budget.evaluate(&validation.program, &with) {
                Ok(value) if value.as_bool() == Some(true) => {}
                Ok(_) => findings.failed.push(Denial {
                    message: validation.message(&mut budget, &with),
                    reason: validation.reason.clone(),
                }),
                Err(why) => findings.failed.extend(self.failure(why)),
            }
        }
        let mut budget = Budget::new(OBJECT_BUDGET);
        for (expression, program) in &self.annotations {
            let why = match budget.evaluate(program, &with) {
                Ok(Cel::String(_) | Cel::Null) => continue,
                Ok(other) => format!(
                    "valueExpression '{expression}' resulted in unsupported return type: {}. \
                     Return type must be either string or null.",
                    other.type_name()
                ),
                Err(why) => why,
            };
            findings.broken.extend(self.failure(why));
        }
        findings
    }

    /// What cannot be evaluated is a denial, unless the policy says that it is nothing.
    fn failure(&self, message: String) -> Option<Denial> {
        (!self.policy.ignores_failures).then(|| Denial { message, reason: String::new() })
    }
}

impl Validation {
    /// What its author has to say, or the expression.
    fn message(&self, budget: &mut Budget, with: &Variables) -> String {
        let made = self.message_program.as_ref().and_then(|program| {
            let value = budget.evaluate(program, with).ok()?;
            Some(value.as_text()?.trim().to_owned())
        });
        let usable =
            |text: &String| !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n');
        match (made.filter(usable), self.message.as_str()) {
            (Some(made), _) => made,
            (None, "") => format!("failed expression: {}", self.expression.trim()),
            (None, message) => message.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(spec: Value, object: Value, params: Option<Value>) -> Vec<String> {
        let policy = policy(&json!({"metadata": {"name": "p"}, "spec": spec})).remove(0);
        let base = Variables::new()
            .with("object", Cel::from_json(&object))
            .with("oldObject", Cel::Null)
            .with("namespaceObject", Cel::Null);
        let found = policy.findings(&base, params.as_ref());
        found.failed.into_iter().chain(found.broken).map(|denial| denial.message).collect()
    }

    #[test]
    fn validations_speak_for_themselves_or_by_their_expression() {
        let spec = json!({"validations": [
            {"expression": "object.replicas < 5"},
            {"expression": "object.replicas < 5", "message": "too many"},
            {"expression": "object.replicas < 5", "message": "too many",
                "messageExpression": "'have ' + string(object.replicas)"},
            {"expression": "object.replicas < 5", "message": "too many",
                "messageExpression": "'a\\nb'"},
        ]});
        assert!(findings(spec.clone(), json!({"replicas": 3}), None).is_empty());
        assert_eq!(
            findings(spec, json!({"replicas": 7}), None),
            ["failed expression: object.replicas < 5", "too many", "have 7", "too many"]
        );
    }

    #[test]
    fn variables_are_worked_out_when_they_are_named() {
        let spec = json!({
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "variables": [
                {"name": "limit", "expression": "int(params.data.limit)"},
                {"name": "unused", "expression": "object.missing"},
                {"name": "twice", "expression": "variables.limit * 2"},
            ],
            "validations": [{"expression": "object.replicas <= variables.twice"}],
        });
        let params = |limit: &str| Some(json!({"data": {"limit": limit}}));
        assert!(findings(spec.clone(), json!({"replicas": 4}), params("2")).is_empty());
        assert_eq!(findings(spec, json!({"replicas": 5}), params("2")).len(), 1);
    }

    #[test]
    fn what_cannot_be_evaluated_is_what_the_failure_policy_says() {
        let mut spec = json!({"validations": [{"expression": "object.missing > 1"}]});
        assert_eq!(
            findings(spec.clone(), json!({}), None),
            ["expression 'object.missing > 1' resulted in error: no such key: missing"]
        );
        spec["failurePolicy"] = "Ignore".into();
        assert!(findings(spec.clone(), json!({}), None).is_empty());
        spec["matchConditions"] = json!([{"name": "n", "expression": "false"}]);
        spec["failurePolicy"] = "Fail".into();
        assert!(findings(spec, json!({}), None).is_empty());
    }
}
