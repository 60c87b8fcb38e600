//! admissionregistration.k8s.io: who has a say in writes, and in which.

pub(super) mod binding;
pub(crate) mod client;
mod expressions;
pub(super) mod policy;
mod rules;
pub(super) mod webhook;

const GROUP: &str = "admissionregistration.k8s.io";
const CATEGORIES: &[&str] = &["api-extensions"];
const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const REINVOCATION: [&str; 2] = ["IfNeeded", "Never"];

#[cfg(test)]
mod tests;
