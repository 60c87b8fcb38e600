//! MutatingAdmissionPolicy.

use std::sync::Arc;

use hansa_api::ApiError;
use hansa_api::meta::{list_at, str_at};
use hansa_api::patch::json as json_patch;
use hansa_api::status::Reason;
use hansa_cel::{OBJECT_BUDGET, Value as Cel, Variables};
use serde_json::{Map, Value};

use super::{Binding, Due, GROUP, Policy, binding, due};
use crate::admission::conditions::Verdict;
use crate::admission::expressions::{Budget, Compiled, Given, compile, with_variables};
use crate::admission::group_resource;
use crate::admission::index::{Index, Source};
use crate::admission::matching::{Seen, is_exempt, name_of, namespace_of};
use crate::admission::memory::Memory;
use crate::admission::webhooks::conform;
use crate::authz::Authorizer;
use crate::generic::admit::Attributes;
use crate::generic::registry::Registry;

/// A policy and what it changes.
struct Mutating {
    policy: Policy,
    mutations: Vec<Mutation>,
    reinvocable: bool,
}

/// One change, as an expression.
enum Mutation {
    /// Makes the part of an object that is merged in.
    Apply(Compiled),
    /// Makes a list of JSON Patch operations.
    Patch(Compiled),
    /// Of a type that is not known.
    Unknown(String),
}

impl AsRef<Policy> for Mutating {
    fn as_ref(&self) -> &Policy {
        &self.policy
    }
}

fn policy(object: &Value) -> Vec<Mutating> {
    let (policy, env) = Policy::read(object, hansa_cel::Env::mutations);
    let mutation = |one: &Value| match str_at(one, &["patchType"]) {
        "ApplyConfiguration" => {
            Mutation::Apply(compile(str_at(one, &["applyConfiguration", "expression"]), &env))
        }
        "JSONPatch" => Mutation::Patch(compile(str_at(one, &["jsonPatch", "expression"]), &env)),
        other => Mutation::Unknown(other.to_owned()),
    };
    let mutations = list_at(object, &["spec", "mutations"]).iter().map(mutation).collect();
    let reinvocable = str_at(object, &["spec", "reinvocationPolicy"]) == "IfNeeded";
    vec![Mutating { policy, mutations, reinvocable }]
}

/// All of them, compiled.
pub(in crate::admission) struct MutatingPolicies {
    policies: Arc<Index<Mutating>>,
    bindings: Arc<Index<Binding>>,
    authorizer: Arc<Authorizer>,
}

