//! NodeRestriction: a kubelet writes its own Node, Lease and CSINode, the status of its pods, and
//! nothing that would bring it other people's secrets or workloads.
//!
//! What it may reach at all is the node authorizer's business (`authz::node`); here is what the
//! objects that it sends may say. Tokens for its pods are checked where they are made.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, bool_at, list_at, str_at};
use serde_json::{Map, Value};

use super::{forbidden, lookup};
use crate::authz::node::node_of;
use crate::generic::admit::{Admission, Attributes, Operation};

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASES: &str = "kube-node-lease";
/// Labels of the Kubernetes domains that a kubelet may set on its own Node.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// Label domains, with all below them, that a kubelet may use.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The label domain, with all below it, that is there to be closed to kubelets.
const CLOSED_DOMAIN: &str = "node-restriction.kubernetes.io";

pub(super) struct NodeRestriction;

#[async_trait]
impl Admission for NodeRestriction {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        node_of(&attrs.ctx.user).is_some()
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        let Some(node) = node_of(&attrs.ctx.user) else { return Ok(()) };
        let verdict = match (&*attrs.resource.group, &*attrs.resource.plural) {
            ("", "pods") => return pod(attrs, obj, node).await,
            ("", "nodes") => own_node(attrs, obj, node),
            ("", "persistentvolumeclaims") => claim(attrs, obj, node),
            ("coordination.k8s.io", "leases") if namespace(attrs, obj) != LEASES => {
                Err(format!("can only access leases in the {LEASES:?} system namespace"))
            }
            ("coordination.k8s.io", "leases") => same_name(attrs, obj, node, "node lease"),
            ("storage.k8s.io", "csinodes") => same_name(attrs, obj, node, "CSINode"),
            ("resource.k8s.io", "resourceslices") => slice(attrs, obj, node),
            _ => Ok(()),
        };
        verdict.map_err(|why| refuse(attrs, obj, why))
    }
}

type Verdict = Result<(), String>;

fn refuse(attrs: &Attributes<'_>, obj: Option<&Value>, why: String) -> ApiError {
    forbidden(attrs, obj.or(attrs.old).unwrap_or(&Value::Null), why)
}

/// The name in the path, or of the object that is created.
fn name<'a>(attrs: &'a Attributes<'_>, obj: Option<&'a Value>) -> &'a str {
    match attrs.ctx.name.as_str() {
        "" => obj.or(attrs.old).map(meta::name).unwrap_or_default(),
        name => name,
    }
}

fn namespace<'a>(attrs: &'a Attributes<'_>, obj: Option<&'a Value>) -> &'a str {
    match attrs.ctx.namespace.as_str() {
        "" => obj.or(attrs.old).map(meta::namespace).unwrap_or_default(),
        namespace => namespace,
    }
}

fn same_name(attrs: &Attributes<'_>, obj: Option<&Value>, node: &str, what: &str) -> Verdict {
    match name(attrs, obj) == node {
        true => Ok(()),
        false => Err(format!("can only access {what} with the same name as the requesting node")),
    }
}

async fn pod(attrs: &Attributes<'_>, obj: Option<&Value>, node: &str) -> Result<(), ApiError> {
    let verdict = match (attrs.ctx.subresource.as_str(), attrs.operation, obj) {
        ("", Operation::Create, Some(pod)) => {
            let known = lookup::find(attrs, "", "nodes", "", node).await?;
            let Some(known) = known else { return Err(no_node(node)) };
            mirror(pod, node, meta::uid(&known))
        }
        ("", Operation::Delete, _) => {
            runs_here(attrs.old, node, "delete pods with spec.nodeName set to itself")
        }
        ("", operation, _) => Err(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            operation.as_str()
        )),
        ("status", Operation::Update, Some(pod)) => pod_status(attrs.old, pod, node),
        ("eviction", Operation::Create, _) => {
            let pod = lookup::find(attrs, "", "pods", &attrs.ctx.namespace, &attrs.ctx.name);
            let pod = pod.await?;
            runs_here(pod.as_deref(), node, "evict pods with spec.nodeName set to itself")
        }
        ("status" | "eviction", operation, _) => {
            Err(format!("unexpected operation {:?}", operation.as_str()))
        }
        (other, ..) => Err(format!(
            "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
        )),
    };
    verdict.map_err(|why| refuse(attrs, obj, why))
}

