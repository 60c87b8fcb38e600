//! Roles, RoleBindings and their cluster-wide twins.

use hansa_api::field::FieldError;
use hansa_api::meta::{default_text, list_at, str_at};
use hansa_api::names;
use hansa_api::selector::Selector;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use super::pod::defaults::{each, within};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const GROUP: &str = "rbac.authorization.k8s.io";

fn resource(kind: &'static str, plural: &'static str) -> Resource {
    Resource::new(GROUP, "v1", kind, plural)
}

pub(super) fn roles() -> Resource {
    resource("Role", "roles").namespaced()
}

pub(super) fn cluster_roles() -> Resource {
    resource("ClusterRole", "clusterroles")
}

pub(super) fn role_bindings() -> Resource {
    resource("RoleBinding", "rolebindings").namespaced()
}

pub(super) fn cluster_role_bindings() -> Resource {
    resource("ClusterRoleBinding", "clusterrolebindings")
}

/// The strategy of Roles and ClusterRoles.
pub(super) struct Roles {
    /// Whether they live in namespaces.
    pub(super) namespaced: bool,
}

impl Strategy for Roles {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            for (at, rule) in list_at(obj, &["rules"]).iter().enumerate() {
                validate_rule(check, &format!("rules[{at}]"), rule, self.namespaced);
            }
            let selectors = list_at(obj, &["aggregationRule", "clusterRoleSelectors"]);
            if obj.get("aggregationRule").is_some() && selectors.is_empty() {
                let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                check.required("aggregationRule.clusterRoleSelectors", why);
            }
            for (at, selector) in selectors.iter().enumerate() {
                let path = format!("aggregationRule.clusterRoleSelectors[{at}]");
                check.label_selector(&path, selector);
                if Selector::from_object(Some(selector)).is_err() {
                    check.invalid(&path, Value::Null, "invalid label selector.");
                }
            }
        })
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::of("Created At", "date", "When it was created.", 0)]
    }

    fn row(&self, obj: &Value, _: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), cells::created_at(obj)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate_rule(check: &mut Check, path: &str, rule: &Value, namespaced: bool) {
    let has = |field: &str| !list_at(rule, &[field]).is_empty();
    let mut require = |field: &str, why: &str| {
        if !has(field) {
            check.required(&format!("{path}.{field}"), why);
        }
    };
    require("verbs", "verbs must contain at least one value");
    if !has("nonResourceURLs") {
        require("apiGroups", "resource rules must supply at least one api group");
        require("resources", "resource rules must supply at least one resource");
        return;
    }
    let path = format!("{path}.nonResourceURLs");
    let urls = rule["nonResourceURLs"].clone();
    if namespaced {
        let why = "namespaced rules cannot apply to non-resource URLs";
        check.invalid(&path, urls.clone(), why);
    }
    if ["apiGroups", "resources", "resourceNames"].iter().any(|field| has(field)) {
        let why = "rules cannot apply to both regular resources and non-resource URLs";
        check.invalid(&path, urls, why);
    }
}

/// The strategy of RoleBindings and ClusterRoleBindings.
pub(super) struct Bindings {
    /// Whether they live in namespaces.
    pub(super) namespaced: bool,
}

