//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: expressions instead of webhooks.
//!
//! A policy says what, its bindings say where and with which parameters. Here is what both kinds
//! share: [`Policy`] and [`Binding`], compiled when they change, and who meets whom.

mod mutating;
mod validating;

use std::sync::Arc;

use hansa_api::ApiError;
use hansa_api::meta::{self, at, list_at, str_at};
use hansa_api::selector::Selector;
use hansa_cel::{Decl, Env};
use serde_json::Value;

pub(super) use mutating::MutatingPolicies;
pub(super) use validating::ValidatingPolicies;

use super::conditions::Conditions;
use super::expressions::{Compiled, compile, declare_variables, policy_env};
use super::lookup;
use super::matching::{Matching, Seen};
use crate::generic::admit::Attributes;
use crate::generic::resource::split_api_version;

const GROUP: &str = "admissionregistration.k8s.io";

/// What both kinds of policy have.
struct Policy {
    name: String,
    matching: Matching,
    /// `apiVersion` and `kind` of the parameters.
    param_kind: Option<(String, String)>,
    conditions: Conditions,
    variables: Arc<Vec<(String, Compiled)>>,
    ignores_failures: bool,
}

impl Policy {
    /// Reads a policy; the environment is what its other expressions are compiled with.
    fn read(policy: &Value, env: impl Fn(Env) -> Env) -> (Self, Env) {
        let spec = &policy["spec"];
        let param_kind = at(spec, &["paramKind"]).map(|kind| {
            (str_at(kind, &["apiVersion"]).to_owned(), str_at(kind, &["kind"]).to_owned())
        });
        let mut env = env(policy_env(param_kind.is_some()));
        let conditions = Conditions::compile(list_at(spec, &["matchConditions"]), &env);
        let mut fields = std::collections::BTreeMap::new();
        let mut variables = Vec::new();
        for variable in list_at(spec, &["variables"]) {
            let name = str_at(variable, &["name"]).to_owned();
            let program = compile(str_at(variable, &["expression"]), &env);
            if let Ok(program) = &program {
                fields.insert(name.clone(), Decl::of(program.result_type().clone()));
            }
            variables.push((name, program));
            env = declare_variables(env, &fields);
        }
        let read = Self {
            name: meta::name(policy).to_owned(),
            matching: Matching::policy(&spec["matchConstraints"]),
            param_kind,
            conditions,
            variables: Arc::new(variables),
            ignores_failures: str_at(spec, &["failurePolicy"]) == "Ignore",
        };
        (read, env)
    }
}

/// Where a policy holds, with which parameters, and what follows.
struct Binding {
    name: String,
    policy: String,
    /// `None` is wherever the policy is about.
    matching: Option<Matching>,
    param_ref: Option<Value>,
    /// `Deny`, `Warn`, `Audit`.
    actions: Vec<String>,
}

fn binding(binding: &Value) -> Vec<Binding> {
    let spec = &binding["spec"];
    let actions = list_at(spec, &["validationActions"]).iter().filter_map(Value::as_str);
    vec![Binding {
        name: meta::name(binding).to_owned(),
        policy: str_at(spec, &["policyName"]).to_owned(),
        matching: at(spec, &["matchResources"]).map(Matching::policy),
        param_ref: at(spec, &["paramRef"]).cloned(),
        actions: actions.map(str::to_owned).collect(),
    }]
}

