//! The rules of a whole schema, and running them over an object.

use std::collections::BTreeMap;

use hansa_api::field::{FieldError, child, index, key};
use hansa_api::structural::{Structural, counterpart, unchanged};
use hansa_cel::{Decl, OBJECT_BUDGET, Value as Cel, Variables, schema};
use serde_json::Value;

use super::rule::{OUT_OF_BUDGET, Place, Rule, Tally, shown};

/// The rules of one schema node and of those below it.
pub(in crate::crd) struct RuleTree {
    rules: Vec<Rule>,
    schema: Value,
    structural: Structural,
    properties: BTreeMap<String, RuleTree>,
    values: Option<Box<RuleTree>>,
    items: Option<Box<RuleTree>>,
    /// What a map-like list's elements are known by.
    list_keys: Vec<String>,
}

/// A value, what it was, and the nearest place above that can be compared.
#[derive(Clone, Copy)]
struct Spot<'a> {
    value: &'a Value,
    old: Option<&'a Value>,
    /// Whether the nearest value above that has a counterpart is as it was.
    parent_unchanged: bool,
}

impl RuleTree {
    /// The rules of a resource's schema; `None` if there are none.
    pub(in crate::crd) fn of_resource(schema: &Value) -> Option<Self> {
        Self::compile(schema, schema::decl(schema, true), true)
    }

    /// The rules of any schema; `root` if it is a resource's.
    pub(in crate::crd) fn of(schema: &Value, root: bool) -> Option<Self> {
        Self::compile(schema, schema::decl(schema, root), root)
    }

    fn compile(schema: &Value, decl: Option<Decl>, root: bool) -> Option<Self> {
        if !mentions_rules(schema) {
            return None;
        }
        let decl = decl?;
        let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
        let rules: Vec<_> = rules.filter_map(|rule| Rule::compile(rule, schema, &decl)).collect();
        let below = |inner: &Value| {
            let embedded = inner["x-kubernetes-embedded-resource"] == true;
            Self::compile(inner, schema::decl(inner, embedded), embedded)
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        let properties = properties.filter_map(|(name, one)| Some((name.clone(), below(one)?)));
        let inner = |name: &str| {
            let inner = schema.get(name).filter(|inner| inner.is_object())?;
            below(inner).map(Box::new)
        };
        let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
        let tree = Self {
            properties: properties.collect(),
            values: inner("additionalProperties"),
            items: inner("items"),
            list_keys: keys.filter_map(|key| key.as_str().map(str::to_string)).collect(),
            structural: Structural::compile(schema),
            schema: shape(schema, root, rules.is_empty()),
            rules,
        };
        Some(tree)
    }

    /// What rules an object breaks; `old` is what it was.
    pub(in crate::crd) fn validate(&self, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let budget = i64::try_from(OBJECT_BUDGET).unwrap_or(i64::MAX);
        self.validate_at("", value, old, budget).0
    }

    /// The same at a path and with a budget; returns what is left of it.
    pub(in crate::crd) fn validate_at(
        &self,
        path: &str,
        value: &Value,
        old: Option<&Value>,
        budget: i64,
    ) -> (Vec<FieldError>, i64) {
        let mut tally = Tally { budget, errors: Vec::new() };
        let spot = Spot { value, old, parent_unchanged: false };
        self.visit(path, spot, &mut tally);
        (tally.errors, tally.budget)
    }

    fn visit(&self, path: &str, spot: Spot<'_>, tally: &mut Tally) {
        if spot.value.is_null() || tally.budget < 0 {
            return;
        }
        // Once for each value and not for each of its parts, which may be many.
        let unchanged = match spot.old {
            Some(old) => unchanged(spot.value, old, Some(&self.structural)),
            None => spot.parent_unchanged,
        };
        self.run(path, spot, unchanged, tally);
        match spot.value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let Some((tree, at)) = self.field(path, name) else { continue };
                    tree.visit(&at, self.step(spot, value, Some(name), unchanged), tally);
                }
            }
            Value::Array(items) => {
                let Some(tree) = &self.items else { return };
                for (at, item) in items.iter().enumerate() {
                    let below = self.step(spot, item, None, unchanged);
                    tree.visit(&index(path, at), below, tally);
                }
            }
            _ => {}
        }
    }

    fn field(&self, path: &str, name: &str) -> Option<(&RuleTree, String)> {
        if let Some(tree) = self.properties.get(name) {
            return Some((tree, child(path, name)));
        }
        self.values.as_deref().map(|tree| (tree, key(path, name)))
    }

    /// A child, with the old value that it was.
    fn step<'a>(
        &self,
        spot: Spot<'a>,
        value: &'a Value,
        name: Option<&str>,
        unchanged: bool,
    ) -> Spot<'a> {
        let old = match name {
            Some(name) => spot.old.and_then(|old| old.get(name)),
            None if self.list_keys.is_empty() => None,
            None => spot
                .old
                .and_then(Value::as_array)
                .and_then(|old| counterpart(value, old, &self.list_keys)),
        };
        Spot { value, old, parent_unchanged: unchanged }
    }

    fn run(&self, path: &str, spot: Spot<'_>, unchanged: bool, tally: &mut Tally) {
        if self.rules.is_empty() {
            return;
        }
        let kind = self.schema["type"].as_str().unwrap_or_default();
        if tally.budget == 0 {
            tally.errors.push(FieldError::invalid(shown(path), kind, OUT_OF_BUDGET));
            tally.budget = -1;
            return;
        }
        let place = Place { path, kind, value: spot.value, unchanged };
        let mut variables = Variables::new();
        variables.set("self", schema::value(spot.value, &self.schema));
        let old = spot.old.filter(|old| !old.is_null());
        let old = old.map(|old| schema::value(old, &self.schema));
        for rule in &self.rules {
            if rule.uses_old && old.is_none() && !rule.optional_old {
                continue;
            }
            if rule.uses_old {
                variables.set("oldSelf", old_self(rule, old.as_ref()));
            }
            rule.run(&place, &variables, tally);
            if tally.budget < 0 {
                return;
            }
        }
    }
}

fn old_self(rule: &Rule, old: Option<&Cel>) -> Cel {
    match (rule.optional_old, old) {
        (true, Some(old)) => Cel::some(old.clone()),
        (true, None) => Cel::Optional(None),
        (false, old) => old.cloned().unwrap_or(Cel::Null),
    }
}

/// What reading values needs of a schema; nothing where no rule runs.
fn shape(schema: &Value, root: bool, unused: bool) -> Value {
    let mut shape = match unused {
        true => serde_json::json!({"type": schema["type"]}),
        false => schema.clone(),
    };
    if root {
        shape["type"] = "object".into();
    }
    shape
}

/// Whether there are rules anywhere in a schema.
fn mentions_rules(schema: &Value) -> bool {
    let list = |name: &str| schema[name].as_array().is_some_and(|list| !list.is_empty());
    let inner =
        |name: &str| schema.get(name).is_some_and(|one| one.is_object() && mentions_rules(one));
    let properties = schema["properties"].as_object();
    list("x-kubernetes-validations")
        || inner("items")
        || inner("additionalProperties")
        || properties.is_some_and(|all| all.values().any(mentions_rules))
}
