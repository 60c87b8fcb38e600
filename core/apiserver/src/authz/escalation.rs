//! Nobody hands out more than they hold: checks on writes of RBAC objects, and NodeRestriction.

use hansa_api::{ApiError, gvk::GroupResource, meta};
use serde_json::Value;

use super::index::role_key;
use super::node::node_of;
use super::rules::{Rule, rules_of, uncovered};
use super::{Attributes, Authorizer};
use crate::authn::{Identity, MASTERS};

/// The API group of the RBAC kinds.
pub const RBAC: &str = "rbac.authorization.k8s.io";

/// A write that is to be checked after authorization, with the object it would leave.
pub struct Write<'a> {
    /// Who writes.
    pub user: &'a Identity,
    /// API group of the resource.
    pub group: &'a str,
    /// Plural of the resource.
    pub resource: &'a str,
    /// Subresource or empty.
    pub subresource: &'a str,
    /// The namespace of the request.
    pub namespace: &'a str,
    /// The object as it was, for updates and deletions.
    pub old: Option<&'a Value>,
    /// The object as it would be, for creations and updates.
    pub new: Option<&'a Value>,
}

impl Write<'_> {
    fn name(&self) -> &str {
        self.new.or(self.old).map_or("", meta::name)
    }

    /// 403 for the object at hand.
    pub(super) fn refuse(&self, why: String) -> ApiError {
        ApiError::forbidden(&GroupResource::new(self.group, self.resource), self.name(), why)
    }

    fn attributes<'a>(&'a self, verb: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
        Attributes {
            user: self.user,
            verb,
            namespace: self.namespace,
            group: RBAC,
            resource,
            subresource: "",
            name,
            path: "",
            is_resource: true,
            field_selector: "",
        }
    }
}

/// Refuses a write that would give away more than the writer holds, or that a node may not make.
pub fn check(authorizer: &Authorizer, write: &Write<'_>) -> Result<(), ApiError> {
    if write.user.in_group(MASTERS) {
        return Ok(());
    }
    if let Some(node) = node_of(write.user) {
        check_node(node, write)?;
    }
    match (write.group, write.resource, write.new) {
        (RBAC, "roles" | "clusterroles", Some(role)) => check_role(authorizer, write, role),
        (RBAC, "rolebindings" | "clusterrolebindings", Some(binding)) => {
            check_binding(authorizer, write, binding)
        }
        _ => Ok(()),
    }
}

fn check_role(authorizer: &Authorizer, write: &Write<'_>, role: &Value) -> Result<(), ApiError> {
    let unchanged = write.old.is_some_and(|old| {
        old["rules"] == role["rules"] && old["aggregationRule"] == role["aggregationRule"]
    });
    let escalate = write.attributes("escalate", write.resource, write.name());
    if unchanged || authorizer.rbac(&escalate).is_some() {
        return Ok(());
    }
    let aggregates = !role["aggregationRule"].is_null()
        && write.old.is_none_or(|old| old["aggregationRule"] != role["aggregationRule"]);
    let mut wanted = rules_of(role);
    if aggregates {
        // Whoever chooses what is aggregated could get anything.
        wanted.push(Rule {
            verbs: vec!["*".into()],
            api_groups: vec!["*".into()],
            resources: vec!["*".into()],
            ..Rule::default()
        });
    }
    holds(authorizer, write, &wanted)
}

fn check_binding(
    authorizer: &Authorizer,
    write: &Write<'_>,
    binding: &Value,
) -> Result<(), ApiError> {
    let unchanged = write.old.is_some_and(|old| {
        old["roleRef"] == binding["roleRef"] && old["subjects"] == binding["subjects"]
    });
    let (namespace, name) = role_key(binding);
    let resource = if namespace.is_empty() { "clusterroles" } else { "roles" };
    let bind = write.attributes("bind", resource, &name);
    if unchanged || authorizer.rbac(&bind).is_some() {
        return Ok(());
    }
    let Some(wanted) = authorizer.role_rules(&namespace, &name) else {
        let missing = GroupResource::new(RBAC, resource);
        return Err(ApiError::not_found(&missing, &name));
    };
    holds(authorizer, write, &wanted)
}

fn holds(authorizer: &Authorizer, write: &Write<'_>, wanted: &[Rule]) -> Result<(), ApiError> {
    let owned = authorizer.rules_for(write.user, write.namespace);
    let missing = uncovered(&owned, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let shown: Vec<_> = missing.iter().map(Rule::compact).collect();
    Err(write.refuse(format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        write.user.name,
        write.user.groups,
        shown.join("\n"),
    )))
}

