//! What the hub may do in a member: the propagated types, nodes and pods to read, its own token to
//! renew, and nothing else.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Types that are propagated without asking: `group/plural`, the core group without a group.
pub const DEFAULT_TYPES: [&str; 20] = [
    "configmaps",
    "limitranges",
    "namespaces",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "serviceaccounts",
    "services",
    "apps/daemonsets",
    "apps/deployments",
    "apps/replicasets",
    "apps/statefulsets",
    "autoscaling/horizontalpodautoscalers",
    "batch/cronjobs",
    "batch/jobs",
    "networking.k8s.io/ingresses",
    "networking.k8s.io/networkpolicies",
    "policy/poddisruptionbudgets",
];

/// Whose rights these are.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The service account's namespace in the member.
    pub namespace: String,
    /// The service account.
    pub account: String,
}

impl Subject {
    /// The account of a member and a hub, named after both.
    pub fn new(namespace: &str, member: &str, hub: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let hub: String = hub.chars().map(plain).collect();
        Self { namespace: namespace.into(), account: format!("{member}-{}", hub.trim_matches('-')) }
    }
}

/// The member's side of a join: objects with their plurals, in the order in which they are made.
pub fn objects(subject: &Subject, types: &[String]) -> Vec<(&'static str, Value)> {
    let Subject { namespace, account } = subject;
    let role = format!("hansa-federation:{account}");
    let subjects = json!([{"kind": "ServiceAccount", "name": account, "namespace": namespace}]);
    let rbac = "rbac.authorization.k8s.io";
    let version = format!("{rbac}/v1");
    let reference = |kind: &str| json!({"apiGroup": rbac, "kind": kind, "name": role});
    let own = json!({"name": role, "namespace": namespace});
    vec![
        (
            "namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace}}),
        ),
        (
            "serviceaccounts",
            json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "automountServiceAccountToken": false,
            "metadata": {"name": account, "namespace": namespace}}),
        ),
        (
            "clusterroles",
            json!({"apiVersion": version, "kind": "ClusterRole",
            "metadata": {"name": role}, "rules": rules(types)}),
        ),
        (
            "clusterrolebindings",
            json!({"apiVersion": version, "kind": "ClusterRoleBinding",
            "metadata": {"name": role}, "roleRef": reference("ClusterRole"),
            "subjects": subjects}),
        ),
        (
            "roles",
            json!({"apiVersion": version, "kind": "Role", "metadata": own,
            "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"],
                "resourceNames": [account], "verbs": ["create"]}]}),
        ),
        (
            "rolebindings",
            json!({"apiVersion": version, "kind": "RoleBinding", "metadata": own,
            "roleRef": reference("Role"), "subjects": subjects}),
        ),
    ]
}

fn rules(types: &[String]) -> Value {
    let mut by_group: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for of in types {
        let (group, plural) = of.split_once('/').unwrap_or(("", of));
        let plurals = by_group.entry(group).or_default();
        if !plurals.contains(&plural) {
            plurals.push(plural);
        }
    }
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let mut rules: Vec<Value> = by_group
        .into_iter()
        .map(|(group, plurals)| json!({"apiGroups": [group], "resources": plurals, "verbs": verbs}))
        .collect();
    let reading = ["get", "list", "watch"];
    rules.push(json!({"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": reading}));
    let paths = ["/readyz", "/healthz", "/version", "/api", "/api/*", "/apis", "/apis/*"];
    rules.push(json!({"nonResourceURLs": paths, "verbs": ["get"]}));
    rules.into()
}

/// The hub's own roles: what the federation manager may do there.
pub fn hub_objects() -> Vec<(&'static str, Value)> {
    let user = "system:hansa:federation-manager";
    let rbac = "rbac.authorization.k8s.io";
    let version = format!("{rbac}/v1");
    let own = ["cluster.karmada.io", "policy.karmada.io", "work.karmada.io"];
    let writing = ["create", "update", "patch", "delete"];
    vec![
        (
            "clusterroles",
            json!({"apiVersion": version, "kind": "ClusterRole",
            "metadata": {"name": "hansa:federation-manager"},
            "rules": [
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": own, "resources": ["*"], "verbs": ["*"]},
                {"apiGroups": ["*"], "resources": ["*/status"], "verbs": ["update", "patch"]},
                {"apiGroups": ["*"], "resources": ["*/finalizers"], "verbs": ["update"]},
                {"apiGroups": [""], "resources": ["namespaces"], "verbs": writing},
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["update", "patch"]},
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": writing},
                {"apiGroups": ["", "events.k8s.io"], "resources": ["events"],
                    "verbs": ["create", "patch"]},
            ]}),
        ),
        (
            "clusterrolebindings",
            json!({"apiVersion": version, "kind": "ClusterRoleBinding",
            "metadata": {"name": "hansa:federation-manager"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole",
                "name": "hansa:federation-manager"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}]}),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted() -> String {
        let subject = Subject { namespace: "karmada-cluster".into(), account: "eu-league".into() };
        let types = ["configmaps".to_owned(), "example.com/widgets".to_owned()];
        let objects = objects(&subject, &types);
        objects.into_iter().map(|(_, object)| object.to_string()).collect()
    }

    #[test]
    fn nothing_is_granted_wholesale() {
        let text = granted();
        for excess in [r#""*""#, "escalate", "impersonate", "clusterroles\"]"] {
            assert!(!text.contains(excess), "{excess}");
        }
        assert!(text.contains("widgets"));
    }

    #[test]
    fn only_its_own_token_can_be_renewed() {
        assert!(granted().contains(r#""resourceNames":["eu-league"]"#));
    }
}
