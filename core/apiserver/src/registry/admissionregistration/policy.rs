//! ValidatingAdmissionPolicies and MutatingAdmissionPolicies.

use std::collections::{BTreeMap, HashSet};

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{self, at, default_field, fields_mut, list_at, str_at};
use hansa_api::names;
use hansa_cel::{Decl, Env, RESERVED, Type};
use jiff::Timestamp;
use serde_json::Value;

use super::expressions::{Wanted, compiles, required};
use super::{CATEGORIES, FAILURE_POLICIES, GROUP, REINVOCATION, rules};
use crate::admission::expressions::{declare_variables, policy_env};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};
use crate::registry::check::Check;
use crate::registry::pod::defaults::within;
use crate::registry::{cells, conditions};

const MAX_AUDIT: usize = 20;
const MAX_AUDIT_EXPRESSION: usize = 5 << 10;
/// The field that most expressions are in, and what is said if it is empty.
const EXPRESSION: (&str, &str) = ("expression", "expression is not specified");
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
/// Patch types and the fields that hold them.
const PATCHES: [(&str, &str); 2] =
    [("JSONPatch", "jsonPatch"), ("ApplyConfiguration", "applyConfiguration")];

pub(in crate::registry) fn validating() -> Resource {
    Resource::new(GROUP, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
        .categories(CATEGORIES)
        .status()
}

pub(in crate::registry) fn mutating() -> Resource {
    Resource::new(GROUP, "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
        .categories(CATEGORIES)
}

/// The strategy of both.
pub(in crate::registry) struct Policies {
    /// Whether they change objects.
    pub(in crate::registry) mutating: bool,
}

impl Strategy for Policies {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        default_field(spec, "failurePolicy", "Fail");
        within(spec, "matchConstraints", rules::default_match);
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| self.validate(check, obj, false))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let same = |field| at(obj, &["spec", field]) == at(old, &["spec", field]);
        let kept = same("paramKind") && same("matchConditions");
        Check::run(|check| self.validate(check, obj, kept))
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| validate_status(check, &obj["status"]))
    }

    fn columns(&self) -> Vec<Column> {
        let rules = match self.mutating {
            true => Column::of("Mutations", "integer", "How many changes it makes.", 0),
            false => Column::of("Validations", "integer", "How many rules it has.", 0),
        };
        vec![
            Column::name(),
            rules,
            Column::new("ParamKind", "The kind of its parameters."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let kind = at(obj, &["spec", "paramKind"]).map_or_else(
            || cells::UNSET.to_owned(),
            |kind| format!("{}/{}", str_at(kind, &["apiVersion"]), str_at(kind, &["kind"])),
        );
        let rules = list_at(obj, &["spec", self.rules()]).len();
        vec![cells::name(obj), rules.into(), kind.into(), cells::age(obj, now)]
    }

    fn status_may_change_metadata(&self) -> bool {
        false
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

impl Policies {
    fn rules(&self) -> &'static str {
        if self.mutating { "mutations" } else { "validations" }
    }

    fn validate(&self, check: &mut Check, obj: &Value, kept_conditions: bool) {
        let spec = &obj["spec"];
        match at(spec, &["failurePolicy"]) {
            None => check.required("spec.failurePolicy", ""),
            policy => check.supported("spec.failurePolicy", policy, &FAILURE_POLICIES),
        }
        if let Some(kind) = at(spec, &["paramKind"]) {
            param_kind(check, "spec.paramKind", kind);
        }
        self.constraints(check, "spec.matchConstraints", at(spec, &["matchConstraints"]));
        let env = self.env(spec);
        if !kept_conditions {
            let conditions = list_at(spec, &["matchConditions"]);
            rules::validate_conditions(check, "spec.matchConditions", conditions, &env);
        }
        let env = variables(check, list_at(spec, &["variables"]), env);
        match self.mutating {
            true => mutations(check, spec, &env),
            false => validations(check, meta::name(obj), spec, &env),
        }
    }

    /// What the expressions of a policy may name.
    fn env(&self, spec: &Value) -> Env {
        let env = policy_env(at(spec, &["paramKind"]).is_some());
        if self.mutating { env.mutations() } else { env }
    }

    fn constraints(&self, check: &mut Check, path: &str, resources: Option<&Value>) {
        let Some(resources) = resources else { return check.required(path, "") };
        rules::validate_match(check, path, resources);
        if list_at(resources, &["resourceRules"]).is_empty() {
            check.required(&child(path, "resourceRules"), "");
        }
        if self.mutating {
            rules::validate_changing(check, path, resources);
        }
    }
}

fn param_kind(check: &mut Check, path: &str, param: &Value) {
    let version_path = child(path, "apiVersion");
    let text = str_at(param, &["apiVersion"]);
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    if text.is_empty() {
        check.required(&version_path, "");
    } else if version.contains('/') {
        let why = format!("unexpected GroupVersion string: {text}");
        check.invalid(&version_path, text, &why);
    } else {
        let why = names::dns1123_subdomain(group);
        if !group.is_empty() && !why.is_empty() {
            check.invalid(&version_path, group, &why.join(","));
        }
        let why = names::dns1035_label(version);
        if version.is_empty() {
            check.invalid(&version_path, text, "version must be specified");
        } else if !why.is_empty() {
            check.invalid(&version_path, version, &why.join(","));
        }
    }
    let (kind_path, kind) = (child(path, "kind"), str_at(param, &["kind"]));
    let why = names::dns1035_label(&kind.to_lowercase());
    if kind.is_empty() {
        check.required(&kind_path, "");
    } else if !why.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", why.join(","));
        check.invalid(&kind_path, kind, &why);
    }
}

/// Checks variables; each may name those before it, and what comes later all of them.
fn variables(check: &mut Check, variables: &[Value], mut env: Env) -> Env {
    let mut seen = HashSet::new();
    let mut fields = BTreeMap::new();
    for (at, variable) in variables.iter().enumerate() {
        let path = index("spec.variables", at);
        let (name_path, name) = (child(&path, "name"), str_at(variable, &["name"]));
        if name.trim().is_empty() {
            check.required(&name_path, "name is not specified");
        } else if !is_identifier(name) {
            check.invalid(&name_path, name, "must be a valid CEL identifier");
        } else if !seen.insert(name) {
            check.duplicate(&name_path, name);
        }
        let kind = required(check, &path, variable, EXPRESSION, Wanted::any(&env));
        fields.insert(name.to_owned(), Decl::of(kind.unwrap_or(Type::Dyn)));
        env = declare_variables(env, &fields);
    }
    env
}

fn is_identifier(name: &str) -> bool {
    names::c_identifier(name).is_empty() && !RESERVED.contains(&name)
}

fn validations(check: &mut Check, name: &str, spec: &Value, env: &Env) {
    let (rules, notes) = (list_at(spec, &["validations"]), list_at(spec, &["auditAnnotations"]));
    if rules.is_empty() && notes.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        check.required("spec.validations", why);
        return check.required("spec.auditAnnotations", why);
    }
    for (at, rule) in rules.iter().enumerate() {
        validation(check, &index("spec.validations", at), rule, env);
    }
    let path = "spec.auditAnnotations";
    if notes.len() > MAX_AUDIT {
        let why = format!("must not have more than {MAX_AUDIT} auditAnnotations");
        check.invalid(path, notes.to_vec(), &why);
    }
    let mut seen = HashSet::new();
    for (at, note) in notes.iter().enumerate() {
        let path = index(path, at);
        let key = str_at(note, &["key"]);
        audit(check, &path, name, note, env);
        if !seen.insert(key) {
            check.duplicate(&child(&path, "key"), key);
        }
    }
}

