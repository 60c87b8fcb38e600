//! What a kubelet may touch: its own Node and Lease, its pods, and what those pods refer to.
//!
//! The rules are the node authorizer's; what a node may *write into* objects is checked in admission
//! (`admission::node_restriction`).

use std::sync::LazyLock;

use hansa_api::meta;
use serde_json::Value;

use super::rules::{Rule, rules_of};
use super::{Attributes, Decision, bootstrap};
use crate::authn::Identity;
use crate::objects::Objects;

/// The group of all kubelets.
pub const NODES: &str = "system:nodes";
const PREFIX: &str = "system:node:";

static NODE_RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let role =
        bootstrap::cluster_roles().into_iter().find(|role| meta::name(role) == "system:node");
    role.as_ref().map(rules_of).unwrap_or_default()
});

/// The node's name, if the user is a kubelet.
pub fn node_of(user: &Identity) -> Option<&str> {
    let name = user.name.strip_prefix(PREFIX)?;
    (user.in_group(NODES) && !name.is_empty()).then_some(name)
}

/// Decides on a kubelet's request.
pub async fn authorize(node: &str, attrs: &Attributes<'_>, objects: &dyn Objects) -> Decision {
    if !attrs.is_resource || !NODE_RULES.iter().any(|rule| rule.allows(attrs)) {
        return Decision::Deny(String::new());
    }
    let verdict = match (attrs.group, attrs.resource) {
        ("", "nodes") => own_node(node, attrs),
        ("", "pods") => own_pods(node, attrs, objects).await,
        ("", "secrets" | "configmaps" | "serviceaccounts") => {
            referenced(node, attrs, objects).await
        }
        ("coordination.k8s.io", "leases") => own_lease(node, attrs),
        _ => Ok(()),
    };
    match verdict {
        Ok(()) => Decision::Allow(String::new()),
        Err(reason) => Decision::Deny(reason.to_string()),
    }
}

type Verdict = Result<(), &'static str>;

fn allow_if(allowed: bool, otherwise: &'static str) -> Verdict {
    if allowed { Ok(()) } else { Err(otherwise) }
}

/// Creation carries its name in the body, where NodeRestriction looks.
fn own_node(node: &str, attrs: &Attributes<'_>) -> Verdict {
    let own = attrs.verb == "create" || attrs.name == node;
    allow_if(own, "node may only access its own Node object")
}

fn own_lease(node: &str, attrs: &Attributes<'_>) -> Verdict {
    let place = attrs.namespace == "kube-node-lease";
    allow_if(place, "can only access leases in the \"kube-node-lease\" system namespace")?;
    let own = attrs.verb == "create" || attrs.name == node;
    allow_if(own, "can only access node lease with the same name as the requesting node")
}

async fn own_pods(node: &str, attrs: &Attributes<'_>, objects: &dyn Objects) -> Verdict {
    match attrs.verb {
        "create" if attrs.subresource.is_empty() => Ok(()),
        "list" | "watch" => allow_if(
            selects_node(attrs.field_selector, node),
            "can only list/watch pods with spec.nodeName field selector",
        ),
        _ => {
            let pod = objects.get("pods", attrs.namespace, attrs.name).await;
            // A pod that is gone may be asked for: the answer is 404, not 403.
            let own = pod.is_none_or(|pod| runs_on(&pod, node));
            allow_if(own, "no relationship found between node and this object")
        }
    }
}

fn selects_node(selector: &str, node: &str) -> bool {
    selector
        .split(',')
        .filter_map(|term| term.split_once('='))
        .any(|(field, value)| field == "spec.nodeName" && value.trim_start_matches('=') == node)
}

fn runs_on(pod: &Value, node: &str) -> bool {
    meta::str_at(pod, &["spec", "nodeName"]) == node
}

async fn referenced(node: &str, attrs: &Attributes<'_>, objects: &dyn Objects) -> Verdict {
    const NO_RELATION: &str = "no relationship found between node and this object";
    allow_if(!attrs.name.is_empty(), "can only read resources of this type by name")?;
    let pods = objects.pods_on(node, attrs.namespace).await;
    let needed = pods.iter().any(|pod| refers_to(pod, attrs.resource, attrs.name));
    allow_if(needed, NO_RELATION)
}