impl Strategy for Bindings {
    fn default(&self, obj: &mut Value) {
        let Some(fields) = obj.as_object_mut() else { return };
        within(fields, "roleRef", |role| default_text(role, "apiGroup", GROUP));
        each(fields, "subjects", |subject| {
            if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
                default_text(subject, "apiGroup", GROUP);
            }
        });
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            let role = |field: &str| str_at(obj, &["roleRef", field]);
            known(check, "roleRef.apiGroup", role("apiGroup"), &[GROUP]);
            let kinds: &[&str] =
                if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
            known(check, "roleRef.kind", role("kind"), kinds);
            check.required_text("roleRef.name", role("name"), names::path_segment);
            for (at, subject) in list_at(obj, &["subjects"]).iter().enumerate() {
                validate_subject(check, &format!("subjects[{at}]"), subject, self.namespaced);
            }
        })
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(obj);
        if obj.get("roleRef") != old.get("roleRef") {
            let why = "cannot change roleRef";
            errors.push(FieldError::invalid("roleRef", obj["roleRef"].clone(), why));
        }
        errors
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Role", "What it grants."),
            Column::age(),
            Column::wide("Users", "Users it grants to."),
            Column::wide("Groups", "Groups it grants to."),
            Column::wide("ServiceAccounts", "Service accounts it grants to."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let role =
            format!("{}/{}", str_at(obj, &["roleRef", "kind"]), str_at(obj, &["roleRef", "name"]));
        vec![
            cells::name(obj),
            role.into(),
            cells::age(obj, now),
            subjects(obj, "User"),
            subjects(obj, "Group"),
            subjects(obj, "ServiceAccount"),
        ]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

/// A text that must be one of these; to be missing is to be none of them.
fn known(check: &mut Check, path: &str, text: &str, supported: &[&str]) {
    check.supported(path, Some(&text.into()), supported);
}

fn subjects(obj: &Value, kind: &str) -> Value {
    let all = list_at(obj, &["subjects"]).iter().filter(|s| str_at(s, &["kind"]) == kind);
    let names: Vec<_> = all
        .map(|subject| match (kind, str_at(subject, &["name"])) {
            ("ServiceAccount", name) => format!("{}/{name}", str_at(subject, &["namespace"])),
            (_, name) => name.to_owned(),
        })
        .collect();
    names.join(", ").into()
}

fn validate_subject(check: &mut Check, path: &str, subject: &Value, namespaced: bool) {
    let text = |field: &str| str_at(subject, &[field]);
    if text("name").is_empty() {
        check.required(&format!("{path}.name"), "");
    }
    let group = format!("{path}.apiGroup");
    match text("kind") {
        "ServiceAccount" => {
            let name = text("name");
            check.optional_text(&format!("{path}.name"), name, names::dns1123_subdomain);
            if !text("apiGroup").is_empty() {
                check.add(FieldError::not_supported(group, text("apiGroup"), &[""]));
            }
            if text("namespace").is_empty() && !namespaced {
                check.required(&format!("{path}.namespace"), "");
            }
        }
        "User" | "Group" => known(check, &group, text("apiGroup"), &[GROUP]),
        other => {
            known(check, &format!("{path}.kind"), other, &["ServiceAccount", "User", "Group"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::texts;

    #[test]
    fn rules_are_checked() {
        let roles = Roles { namespaced: true };
        let bad = json!({"rules": [{"resources": ["pods"]},
            {"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]});
        assert_eq!(
            texts(&roles.validate_create(&bad)),
            [
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api \
                 group",
                "rules[1].nonResourceURLs: Invalid value: [\"/metrics\"]: namespaced rules cannot \
                 apply to non-resource URLs",
            ]
        );
    }

    #[test]
    fn what_is_unknown_is_named() {
        let roles = Roles { namespaced: false };
        let none = json!({"aggregationRule": {}});
        let found = texts(&roles.validate_create(&none));
        assert!(found[0].starts_with("aggregationRule.clusterRoleSelectors: Required value"));
        let bindings = Bindings { namespaced: true };
        let bad = json!({"roleRef": {"apiGroup": "a", "name": "b"},
            "subjects": [{"name": "c", "kind": "Node"}]});
        assert_eq!(
            texts(&bindings.validate_create(&bad)),
            [
                "roleRef.apiGroup: Unsupported value: \"a\": supported values: \
                 \"rbac.authorization.k8s.io\"",
                "roleRef.kind: Unsupported value: \"\": supported values: \"Role\", \
                 \"ClusterRole\"",
                "subjects[0].kind: Unsupported value: \"Node\": supported values: \
                 \"ServiceAccount\", \"User\", \"Group\"",
            ]
        );
    }

    #[test]
    fn a_binding_keeps_its_role() {
        let bindings = Bindings { namespaced: false };
        let mut old = json!({"roleRef": {"kind": "ClusterRole", "name": "a"},
            "subjects": [{"kind": "User", "name": "jo"}]});
        bindings.default(&mut old);
        assert_eq!(old["subjects"][0]["apiGroup"], GROUP);
        assert!(bindings.validate_create(&old).is_empty());
        let mut new = old.clone();
        new["roleRef"]["name"] = "b".into();
        let found = texts(&bindings.validate_update(&new, &old));
        assert!(found[0].ends_with("cannot change roleRef"), "{found:?}");
        let row = bindings.row(&old, Timestamp::now());
        assert_eq!((&row[1], &row[3]), (&json!("ClusterRole/a"), &json!("jo")));
    }
}
