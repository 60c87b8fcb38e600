//! `openAPIV3Schema`: structural, with usable defaults, and only what is supported.

use hansa_api::field::{FieldError, child, index, key};
use hansa_api::structural;
use serde_json::Value;

use super::shared::Part;
use super::{Before, defaults, lists, rules};

/// What may stand at the root of a schema beside a status subresource.
const ROOT_FIELDS: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// A version's schema (`{openAPIV3Schema: …}`); `status` if it has that subresource.
pub(super) fn validate(part: &Part<'_>, status: bool, before: Before<'_>) -> Vec<FieldError> {
    let schema = &part.value["openAPIV3Schema"];
    if !schema.is_object() {
        return Vec::new();
    }
    let path = child(&part.path, "openAPIV3Schema");
    let mut errors = Vec::new();
    if status {
        errors.extend(root_fields(schema, &path));
    }
    if schema["nullable"] == true {
        let why = "nullable cannot be true at the root";
        errors.push(FieldError::forbidden(child(&path, "nullable"), why));
    }
    let mut unusable = structural::check(schema, &path);
    if unusable.is_empty() {
        unusable = defaults::validate(schema, &path);
    }
    let mut walk = Walk {
        rules: unusable
            .is_empty()
            .then(|| rules::Costs::new(before.schema_unchanged(part.version))),
        rule_errors: Vec::new(),
    };
    errors.extend(unusable);
    errors.extend(walk.visit(schema, &path, &Spot::root(schema)));
    errors.extend(walk.rule_errors);
    if let Some(costs) = walk.rules {
        errors.extend(costs.total_errors(&path));
    }
    errors
}

fn root_fields(schema: &Value, path: &str) -> Option<FieldError> {
    if schema.get("type").is_some() && schema["type"] != "object" {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status \
                   subresource is enabled";
        return Some(FieldError::invalid(child(path, "type"), schema["type"].clone(), why));
    }
    let known = |name: &str| ROOT_FIELDS.iter().any(|(known, _)| *known == name);
    let fields = schema.as_object()?;
    let strange = fields.iter().any(|(name, value)| !known(name) && says(value));
    let names: Vec<_> = ROOT_FIELDS.iter().map(|(_, name)| *name).collect();
    let why = format!(
        "only [{}] fields are allowed at the root of the schema if the status subresource is \
         enabled",
        names.join(" ")
    );
    strange.then(|| FieldError::invalid(path, schema.clone(), why))
}

fn says(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_str() != Some("")
}

/// What is known of the place in a schema that is looked at.
#[derive(Clone)]
pub(super) struct Spot<'a> {
    /// Why defaults may not stand here; empty if they may.
    no_defaults: String,
    inside_meta: bool,
    pub(super) root: bool,
    /// The list or map above in which old values cannot be found again.
    pub(super) uncorrelatable: Option<String>,
    /// How often this place may be in an object; `None` if that is not bounded.
    pub(super) times: Option<u64>,
    /// Whether rules can be here: not inside of `allOf` and its like.
    pub(super) rules: bool,
    schema: &'a Value,
}

impl<'a> Spot<'a> {
    fn root(schema: &'a Value) -> Self {
        Self {
            no_defaults: String::new(),
            inside_meta: false,
            root: true,
            uncorrelatable: None,
            times: Some(1),
            rules: true,
            schema,
        }
    }

    /// A child of this place, as often as the schema lets it be.
    fn below(&self, schema: &'a Value) -> Self {
        let times = match (self.times, rules::max_elements(self.schema)) {
            (Some(times), Some(more)) => Some(times.saturating_mul(more)),
            _ => None,
        };
        Self { root: false, times, schema, ..self.clone() }
    }

    /// A condition on this place.
    fn nested(&self, schema: &'a Value) -> Self {
        Self { root: false, rules: false, schema, ..self.clone() }
    }

    fn forbid_old(mut self, path: &str) -> Self {
        self.uncorrelatable.get_or_insert_with(|| path.to_string());
        self
    }
}

struct Walk {
    /// `None` if the schema is not fit for rules.
    rules: Option<rules::Costs>,
    rule_errors: Vec<FieldError>,
}

