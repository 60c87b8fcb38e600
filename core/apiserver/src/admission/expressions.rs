//! What the expressions of webhooks and policies may name, and what they find there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hansa_cel::{CALL_LIMIT, Decl, Env, EvalError, Meter, Program, Type, Variables};
use hansa_cel::{Host, Value as Cel};
use parking_lot::Mutex;
use serde_json::Value;

use super::authorizer;
use super::matching::Seen;
use super::webhooks::request;
use crate::authz::Authorizer;
use crate::generic::admit::Attributes;

/// Shown where all expressions together cost too much.
const OUT_OF_BUDGET: &str = "validation failed due to running out of cost budget, no further \
                             validation rules will be run";

/// An expression, or why it does not compile.
pub(super) type Compiled = Result<Program, String>;

/// What match conditions may name.
pub(crate) fn env() -> Env {
    Env::new()
        .typed("object", Type::Dyn)
        .typed("oldObject", Type::Dyn)
        .variable("request", Decl::open_object("kubernetes.AdmissionRequest"))
        .typed("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
        .typed("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck"))
}

/// What a policy's expressions may name besides.
pub(crate) fn policy_env(params: bool) -> Env {
    let env = env().variable("namespaceObject", Decl::open_object("kubernetes.Namespace"));
    if params { env.typed("params", Type::Dyn) } else { env }
}

/// The same with a policy's variables, by name.
pub(crate) fn declare_variables(env: Env, variables: &BTreeMap<String, Decl>) -> Env {
    env.variable("variables", Decl::object("kubernetes.variables", variables.clone(), 0))
}

/// Compiles an expression.
pub(super) fn compile(source: &str, env: &Env) -> Compiled {
    Program::compile(source, env)
        .map_err(|error| format!("compilation error: compilation failed: {error}"))
}

/// A request as expressions see it.
pub(super) struct Given<'a> {
    pub(super) attrs: &'a Attributes<'a>,
    pub(super) seen: &'a Seen,
    pub(super) obj: Option<&'a Value>,
    pub(super) authorizer: &'a Arc<Authorizer>,
}

impl Given<'_> {
    /// The values of what every expression may name.
    pub(super) fn variables(&self) -> Variables {
        let Self { attrs, seen, obj, authorizer } = *self;
        let convert = |obj: Option<&Value>| {
            obj.map_or(Cel::Null, |obj| Cel::from_json(&seen.convert(attrs, obj)))
        };
        let (asker, resource) = authorizer::of(authorizer, attrs, seen, obj);
        Variables::new()
            .with("object", convert(obj))
            .with("oldObject", convert(attrs.old))
            .with("request", Cel::from_json(&request(attrs, seen, obj)))
            .with("authorizer", asker)
            .with("authorizer.requestResource", resource)
    }
}

/// What several expressions may cost together.
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn new(units: u64) -> Self {
        Self(units)
    }

    /// Evaluates one of them.
    ///
    /// # Errors
    /// In the words that clients see.
    pub(super) fn evaluate(&mut self, program: &Compiled, with: &Variables) -> Result<Cel, String> {
        let program = program.as_ref().map_err(Clone::clone)?;
        if self.0 == 0 {
            return Err(OUT_OF_BUDGET.to_string());
        }
        let mut meter = Meter::new(self.0.min(CALL_LIMIT));
        let result = program.evaluate(with, &mut meter);
        self.0 = self.0.saturating_sub(meter.cost());
        result.map_err(|error| match error {
            EvalError::CostExceeded if self.0 == 0 => OUT_OF_BUDGET.to_string(),
            error => format!("expression '{}' resulted in error: {error}", program.source()),
        })
    }
}

/// A policy's `variables`: each is worked out when it is first named, and once.
#[derive(Clone, Debug)]
struct Lazy {
    shared: Arc<Shared>,
    /// A variable may name those before it.
    before: usize,
}

#[derive(Debug)]
struct Shared {
    programs: Arc<Vec<(String, Compiled)>>,
    base: Variables,
    known: Mutex<HashMap<usize, Result<Cel, EvalError>>>,
}

impl Host for Lazy {
    fn type_name(&self) -> &str {
        "kubernetes.variables"
    }

    fn field(&self, name: &str) -> Result<Option<Cel>, EvalError> {
        let found = self.shared.programs[..self.before].iter().rposition(|(own, _)| own == name);
        let Some(at) = found else { return Ok(None) };
        if let Some(known) = self.shared.known.lock().get(&at).cloned() {
            return known.map(Some);
        }
        let value = self.work_out(at);
        self.shared.known.lock().insert(at, value.clone());
        value.map(Some)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Lazy {
    fn work_out(&self, at: usize) -> Result<Cel, EvalError> {
        let (name, program) = &self.shared.programs[at];
        let program = program.as_ref().map_err(EvalError::new)?;
        let before = Self { shared: self.shared.clone(), before: at };
        let with = self.shared.base.clone().with("variables", Cel::Host(Arc::new(before)));
        let value = program.evaluate(&with, &mut Meter::new(CALL_LIMIT));
        value.map_err(|error| match error {
            EvalError::CostExceeded => error,
            error => {
                EvalError::new(format!("composited variable {name:?} fails to evaluate: {error}"))
            }
        })
    }
}

/// The same values with a policy's `variables` among them.
pub(super) fn with_variables(
    base: Variables,
    programs: &Arc<Vec<(String, Compiled)>>,
) -> Variables {
    let shared = Arc::new(Shared {
        programs: programs.clone(),
        base: base.clone(),
        known: Mutex::default(),
    });
    base.with("variables", Cel::Host(Arc::new(Lazy { shared, before: programs.len() })))
}