fn validation(check: &mut Check, path: &str, rule: &Value, env: &Env) {
    required(check, path, rule, EXPRESSION, Wanted::bool(env));
    let message = str_at(rule, &["messageExpression"]);
    if !message.trim().is_empty() {
        compiles(check, &child(path, "messageExpression"), message, Wanted::string(env));
    }
    for field in ["messageExpression", "message"] {
        let (path, text) = (child(path, field), str_at(rule, &[field]));
        if !text.is_empty() && text.trim().is_empty() {
            check.invalid(&path, text, "must be non-empty if specified");
        } else if field == "message" && text.trim().contains(['\n', '\r']) {
            check.invalid(&path, text, "must not contain line breaks");
        }
    }
    check.supported(&child(path, "reason"), at(rule, &["reason"]), &REASONS);
}

fn audit(check: &mut Check, path: &str, policy: &str, note: &Value, env: &Env) {
    let (key_path, key) = (child(path, "key"), str_at(note, &["key"]));
    if policy.is_empty() {
        check.invalid(&key_path, key, "requires metadata.name be non-empty");
    } else {
        let full = format!("{policy}/{key}");
        check.text(&key_path, &full, names::qualified_name(&full));
    }
    let missing = ("valueExpression", "valueExpression is not specified");
    required(check, path, note, missing, Wanted::note(env));
    if str_at(note, &["valueExpression"]).trim().len() > MAX_AUDIT_EXPRESSION {
        let why = format!("must not exceed {MAX_AUDIT_EXPRESSION} bytes in length");
        check.required(&child(path, "valueExpression"), &why);
    }
}

fn mutations(check: &mut Check, spec: &Value, env: &Env) {
    let all = list_at(spec, &["mutations"]);
    if all.is_empty() {
        check.required("spec.mutations", "mutations must contain at least one item");
    }
    for (at, one) in all.iter().enumerate() {
        mutation(check, &index("spec.mutations", at), one, env);
    }
    let policy = str_at(spec, &["reinvocationPolicy"]);
    check.one_of("spec.reinvocationPolicy", policy, &REINVOCATION);
}

fn mutation(check: &mut Check, path: &str, mutation: &Value, env: &Env) {
    let kind = str_at(mutation, &["patchType"]);
    if !PATCHES.iter().any(|(name, _)| *name == kind) {
        let known = ["ApplyConfiguration", "JSONPatch"];
        return check.one_of(&child(path, "patchType"), kind, &known);
    }
    for (name, field) in PATCHES {
        let (path, found) = (child(path, field), at(mutation, &[field]));
        match (name == kind, found) {
            (true, None) => {
                check.required(&path, &format!("must be specified when patchType is {kind}"));
            }
            (true, Some(patch)) => {
                required(check, &path, patch, ("expression", ""), Wanted::any(env));
            }
            (false, Some(_)) => {
                let why = format!("must not be specified when patchType is {kind}");
                check.invalid(&path, format!("{{{field}}}"), &why);
            }
            (false, None) => {}
        }
    }
}

fn validate_status(check: &mut Check, status: &Value) {
    let path = "status.typeChecking.expressionWarnings";
    let warnings = list_at(status, &["typeChecking", "expressionWarnings"]);
    for (at, warning) in warnings.iter().enumerate() {
        let path = index(path, at);
        for field in ["warning", "fieldRef"] {
            if str_at(warning, &[field]).trim().is_empty() {
                check.required(&child(&path, field), "");
            }
        }
    }
    conditions::validate(check, "status.conditions", list_at(status, &["conditions"]));
}
