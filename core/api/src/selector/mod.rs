//! Selectors: which objects a request or a controller means.

pub mod field;
pub mod label;
mod parser;

pub use field::FieldSelector;
pub use label::{Operator, Requirement, Selector};
