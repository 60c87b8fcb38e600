//! RBAC objects arranged by subject, changed in place as the objects change.

use std::collections::HashMap;

use hansa_api::meta;
use serde_json::Value;

use super::Attributes;
use super::rules::{Rule, rules_of};
use crate::authn::{Identity, service_account};

/// Namespace (empty for cluster scope) and name.
type Key = (String, String);

/// A binding's place in the index of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    binding: Key,
    role: Key,
    role_kind: &'static str,
}

/// Grants per namespace of the binding.
type Grants = HashMap<String, Vec<Grant>>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    User(String),
    Group(String),
}

/// Roles and bindings, ready to be asked.
#[derive(Default)]
pub struct Index {
    roles: HashMap<Key, Vec<Rule>>,
    subjects: HashMap<Key, Vec<Subject>>,
    users: HashMap<String, Grants>,
    groups: HashMap<String, Grants>,
}

impl Index {
    /// Adds or replaces a Role or ClusterRole.
    pub fn set_role(&mut self, role: &Value) {
        self.roles.insert(key_of(role), rules_of(role));
    }

    /// Forgets a Role or ClusterRole.
    pub fn remove_role(&mut self, role: &Value) {
        self.roles.remove(&key_of(role));
    }

    /// The rules of a role.
    pub fn role(&self, namespace: &str, name: &str) -> Option<&[Rule]> {
        self.roles.get(&(namespace.to_string(), name.to_string())).map(Vec::as_slice)
    }

    /// Adds or replaces a RoleBinding or ClusterRoleBinding.
    pub fn set_binding(&mut self, binding: &Value) {
        self.remove_binding(binding);
        let key = key_of(binding);
        let grant = Grant { role: role_key(binding), role_kind: role_kind(binding), binding: key };
        let subjects = subjects_of(binding);
        for subject in &subjects {
            let grants = self.grants_mut(subject).entry(grant.binding.0.clone()).or_default();
            grants.push(grant.clone());
        }
        self.subjects.insert(grant.binding, subjects);
    }

    /// Forgets a RoleBinding or ClusterRoleBinding.
    pub fn remove_binding(&mut self, binding: &Value) {
        let key = key_of(binding);
        for subject in self.subjects.remove(&key).unwrap_or_default() {
            if let Some(grants) = self.grants_mut(&subject).get_mut(&key.0) {
                grants.retain(|grant| grant.binding != key);
            }
        }
    }

    /// Whether a role or binding of this name is in the index.
    pub fn knows(&self, object: &Value) -> bool {
        let key = key_of(object);
        if object["roleRef"].is_null() {
            self.roles.contains_key(&key)
        } else {
            self.subjects.contains_key(&key)
        }
    }

    fn grants_mut(&mut self, subject: &Subject) -> &mut Grants {
        match subject {
            Subject::User(name) => self.users.entry(name.clone()).or_default(),
            Subject::Group(name) => self.groups.entry(name.clone()).or_default(),
        }
    }

    /// Why RBAC allows what is asked, or `None`.
    pub fn allowing(&self, attrs: &Attributes<'_>) -> Option<String> {
        let mut reason = None;
        self.visit(attrs.user, attrs.namespace, &mut |rule, grant| {
            if rule.allows(attrs) {
                reason = Some(grant.reason());
            }
            reason.is_some()
        });
        reason
    }

    /// Visits the rules that a user holds, cluster-wide ones first, until `found` says true.
    pub(super) fn visit(
        &self,
        user: &Identity,
        namespace: &str,
        found: &mut dyn FnMut(&Rule, GrantRef<'_>) -> bool,
    ) {
        let places: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        let of_user = self.users.get(&user.name).map(|grants| (user.name.as_str(), "User", grants));
        let of_groups = user.groups.iter().filter_map(|group| {
            self.groups.get(group).map(|grants| (group.as_str(), "Group", grants))
        });
        for (subject, subject_kind, grants) in of_user.into_iter().chain(of_groups) {
            let here = places.iter().filter_map(|place| grants.get(*place)).flatten();
            for grant in here {
                let rules = self.roles.get(&grant.role).map_or(&[][..], Vec::as_slice);
                let grant = GrantRef { grant, subject, subject_kind };
                if rules.iter().any(|rule| found(rule, grant)) {
                    return;
                }
            }
        }
    }
}

/// A grant as a visitor sees it.
#[derive(Clone, Copy)]
pub(super) struct GrantRef<'a> {
    grant: &'a Grant,
    subject: &'a str,
    subject_kind: &'static str,
}