fn no_node(node: &str) -> ApiError {
    let nodes = hansa_api::gvk::GroupResource::new("", "nodes");
    ApiError::not_found(&nodes, node)
}

fn runs_here(pod: Option<&Value>, node: &str, what: &str) -> Verdict {
    match pod.is_none_or(|pod| str_at(pod, &["spec", "nodeName"]) == node) {
        true => Ok(()),
        false => Err(format!("node {node:?} can only {what}")),
    }
}

/// A mirror pod stands for a static pod of the node: it belongs to the Node and names no other object.
fn mirror(pod: &Value, node: &str, node_uid: &str) -> Verdict {
    let refused = |what: &str| Err(format!("node {node:?} can only create {what}"));
    if meta::annotation(pod, MIRROR).is_none() {
        return Err(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    runs_here(Some(pod), node, "create pods with spec.nodeName set to itself")?;
    let owner = match meta::owner_references(pod) {
        [owner] => owner,
        [] => return refused("pods with an owner reference set to itself"),
        _ => return refused("pods with a single owner reference set to itself"),
    };
    if (&owner["apiVersion"], &owner["kind"], &owner["name"])
        != (&"v1".into(), &"Node".into(), &node.into())
    {
        return refused("pods with an owner reference set to itself");
    }
    if !bool_at(owner, &["controller"]) {
        return refused("pods with a controller owner reference set to itself");
    }
    if bool_at(owner, &["blockOwnerDeletion"]) {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let uid = str_at(owner, &["uid"]);
    if uid != node_uid {
        return Err(format!("node {node} UID mismatch: expected {uid} got {node_uid}"));
    }
    match references(&pod["spec"]) {
        Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// What other objects of the API a pod's spec names.
fn references(spec: &Value) -> Option<&'static str> {
    if !str_at(spec, &["serviceAccountName"]).is_empty() {
        return Some("serviceaccounts");
    }
    if !list_at(spec, &["resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    let sources = list_at(spec, &["volumes"]).iter().flat_map(|volume| {
        let projected = list_at(volume, &["projected", "sources"]).iter();
        projected.chain([volume])
    });
    let kinds = [
        ("secret", "secrets"),
        ("configMap", "configmaps"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("serviceAccountToken", "serviceaccounts"),
        ("clusterTrustBundle", "clustertrustbundles"),
        ("podCertificate", "podcertificates"),
        ("ephemeral", "persistentvolumeclaims"),
    ];
    let named = |source: &Value| {
        kinds.iter().find(|(field, _)| !source[*field].is_null()).map(|(_, what)| *what)
    };
    let volumes = sources.into_iter().find_map(named);
    let secrets = !list_at(spec, &["imagePullSecrets"]).is_empty();
    volumes.or_else(|| secrets.then_some("secrets")).or_else(|| environment(spec))
}

fn environment(spec: &Value) -> Option<&'static str> {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let containers = lists.iter().flat_map(|list| list_at(spec, &[list]));
    let sources = containers.flat_map(|container| {
        let from = list_at(container, &["envFrom"]).iter();
        from.chain(list_at(container, &["env"]).iter().map(|env| &env["valueFrom"]))
    });
    sources.into_iter().find_map(|source| {
        let has = |field: &str| !source[field].is_null();
        match () {
            () if has("secretRef") || has("secretKeyRef") => Some("secrets"),
            () if has("configMapRef") || has("configMapKeyRef") => Some("configmaps"),
            () => None,
        }
    })
}

fn pod_status(old: Option<&Value>, new: &Value, node: &str) -> Verdict {
    let Some(old) = old else { return Ok(()) };
    runs_here(Some(old), node, "update pod status for pods with spec.nodeName set to itself")?;
    let cannot = |what: &str| Err(format!("node {node:?} cannot update {what}"));
    if !same_map(meta::labels(old), meta::labels(new)) {
        return cannot("labels through pod status");
    }
    let field = |pod: &Value, name: &str| pod["status"][name].clone();
    if list_at(old, &["status", "resourceClaimStatuses"])
        != list_at(new, &["status", "resourceClaimStatuses"])
    {
        return cannot("resource claim statues");
    }
    let extended = "extendedResourceClaimStatus";
    match field(old, extended) == field(new, extended) {
        true => Ok(()),
        false => cannot("extended resource claim status"),
    }
}

fn same_map(a: Option<&Map<String, Value>>, b: Option<&Map<String, Value>>) -> bool {
    let none = Map::new();
    a.unwrap_or(&none) == b.unwrap_or(&none)
}

/// A claim's capacity and conditions are a kubelet's to write: it grows file systems.
fn claim(attrs: &Attributes<'_>, obj: Option<&Value>, node: &str) -> Verdict {
    if attrs.ctx.subresource != "status" {
        return Err("may only update PVC status".into());
    }
    let (Operation::Update, Some(old), Some(new)) = (attrs.operation, attrs.old, obj) else {
        return Err(format!("unexpected operation {:?}", attrs.operation.as_str()));
    };
    match rest_of(old) == rest_of(new) {
        true => Ok(()),
        false => Err(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and \
             status.conditions"
        )),
    }
}

fn rest_of(claim: &Value) -> Value {
    let mut claim = claim.clone();
    let metadata = meta::metadata_mut(&mut claim);
    metadata.remove("resourceVersion");
    metadata.remove("managedFields");
    let status = meta::fields_mut(&mut claim, &["status"]);
    for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
        status.remove(field);
    }
    claim
}

fn slice(attrs: &Attributes<'_>, obj: Option<&Value>, node: &str) -> Verdict {
    let slice = match attrs.operation {
        Operation::Create => obj,
        Operation::Delete => attrs.old,
        _ => return Ok(()),
    };
    match slice.is_none_or(|slice| str_at(slice, &["spec", "nodeName"]) == node) {
        true => Ok(()),
        false if attrs.operation == Operation::Create => {
            Err("can only create ResourceSlice with the same NodeName as the requesting node"
                .into())
        }
        false => {
            Err("can only delete ResourceSlice with the same NodeName as the requesting node"
                .into())
        }
    }
}

fn own_node(attrs: &Attributes<'_>, obj: Option<&Value>, node: &str) -> Verdict {
    let asked = name(attrs, obj);
    if asked != node {
        return Err(format!("node {node:?} is not allowed to modify node {asked:?}"));
    }
    match (attrs.operation, obj) {
        (Operation::Create, Some(new)) => registration(new, node),
        (Operation::Update, Some(new)) => node_update(attrs.old.unwrap_or(&Value::Null), new, node),
        _ => Ok(()),
    }
}

fn registration(new: &Value, node: &str) -> Verdict {
    if !new["spec"]["configSource"].is_null() {
        return Err(format!(
            "node {node:?} is not allowed to create pods with a non-nil configSource"
        ));
    }
    match closed_labels(&Value::Null, new).as_slice() {
        [] => Ok(()),
        labels => Err(format!(
            "node {node:?} is not allowed to set the following labels: {}",
            labels.join(", ")
        )),
    }
}

fn node_update(old: &Value, new: &Value, node: &str) -> Verdict {
    let not_allowed = |what: &str| Err(format!("node {node:?} is not allowed to {what}"));
    let source = &new["spec"]["configSource"];
    if !source.is_null() && *source != old["spec"]["configSource"] {
        return not_allowed("update configSource to a new non-nil configSource");
    }
    if list_at(old, &["spec", "taints"]) != list_at(new, &["spec", "taints"]) {
        return not_allowed("modify taints");
    }
    if meta::owner_references(old) != meta::owner_references(new) {
        return not_allowed("modify ownerReferences");
    }
    match closed_labels(old, new).as_slice() {
        [] => Ok(()),
        labels => Err(format!("is not allowed to modify labels: {}", labels.join(", "))),
    }
}

/// Labels that differ between the two and that no kubelet may change, in order.
fn closed_labels(old: &Value, new: &Value) -> Vec<String> {
    let none = Map::new();
    let (old, new) = (meta::labels(old).unwrap_or(&none), meta::labels(new).unwrap_or(&none));
    let mut changed: Vec<&String> =
        old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key)).collect();
    changed.sort_unstable();
    changed.dedup();
    changed.into_iter().filter(|key| is_closed(key)).cloned().collect()
}