/// NodeRestriction: what a kubelet may put into objects.
fn check_node(node: &str, write: &Write<'_>) -> Result<(), ApiError> {
    match (write.group, write.resource, write.subresource) {
        ("", "nodes", _) => check_own_node(node, write),
        ("", "pods", "") => check_own_pod(node, write),
        ("", "pods", "status" | "eviction") => {
            let pod = write.old.or(write.new);
            let own = pod.is_none_or(|pod| meta::str_at(pod, &["spec", "nodeName"]) == node);
            refuse_unless(own, write, || {
                format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to \
                     itself"
                )
            })
        }
        ("coordination.k8s.io", "leases", _) => refuse_unless(write.name() == node, write, || {
            "can only access node lease with the same name as the requesting node".to_string()
        }),
        _ => Ok(()),
    }
}

fn check_own_node(node: &str, write: &Write<'_>) -> Result<(), ApiError> {
    refuse_unless(write.name() == node, write, || {
        format!("node {node:?} is not allowed to modify node {:?}", write.name())
    })?;
    let (Some(old), Some(new)) = (write.old, write.new) else { return Ok(()) };
    refuse_unless(old["spec"]["taints"] == new["spec"]["taints"], write, || {
        format!("node {node:?} is not allowed to modify taints")
    })
}

fn check_own_pod(node: &str, write: &Write<'_>) -> Result<(), ApiError> {
    let Some(pod) = write.new else {
        let own = write.old.is_none_or(|pod| meta::str_at(pod, &["spec", "nodeName"]) == node);
        return refuse_unless(own, write, || {
            format!("node {node:?} can only delete pods with spec.nodeName set to itself")
        });
    };
    let mirror = meta::annotation(pod, "kubernetes.io/config.mirror").is_some();
    refuse_unless(mirror, write, || {
        format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only \
             create mirror pods"
        )
    })?;
    refuse_unless(meta::str_at(pod, &["spec", "nodeName"]) == node, write, || {
        format!("node {node:?} can only create pods with spec.nodeName set to itself")
    })
}

fn refuse_unless(
    allowed: bool,
    write: &Write<'_>,
    why: impl FnOnce() -> String,
) -> Result<(), ApiError> {
    if allowed { Ok(()) } else { Err(write.refuse(why())) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn authorizer() -> Authorizer {
        let authorizer = Authorizer::default();
        authorizer.update(|index| {
            let rule = |verbs: &[&str], resources: &[&str]| {
                json!({"verbs": verbs, "apiGroups": ["", RBAC], "resources": resources})
            };
            let role =
                |name: &str, rules: Value| json!({"metadata": {"name": name}, "rules": rules});
            let small = rule(&["get"], &["pods", "roles", "rolebindings"]);
            index.set_role(&role("small", json!([small])));
            index.set_role(&role("big", json!([rule(&["*"], &["*"])])));
            index.set_binding(&json!({"metadata": {"name": "b"},
                "roleRef": {"kind": "ClusterRole", "name": "small"},
                "subjects": [{"kind": "User", "name": "ann"}]}));
        });
        authorizer
    }

    fn write<'a>(user: &'a Identity, resource: &'a str, new: &'a Value) -> Write<'a> {
        Write {
            user,
            group: RBAC,
            resource,
            subresource: "",
            namespace: "a",
            old: None,
            new: Some(new),
        }
    }

    #[test]
    fn a_role_may_hold_what_its_writer_holds() {
        let ann = Identity::user("ann", &[]);
        let role = |verb: &str| {
            json!({"metadata": {"name": "r"},
                "rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]})
        };
        assert!(check(&authorizer(), &write(&ann, "roles", &role("get"))).is_ok());
        let error = check(&authorizer(), &write(&ann, "roles", &role("delete"))).unwrap_err();
        assert_eq!(error.code, 403);
        assert!(error.message.contains("not currently held"), "{}", error.message);
    }

    #[test]
    fn a_binding_may_give_what_its_writer_holds() {
        let ann = Identity::user("ann", &[]);
        let binding = |role: &str| {
            let role = json!({"kind": "ClusterRole", "name": role});
            json!({"metadata": {"name": "b"}, "roleRef": role})
        };
        assert!(check(&authorizer(), &write(&ann, "rolebindings", &binding("small"))).is_ok());
        assert!(check(&authorizer(), &write(&ann, "rolebindings", &binding("big"))).is_err());
        let gone = check(&authorizer(), &write(&ann, "rolebindings", &binding("gone")));
        assert!(gone.unwrap_err().is_not_found());
        let root = Identity::user("root", &[MASTERS]);
        assert!(check(&authorizer(), &write(&root, "rolebindings", &binding("big"))).is_ok());
    }

    #[test]
    fn a_node_registers_itself_only() {
        let user = Identity::user("system:node:n1", &["system:nodes"]);
        let node = |name: &str| json!({"metadata": {"name": name}});
        let (own, other) = (node("n1"), node("n2"));
        let of = |new| Write { group: "", namespace: "", ..write(&user, "nodes", new) };
        assert!(check(&authorizer(), &of(&own)).is_ok());
        assert!(check(&authorizer(), &of(&other)).is_err());
    }
}