impl Walk {
    /// A node's errors and those below it, the rules' apart.
    fn visit(&mut self, schema: &Value, path: &str, spot: &Spot<'_>) -> Vec<FieldError> {
        let mut errors = standard(schema, path, spot);
        if schema["uniqueItems"] == true {
            let why =
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            errors.push(FieldError::forbidden(child(path, "uniqueItems"), why));
        }
        errors.extend(self.values(schema, path, spot));
        errors.extend(self.properties(schema, path, spot));
        errors.extend(self.conditions(schema, path, spot));
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            let mut below = spot.below(items);
            if schema["x-kubernetes-list-type"] != "map" {
                below = below.forbid_old(path);
            }
            errors.extend(self.visit(items, &child(path, "items"), &below));
        }
        errors.extend(lists::validate(schema, path));
        errors.extend(rules::validate(schema, path));
        if errors.is_empty()
            && spot.rules
            && let Some(costs) = &mut self.rules
        {
            self.rule_errors.extend(costs.compile(schema, path, spot));
        }
        errors
    }

    fn values(&mut self, schema: &Value, path: &str, spot: &Spot<'_>) -> Vec<FieldError> {
        let Some(more) = schema.get("additionalProperties").filter(|more| !more.is_null()) else {
            return Vec::new();
        };
        let at = child(path, "additionalProperties");
        let mut errors = Vec::new();
        let has_properties = schema["properties"].as_object().is_some_and(|all| !all.is_empty());
        if has_properties && *more != Value::Bool(true) {
            let why = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(&at, why));
        }
        if more.is_object() {
            let mut below = spot.below(more);
            if spot.inside_meta {
                below.no_defaults =
                    " inside additionalProperties applying to object metadata".into();
            }
            errors.extend(self.visit(more, &at, &below));
        }
        errors
    }

    fn properties(&mut self, schema: &Value, path: &str, spot: &Spot<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let whole = spot.root || schema["x-kubernetes-embedded-resource"] == true;
        let comparable =
            matches!(schema["x-kubernetes-map-type"].as_str(), None | Some("granular" | "atomic"));
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut below = spot.below(property);
            if !comparable {
                below = below.forbid_old(path);
            }
            if whole && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
                below.inside_meta = true;
                if spot.root {
                    below.no_defaults = format!(" in top-level {name}");
                }
            }
            let at = key(&child(path, "properties"), name);
            errors.extend(self.visit(property, &at, &below));
        }
        errors
    }

    fn conditions(&mut self, schema: &Value, path: &str, spot: &Spot<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(not) = schema.get("not").filter(|not| not.is_object()) {
            errors.extend(self.visit(not, &child(path, "not"), &spot.nested(not)));
        }
        for name in ["allOf", "oneOf", "anyOf"] {
            for (at, one) in schema[name].as_array().into_iter().flatten().enumerate() {
                let at = index(&child(path, name), at);
                errors.extend(self.visit(one, &at, &spot.nested(one)));
            }
        }
        errors
    }
}

/// What is not supported anywhere.
fn standard(schema: &Value, path: &str, spot: &Spot<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = schema["type"].as_str().unwrap_or_default();
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(child(path, "type"), kind, &TYPES));
    }
    if !schema["default"].is_null() && !spot.no_defaults.is_empty() {
        let why = format!("must not be set{}", spot.no_defaults);
        errors.push(FieldError::forbidden(child(path, "default"), why));
    }
    let names =
        ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
    for name in names.into_iter().filter(|name| says(&schema[*name])) {
        errors.push(FieldError::forbidden(child(path, name), format!("{name} is not supported")));
    }
    if kind == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(child(path, "type"), why));
    }
    if schema["items"].is_array() {
        let why = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(child(path, "items"), why));
    }
    if spot.inside_meta && schema["x-kubernetes-embedded-resource"] == true {
        let at = child(path, "x-kubernetes-embedded-resource");
        errors.push(FieldError::forbidden(at, "must not be used inside of resource meta"));
    }
    errors
}