fn is_closed(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |above: &str| {
        let below = domain.strip_suffix(above);
        below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
    };
    let of_kubernetes = within("kubernetes.io") || within("k8s.io");
    let own = OWN_LABELS.contains(&label) || OWN_DOMAINS.iter().any(|domain| within(domain));
    within(CLOSED_DOMAIN) || (of_kubernetes && !own)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kubelet_labels_its_node_with_what_is_its_own() {
        let open = ["a", "example.com/b", "kubernetes.io/os", "x.node.kubernetes.io/y"];
        let closed = [
            "kubernetes.io/c",
            "x.k8s.io/d",
            "node-restriction.kubernetes.io/e",
            "x.node-restriction.kubernetes.io/f",
        ];
        assert!(open.iter().all(|label| !is_closed(label)));
        assert!(closed.iter().all(|label| is_closed(label)));
        let labels = |labels: Value| json!({"metadata": {"labels": labels}});
        let (old, new) = (labels(json!({"x.k8s.io/d": "1"})), labels(json!({"a": "1"})));
        assert_eq!(closed_labels(&old, &new), ["x.k8s.io/d"]);
        assert_eq!(closed_labels(&old, &old), Vec::<String>::new());
    }

    #[test]
    fn a_kubelet_does_not_take_off_what_keeps_pods_away() {
        let node = |taints: Value| json!({"spec": {"taints": taints}});
        let tainted = node(json!([{"key": "a", "effect": "NoSchedule"}]));
        assert!(node_update(&tainted, &tainted, "n").is_ok());
        let error = node_update(&tainted, &node(json!([])), "n").unwrap_err();
        assert_eq!(error, "node \"n\" is not allowed to modify taints");
    }

    fn mirror_pod() -> Value {
        json!({
            "metadata": {"annotations": {MIRROR: "x"}, "ownerReferences": [{
                "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}]},
            "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
        })
    }

    #[test]
    fn a_mirror_pod_belongs_to_its_node_and_names_nothing_else() {
        assert_eq!(mirror(&mirror_pod(), "n", "u"), Ok(()));
        let cases: [(&[&str], Value, &str); 6] = [
            (&["metadata"], json!({}), "can only create mirror pods"),
            (&["spec", "nodeName"], json!("m"), "spec.nodeName set to itself"),
            (&["metadata", "ownerReferences"], json!([]), "with an owner reference"),
            (&["spec", "serviceAccountName"], json!("root"), "reference serviceaccounts"),
            (&["spec", "volumes"], json!([{"secret": {}}]), "reference secrets"),
            (
                &["spec", "containers"],
                json!([{"envFrom": [{"configMapRef": {}}]}]),
                "reference configmaps",
            ),
        ];
        for (path, value, why) in cases {
            let mut pod = mirror_pod();
            let (last, above) = path.split_last().unwrap();
            meta::fields_mut(&mut pod, above).insert((*last).into(), value);
            let error = mirror(&pod, "n", "u").unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(mirror(&mirror_pod(), "n", "other").unwrap_err().contains("UID mismatch"));
    }

    #[test]
    fn a_status_relabels_no_pod_and_is_of_a_pod_of_the_node() {
        let pod = |node: &str, labels: Value| json!({"metadata": {"labels": labels}, "spec": {"nodeName": node}});
        let old = pod("n", json!({"a": "b"}));
        assert_eq!(pod_status(Some(&old), &old, "n"), Ok(()));
        assert!(pod_status(Some(&old), &pod("n", json!({})), "n").unwrap_err().contains("labels"));
        assert!(pod_status(Some(&old), &old, "m").unwrap_err().contains("set to itself"));
    }

    #[test]
    fn of_a_claim_only_its_size_and_conditions_are_a_kubelets() {
        let old = json!({"metadata": {"resourceVersion": "1"}, "status": {"phase": "Bound"}});
        let mut new = old.clone();
        new["metadata"]["resourceVersion"] = json!("2");
        new["status"]["capacity"] = json!({"storage": "1Gi"});
        assert_eq!(rest_of(&old), rest_of(&new));
        new["status"]["phase"] = json!("Lost");
        assert_ne!(rest_of(&old), rest_of(&new));
    }
}