impl GrantRef<'_> {
    /// Upstream's sentence on what allowed a request.
    fn reason(&self) -> String {
        let (namespace, name) = &self.grant.binding;
        let binding = match namespace.as_str() {
            "" => format!("ClusterRoleBinding {name:?}"),
            namespace => format!("RoleBinding {:?}", format!("{name}/{namespace}")),
        };
        let Grant { role: (_, role), role_kind, .. } = self.grant;
        let Self { subject, subject_kind, .. } = self;
        format!("RBAC: allowed by {binding} of {role_kind} {role:?} to {subject_kind} {subject:?}")
    }
}

fn key_of(object: &Value) -> Key {
    (meta::namespace(object).to_string(), meta::name(object).to_string())
}

fn role_kind(binding: &Value) -> &'static str {
    if binding["roleRef"]["kind"] == "Role" { "Role" } else { "ClusterRole" }
}

/// The key of the role that a binding refers to.
pub fn role_key(binding: &Value) -> (String, String) {
    let name = binding["roleRef"]["name"].as_str().unwrap_or_default().to_string();
    match role_kind(binding) {
        "Role" => (meta::namespace(binding).to_string(), name),
        _ => (String::new(), name),
    }
}

fn subjects_of(binding: &Value) -> Vec<Subject> {
    let subjects = binding["subjects"].as_array().into_iter().flatten();
    subjects.filter_map(|subject| subject_of(subject, meta::namespace(binding))).collect()
}

fn subject_of(subject: &Value, default_namespace: &str) -> Option<Subject> {
    let name = subject["name"].as_str()?.to_string();
    match subject["kind"].as_str()? {
        "User" => Some(Subject::User(name)),
        "Group" => Some(Subject::Group(name)),
        "ServiceAccount" => {
            let namespace = subject["namespace"].as_str().unwrap_or(default_namespace);
            Some(Subject::User(service_account::username(namespace, &name)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request_info::RequestInfo;

    fn binding(namespace: &str, subjects: Value) -> Value {
        json!({
            "metadata": {"name": "b", "namespace": namespace},
            "roleRef": {"kind": "ClusterRole", "name": "reader"},
            "subjects": subjects,
        })
    }

    fn index(binding: &Value) -> Index {
        let mut index = Index::default();
        index.set_role(&json!({"metadata": {"name": "reader"},
            "rules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]}));
        index.set_binding(binding);
        index
    }

    fn may_list(index: &Index, user: &Identity, uri: &str) -> bool {
        let info = RequestInfo::parse(&http::Method::GET, &uri.parse().unwrap());
        index.allowing(&Attributes::of(user, &info)).is_some()
    }

    #[test]
    fn a_role_binding_gives_its_namespace_only() {
        let index = index(&binding("a", json!([{"kind": "Group", "name": "dev"}])));
        let ann = Identity::user("ann", &["dev"]);
        assert!(may_list(&index, &ann, "/api/v1/namespaces/a/pods"));
        assert!(!may_list(&index, &ann, "/api/v1/namespaces/b/pods"));
        assert!(!may_list(&index, &ann, "/api/v1/pods"));
        assert!(!may_list(&index, &Identity::user("bob", &[]), "/api/v1/namespaces/a/pods"));
    }

    #[test]
    fn a_cluster_role_binding_gives_everything_and_goes_away_whole() {
        let binding = binding("", json!([{"kind": "User", "name": "ann"}]));
        let mut index = index(&binding);
        let ann = Identity::user("ann", &[]);
        assert!(may_list(&index, &ann, "/api/v1/pods"));
        assert!(may_list(&index, &ann, "/api/v1/namespaces/b/pods"));
        index.remove_binding(&binding);
        assert!(!may_list(&index, &ann, "/api/v1/pods"));
    }

    #[test]
    fn a_changed_binding_drops_its_old_subjects() {
        let mut index = index(&binding("", json!([{"kind": "User", "name": "ann"}])));
        index.set_binding(&binding(
            "",
            json!([{"kind": "ServiceAccount", "namespace": "shop", "name": "till"}]),
        ));
        assert!(!may_list(&index, &Identity::user("ann", &[]), "/api/v1/pods"));
        let till = Identity::user("system:serviceaccount:shop:till", &[]);
        assert!(may_list(&index, &till, "/api/v1/pods"));
    }

    #[test]
    fn the_reason_names_binding_role_and_subject() {
        let index = index(&binding("a", json!([{"kind": "Group", "name": "dev"}])));
        let uri = "/api/v1/namespaces/a/pods".parse().unwrap();
        let info = RequestInfo::parse(&http::Method::GET, &uri);
        let ann = Identity::user("ann", &["dev"]);
        assert_eq!(
            index.allowing(&Attributes::of(&ann, &info)).unwrap(),
            r#"RBAC: allowed by RoleBinding "b/a" of ClusterRole "reader" to Group "dev""#
        );
    }
}