/// Whether a pod's spec names a Secret, ConfigMap or ServiceAccount.
pub fn refers_to(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    match resource {
        "serviceaccounts" => meta::str_at(spec, &["serviceAccountName"]) == name,
        "secrets" => {
            mentions(spec, &["secretKeyRef", "secretRef", "secret"], name) || pulls(spec, name)
        }
        "configmaps" => mentions(spec, &["configMapKeyRef", "configMapRef", "configMap"], name),
        _ => false,
    }
}

fn pulls(spec: &Value, name: &str) -> bool {
    meta::list_at(spec, &["imagePullSecrets"]).iter().any(|secret| secret["name"] == name)
}

/// Whether anywhere in the tree one of these fields has this `name` (or `secretName`).
fn mentions(value: &Value, fields: &[&str], name: &str) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(field, inner)| {
            let named = inner["name"] == name || inner["secretName"] == name;
            (fields.contains(&field.as_str()) && named) || mentions(inner, fields, name)
        }),
        Value::Array(list) => list.iter().any(|inner| mentions(inner, fields, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::objects::fake::FakeObjects;
    use crate::request_info::RequestInfo;

    async fn may(objects: &FakeObjects, method: &str, uri: &str) -> bool {
        let user = Identity::user("system:node:n1", &[NODES]);
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        let uri: http::Uri = uri.parse().unwrap();
        let info = RequestInfo::parse(&method, &uri);
        let query = uri.query().unwrap_or_default();
        let selector = crate::request_info::query_value(query, "fieldSelector").unwrap_or_default();
        let attrs = Attributes { field_selector: &selector, ..Attributes::of(&user, &info) };
        authorize("n1", &attrs, objects).await.is_allowed()
    }

    fn objects() -> FakeObjects {
        let objects = FakeObjects::default();
        let pod = |name: &str, node: &str, secret: &str| {
            json!({
                "metadata": {"namespace": "a", "name": name},
                "spec": {"nodeName": node, "serviceAccountName": "till", "volumes": [
                    {"name": "v", "secret": {"secretName": secret}},
                    {"name": "w", "projected": {"sources": [{"configMap": {"name": "ca"}}]}},
                ]},
            })
        };
        objects.put("pods", pod("mine", "n1", "tls"));
        objects.put("pods", pod("theirs", "n2", "other"));
        objects
    }

    #[tokio::test]
    async fn a_node_reads_what_its_pods_name_and_nothing_else() {
        let objects = objects();
        assert!(may(&objects, "GET", "/api/v1/namespaces/a/secrets/tls").await);
        assert!(may(&objects, "GET", "/api/v1/namespaces/a/configmaps/ca").await);
        assert!(may(&objects, "POST", "/api/v1/namespaces/a/serviceaccounts/till/token").await);
        assert!(!may(&objects, "GET", "/api/v1/namespaces/a/secrets/other").await);
        assert!(!may(&objects, "GET", "/api/v1/namespaces/a/secrets").await);
        assert!(!may(&objects, "GET", "/api/v1/namespaces/b/secrets/tls").await);
        assert!(!may(&objects, "POST", "/api/v1/namespaces/a/serviceaccounts/root/token").await);
    }

    #[tokio::test]
    async fn a_node_writes_its_own_status_lease_and_pods() {
        let objects = objects();
        assert!(may(&objects, "PATCH", "/api/v1/nodes/n1/status").await);
        assert!(!may(&objects, "PATCH", "/api/v1/nodes/n2/status").await);
        let leases = "/apis/coordination.k8s.io/v1/namespaces";
        assert!(may(&objects, "PUT", &format!("{leases}/kube-node-lease/leases/n1")).await);
        assert!(!may(&objects, "PUT", &format!("{leases}/kube-node-lease/leases/n2")).await);
        assert!(!may(&objects, "PUT", &format!("{leases}/kube-system/leases/n1")).await);
        assert!(may(&objects, "PATCH", "/api/v1/namespaces/a/pods/mine/status").await);
        assert!(!may(&objects, "PATCH", "/api/v1/namespaces/a/pods/theirs/status").await);
    }

    #[tokio::test]
    async fn a_node_watches_its_own_pods_only() {
        let objects = objects();
        assert!(
            may(&objects, "GET", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1").await
        );
        assert!(
            !may(&objects, "GET", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn2").await
        );
        assert!(!may(&objects, "GET", "/api/v1/pods?watch=1").await);
    }
}