impl Binding {
    async fn matches(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<bool, ApiError> {
        match &self.matching {
            None => Ok(true),
            Some(matching) if matching.has_no_rules() => matching.selects(attrs, obj).await,
            Some(matching) => Ok(matching.matches(attrs, obj).await?.is_some()),
        }
    }
}

/// The parameters that a binding gives to a policy; `None` is none, and counts as one.
///
/// # Errors
/// Why the policy cannot be evaluated.
async fn params(
    attrs: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
) -> Result<Vec<Option<Arc<Value>>>, String> {
    let (Some((api_version, kind)), Some(reference)) = (&policy.param_kind, &binding.param_ref)
    else {
        return Ok(vec![None]);
    };
    let (group, version) = split_api_version(api_version);
    let snapshot = attrs.registry.catalog.snapshot();
    let Some(served) = snapshot.kind(group, version, kind).cloned() else {
        return Err(format!("paramKind kind `{api_version}, Kind={kind}` not known"));
    };
    let namespace = params_namespace(attrs, reference, served.resource.namespaced)?;
    let (name, selector) = (str_at(reference, &["name"]), at(reference, &["selector"]));
    let plural = &served.resource.plural;
    let found = match (name, selector) {
        ("", None) => return Err("one of name or selector must be provided".to_string()),
        ("", Some(selector)) => {
            let selector =
                Selector::from_object(Some(selector)).map_err(|error| error.to_string())?;
            let all = lookup::list(attrs, group, plural, namespace).await;
            let all = all.map_err(|error| error.message)?;
            all.into_iter().filter(|one| selector.matches(one)).collect()
        }
        (_, Some(_)) => {
            let why = "paramRef.name and paramRef.selector are mutually exclusive";
            return Err(why.to_string());
        }
        (name, None) => {
            let found = lookup::find(attrs, group, plural, namespace, name).await;
            found.map_err(|error| error.message)?.into_iter().collect::<Vec<_>>()
        }
    };
    if found.is_empty() && str_at(reference, &["parameterNotFoundAction"]) == "Deny" {
        let why = "no params found for policy binding with `Deny` parameterNotFoundAction";
        return Err(why.to_string());
    }
    Ok(found.into_iter().map(Some).collect())
}

fn params_namespace<'a>(
    attrs: &'a Attributes<'_>,
    reference: &'a Value,
    namespaced: bool,
) -> Result<&'a str, String> {
    let why = match (str_at(reference, &["namespace"]), namespaced) {
        ("", false) => return Ok(""),
        ("", true) if attrs.ctx.namespace.is_empty() => {
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
        }
        ("", true) => return Ok(&attrs.ctx.namespace),
        (namespace, true) => return Ok(namespace),
        (_, false) => "paramRef.namespace must not be provided for a cluster-scoped `paramKind`",
    };
    Err(why.to_string())
}

/// One evaluation that is due: a policy under a binding.
struct Due<'a, P> {
    policy: &'a P,
    binding: &'a Binding,
    seen: Seen,
    params: Vec<Option<Arc<Value>>>,
}

/// Why a policy cannot be evaluated, and whose fault that is.
struct Misconfigured<'a, P> {
    policy: &'a P,
    binding: Option<&'a Binding>,
    why: String,
}

/// Finds the evaluations that are due for a request, in the order of policies and bindings.
async fn due<'a, P: AsRef<Policy> + Send + Sync>(
    attrs: &Attributes<'_>,
    obj: Option<&Value>,
    policies: &'a [Arc<P>],
    bindings: &'a [Arc<Binding>],
) -> Vec<Result<Due<'a, P>, Misconfigured<'a, P>>> {
    let mut all = Vec::new();
    for policy in policies {
        let shared: &Policy = (**policy).as_ref();
        let seen = match shared.matching.matches(attrs, obj).await {
            Ok(None) => continue,
            Ok(Some(seen)) => seen,
            Err(error) => {
                let why = format!("failed to configure policy: {}", error.message);
                all.push(Err(Misconfigured { policy: &**policy, binding: None, why }));
                continue;
            }
        };
        for binding in bindings.iter().filter(|binding| binding.policy == shared.name) {
            let params = match binding.matches(attrs, obj).await {
                Ok(false) => continue,
                Ok(true) => params(attrs, shared, binding).await,
                Err(error) => Err(error.message),
            };
            all.push(match params {
                Ok(params) => Ok(Due { policy: &**policy, binding, seen: seen.clone(), params }),
                Err(why) => {
                    let why = format!("failed to configure binding: {why}");
                    Err(Misconfigured { policy: &**policy, binding: Some(&**binding), why })
                }
            });
        }
    }
    all
}