impl MutatingPolicies {
    /// Follows policies and bindings.
    pub(in crate::admission) async fn follow(
        registry: &Arc<Registry>,
        authorizer: &Arc<Authorizer>,
    ) -> Self {
        let policies =
            Source { group: GROUP, plural: "mutatingadmissionpolicies", compile: policy };
        let bindings =
            Source { group: GROUP, plural: "mutatingadmissionpolicybindings", compile: binding };
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

    /// Changes the object as whatever is due says, one after the other.
    pub(in crate::admission) async fn mutate(
        &self,
        attrs: &Attributes<'_>,
        obj: &mut Value,
        memory: &mut Memory,
    ) -> Result<(), ApiError> {
        let (policies, bindings) = (self.policies.all(), self.bindings.all());
        if policies.is_empty() || bindings.is_empty() || is_exempt(attrs) {
            return Ok(());
        }
        memory.enter(obj);
        let found = due(attrs, Some(obj), &policies, &bindings).await;
        let mut denial = None;
        for one in found {
            match one {
                Ok(due) => {
                    let why = self.carry_out(attrs, obj, &due, memory).await?;
                    let who = title(&due.policy.policy, Some(due.binding));
                    denial = denial.or(why.map(|why| (who, why, Reason::Invalid)));
                }
                Err(broken) if broken.policy.policy.ignores_failures => {}
                Err(broken) => {
                    let who = title(&broken.policy.policy, broken.binding);
                    denial.get_or_insert((who, broken.why, Reason::Forbidden));
                }
            }
        }
        memory.leave(obj);
        match denial {
            None => Ok(()),
            Some((who, why, reason)) => Err(refusal(attrs, obj, &who, &why, reason)),
        }
    }

    /// Carries out one policy under one binding; why the request is denied, if it is.
    async fn carry_out(
        &self,
        attrs: &Attributes<'_>,
        obj: &mut Value,
        due: &Due<'_, Mutating>,
        memory: &mut Memory,
    ) -> Result<Option<String>, ApiError> {
        let Due { policy, binding, seen, params } = due;
        let mut denial = None;
        for params in params {
            let params = params.as_deref();
            let id = format!(
                "{}/{}/{}",
                policy.policy.name,
                binding.name,
                params.map_or("", hansa_api::meta::name)
            );
            if memory.skips(&id) {
                continue;
            }
            let before = obj.clone();
            let why = self.apply_all(attrs, obj, policy, seen, params).await?;
            memory.called(id, policy.reinvocable, before != *obj);
            denial = denial.or(why.filter(|_| !policy.policy.ignores_failures));
        }
        Ok(denial)
    }

    async fn apply_all(
        &self,
        attrs: &Attributes<'_>,
        obj: &mut Value,
        policy: &Mutating,
        seen: &Seen,
        params: Option<&Value>,
    ) -> Result<Option<String>, ApiError> {
        let mut denial = None;
        for (at, mutation) in policy.mutations.iter().enumerate() {
            let with = self.variables(attrs, obj, policy, seen, params).await?;
            if at == 0 {
                match policy.policy.conditions.hold(&with) {
                    Verdict::Yes => {}
                    Verdict::No => return Ok(None),
                    Verdict::Unknown(why) => return Ok(Some(why)),
                }
            }
            match mutation.apply(attrs, seen, obj, &with) {
                Ok(next) => *obj = next,
                Err(why) => denial = denial.or(Some(why)),
            }
        }
        Ok(denial)
    }

    async fn variables(
        &self,
        attrs: &Attributes<'_>,
        obj: &Value,
        policy: &Mutating,
        seen: &Seen,
        params: Option<&Value>,
    ) -> Result<Variables, ApiError> {
        let given = Given { attrs, seen, obj: Some(obj), authorizer: &self.authorizer };
        let namespace = match attrs.is("", "namespaces") {
            true => None,
            false => namespace_of(attrs, Some(obj)).await?,
        };
        let json = |value: Option<&Value>| value.map_or(Cel::Null, Cel::from_json);
        let base = given
            .variables()
            .with("namespaceObject", json(namespace.as_deref()))
            .with("params", json(params));
        Ok(with_variables(base, &policy.policy.variables))
    }
}

fn title(policy: &Policy, binding: Option<&Binding>) -> String {
    match binding {
        Some(binding) => format!("policy '{}' with binding '{}'", policy.name, binding.name),
        None => format!("policy {:?}", policy.name),
    }
}

fn refusal(attrs: &Attributes<'_>, obj: &Value, who: &str, why: &str, reason: Reason) -> ApiError {
    let message = format!("{who} denied request: {why}");
    let resource = group_resource(attrs);
    let mut error = ApiError::forbidden(&resource, name_of(attrs, Some(obj)), &message);
    error.message.clone_from(&message);
    error.reason = reason;
    error.with_cause("", message, "")
}

impl Mutation {
    /// The object after this change.
    ///
    /// # Errors
    /// Why it cannot be made.
    fn apply(
        &self,
        attrs: &Attributes<'_>,
        seen: &Seen,
        obj: &Value,
        with: &Variables,
    ) -> Result<Value, String> {
        let mut budget = Budget::new(OBJECT_BUDGET);
        let before = seen.convert(attrs, obj).into_owned();
        let after = match self {
            Self::Apply(program) => merged(attrs, seen, &before, &budget.evaluate(program, with)?)?,
            Self::Patch(program) => patched(&before, &budget.evaluate(program, with)?)?,
            Self::Unknown(kind) => return Err(format!("unsupported patch type {kind:?}")),
        };
        let mut after = seen.restore(attrs, after);
        conform(attrs, &mut after).map_err(|error| error.message)?;
        Ok(after)
    }
}

/// Merges what an expression made into the object, by the object's schema.
fn merged(
    attrs: &Attributes<'_>,
    seen: &Seen,
    before: &Value,
    made: &Cel,
) -> Result<Value, String> {
    let unusable = || {
        let kind = made.type_name();
        format!("unsupported return type from ApplyConfiguration expression: {kind}")
    };
    if made.type_name() != "Object" {
        return Err(unusable());
    }
    let mut part = made.to_json().map_err(|error| format!("type mismatch: {error}"))?;
    for field in ["apiVersion", "kind"] {
        part[field] = before[field].clone();
    }
    let snapshot = attrs.registry.catalog.snapshot();
    let (group, version, plural) = seen.resource(attrs);
    let served = snapshot.get(group, version, plural).ok_or_else(unusable)?;
    let kind = served.strategy.object_type(&served.resource);
    hansa_api::apply::merge(kind.get(), before, &part)
        .map_err(|error| format!("error applying patch: failed to merge patch: {error}"))
}

/// Applies the operations that an expression made; a `test` that fails changes nothing.
fn patched(before: &Value, made: &Cel) -> Result<Value, String> {
    let Cel::List(list) = made else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_string());
    };
    let operations = list.items.iter().map(operation).collect::<Result<Vec<_>, _>>()?;
    let mut after = before.clone();
    match json_patch::apply(&mut after, &Value::Array(operations)) {
        Ok(()) => Ok(after),
        Err(error) if error.to_string().contains("test") => Ok(before.clone()),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}

fn operation(made: &Cel) -> Result<Value, String> {
    if made.type_name() != "JSONPatch" {
        return Err(format!(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got \
             element of {}",
            made.type_name()
        ));
    }
    let json = made.to_json().map_err(|error| {
        format!(
            "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}"
        )
    })?;
    let fields = json.as_object().cloned().unwrap_or_default();
    let kept = fields.into_iter().filter(|(name, value)| name != "from" || !value.is_null());
    Ok(Value::Object(kept.collect::<Map<_, _>>()))
}
