//! `default`: it fits the schema that it stands in.

use hansa_api::field::{FieldError, child, key};
use hansa_api::structural::Structural;
use hansa_cel::OBJECT_BUDGET;
use serde_json::Value;

use super::super::rules::RuleTree;

/// What is wrong with the defaults in a resource's schema.
pub(super) fn validate(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut check =
        Check { budget: i64::try_from(OBJECT_BUDGET).unwrap_or(i64::MAX), errors: Vec::new() };
    check.visit(schema, path, true, false);
    check.errors
}

struct Check {
    budget: i64,
    errors: Vec<FieldError>,
}

impl Check {
    fn visit(&mut self, schema: &Value, path: &str, root: bool, mut inside_meta: bool) {
        let whole = root || schema["x-kubernetes-embedded-resource"] == true;
        if whole {
            inside_meta = false;
        }
        let default = &schema["default"];
        if !default.is_null() && self.budget >= 0 {
            self.check(schema, default, &child(path, "default"), whole, inside_meta);
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            self.visit(items, &child(path, "items"), false, inside_meta);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let of_meta = whole && matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
            let at = key(&child(path, "properties"), name);
            self.visit(property, &at, false, inside_meta || of_meta);
        }
    }

    fn check(&mut self, schema: &Value, default: &Value, path: &str, whole: bool, meta: bool) {
        let structural = Structural::compile(schema);
        if !meta && !structural.prune_value(&mut default.clone(), whole).is_empty() {
            let why = "must not have unknown fields";
            self.errors.push(FieldError::invalid(path, default.clone(), why));
        }
        let mut errors = structural.embedded_errors(default, path);
        if errors.is_empty() {
            errors = structural.validate(default, path);
        }
        if !errors.is_empty() {
            self.errors.extend(errors);
            return;
        }
        let Some(tree) = RuleTree::of(schema, whole) else { return };
        let (errors, left) = tree.validate_at(path, default, Some(default), self.budget);
        let none = errors.is_empty();
        self.errors.extend(errors);
        self.budget = left;
        if none {
            let (errors, left) = tree.validate_at(path, default, None, self.budget);
            self.errors.extend(errors);
            self.budget = self.budget.min(left);
        }
    }
}
