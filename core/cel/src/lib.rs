//! CEL, the expression language, as Kubernetes speaks it: with its libraries, its types, its costs
//! and its words for what is wrong.
//!
//! An expression is compiled once against an [`Env`] (parsed, its macros written out, its types
//! checked) and evaluated many times with [`Variables`]. Both are bounded: compiling by the length
//! and depth of the text, evaluating by a [`Meter`] that counts upstream's cost units and, beside
//! them, every value that is copied or compared. So no expression and no object, however hostile,
//! takes more than a fraction of a second or some dozens of megabytes, and no deadline or thread
//! is needed.
//!
//! ```
//! use hansa_cel::{Decl, Env, Meter, Program, Type, Value, Variables};
//!
//! let env = Env::new().typed("self", Type::list(Type::Int));
//! let program = Program::compile("self.all(x, x > 0)", &env).unwrap();
//! assert_eq!(program.result_type(), &Type::Bool);
//! let variables = Variables::new().with("self", Value::from_json(&serde_json::json!([1, 2])));
//! let mut meter = Meter::new(hansa_cel::CALL_LIMIT);
//! assert_eq!(program.evaluate(&variables, &mut meter).unwrap().as_bool(), Some(true));
//! ```
//!
//! Reading order: [`lex`], [`parse`] and [`macros`] make an [`ast`]; [`check`] and [`unify`] type
//! it over the signatures in [`overloads`]; [`estimate`] says what it may cost; [`eval`] runs it
//! over [`functions`], charging what [`charges`] says. [`schema`] reads structural schemas.

mod ast;
mod charges;
mod check;
mod env;
mod escape;
mod estimate;
mod eval;
mod functions;
mod issue;
mod json;
mod lex;
mod macros;
mod meter;
mod overloads;
mod parse;
pub mod schema;
mod types;
mod unify;
mod value;

use std::sync::Arc;

pub use env::Env;
pub use escape::{RESERVED, escape, unescape};
pub use estimate::Range;
pub use eval::{EvalError, Evaluated, Variables};
pub use functions::net::Cidr;
pub use functions::semver::Semver;
pub use functions::url::Url;
pub use issue::{CompileError, Issue};
pub use meter::Meter;
pub use types::{Decl, Object, Type, UNSIZED};
pub use value::{Host, Key, List, ListKind, Map, Value};

/// What one expression may cost when it runs; roughly a tenth of a second.
pub const CALL_LIMIT: u64 = 1_000_000;
/// What all rules of one object, or all expressions of one policy binding, may cost together.
pub const OBJECT_BUDGET: u64 = 10_000_000;
/// What all match conditions of one webhook or policy may cost together.
pub const MATCH_BUDGET: u64 = 2_500_000;
/// How long a message that an expression makes may be, in bytes.
pub const MESSAGE_MAX: usize = 5 * 1024;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Program {
    ast: Arc<ast::Ast>,
    checked: Arc<check::Checked>,
    estimate: Range,
}

impl Program {
    /// Parses, checks and estimates an expression.
    ///
    /// # Errors
    /// What is wrong with it, in cel-go's words and layout.
    pub fn compile(source: &str, env: &Env) -> Result<Self, CompileError> {
        let mut ast = parse::parse(source)?;
        let checked = check::check(&mut ast, env)?;
        let estimate = estimate::estimate(&ast.root, &checked, env);
        Ok(Self { ast: Arc::new(ast), checked: Arc::new(checked), estimate })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.ast.source
    }

    /// The type of what it evaluates to.
    pub fn result_type(&self) -> &Type {
        &self.checked.types[self.ast.root.id]
    }

    /// Whether it uses a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.checked.variables.contains(variable)
    }

    /// What it may cost, by the sizes that its variables are declared with.
    pub fn estimate(&self) -> Range {
        self.estimate
    }

    /// Evaluates it; the meter keeps what it cost, also after an error.
    ///
    /// # Errors
    /// What it ran into; [`EvalError::CostExceeded`] if the meter is at its limit.
    pub fn evaluate(&self, variables: &Variables, meter: &mut Meter) -> Evaluated {
        eval::evaluate(&self.ast.root, variables, meter)
    }
}

#[cfg(test)]
mod tests;
