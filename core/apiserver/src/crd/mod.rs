//! Custom resources: CustomResourceDefinitions become served resources, live.
//!
//! Reading order: [`definition`] reads a definition, [`validate`] says what is wrong with one,
//! [`names`] decides whether its names are free and [`status`] says so, [`kind`] is the strategy of
//! the resource that it defines (with [`rules`] and [`conversion`]), [`controller`] keeps the
//! catalog in step and finishes deletions, [`strategy`] is the strategy of the definitions
//! themselves.

mod approval;
mod columns;
mod conditions;
pub mod controller;
mod conversion;
mod definition;
mod jsonpath;
mod kind;
mod names;
mod rules;
mod scale;
mod status;
mod strategy;
mod validate;

pub use controller::start;
pub use strategy::{Definitions, served};

/// The group of CustomResourceDefinitions.
pub const GROUP: &str = "apiextensions.k8s.io";
/// Their plural.
pub const PLURAL: &str = "customresourcedefinitions";
/// Holds a definition back until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

#[cfg(test)]
mod tests;
