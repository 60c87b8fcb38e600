//! `x-kubernetes-validations`: rules in CEL at any level of a schema.
//!
//! Reading order: [`rule`] compiles one rule, [`tree`] finds and runs the rules of a whole schema,
//! [`field_path`] reads the paths that rules and selectable fields point with.

pub(super) mod field_path;
pub(super) mod rule;
#[cfg(test)]
mod tests;
pub(super) mod tree;

pub(super) use tree::RuleTree;
