//! Custom resources: CustomResourceDefinitions become served resources, live.
//!
//! Reading order: [`definition`] reads a definition, [`names`] decides whether its names are free,
//! [`kind`] is the strategy of the resource that it defines, [`controller`] keeps the catalog in
//! step and finishes deletions, [`strategy`] is the strategy of the definitions themselves.

mod columns;
pub mod controller;
mod definition;
mod jsonpath;
mod kind;
mod names;
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
