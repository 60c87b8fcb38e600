//! Names, labels and annotations that controllers, members and users agree on.

/// Label on everything that the federation put into a member: `"true"`.
pub const MANAGED_LABEL: &str = "karmada.io/managed";
/// Label on Works, annotation on member objects: the uid of the binding that they come from.
pub const BINDING_ID_LABEL: &str = "resourcebinding.karmada.io/permanent-id";
/// Annotation on Works: the binding's namespace.
pub const BINDING_NAMESPACE: &str = "resourcebinding.karmada.io/namespace";
/// Annotation on Works: the binding's name.
pub const BINDING_NAME: &str = "resourcebinding.karmada.io/name";
/// Annotation on bindings: the namespace of the policy that claimed the template.
pub const POLICY_NAMESPACE: &str = "propagationpolicy.karmada.io/namespace";
/// Annotation on bindings: the name of the policy that claimed the template.
pub const POLICY_NAME: &str = "propagationpolicy.karmada.io/name";
/// Annotation on bindings: the cluster-wide policy that claimed the template.
pub const CLUSTER_POLICY_NAME: &str = "clusterpropagationpolicy.karmada.io/name";
/// Annotation on bindings: the placement that the decision was made for.
pub const APPLIED_PLACEMENT: &str = "policy.karmada.io/applied-placement";
/// Annotation on bindings: the decision with its reasons, see [`crate::decision::Decision`].
pub const DECISION: &str = "federation.hansa.dev/decision";
/// Annotation on member objects: the Work's namespace.
pub const WORK_NAMESPACE: &str = "work.karmada.io/namespace";
/// Annotation on member objects: the Work's name.
pub const WORK_NAME: &str = "work.karmada.io/name";
/// Annotation on member objects: the digest of the manifest that was applied last.
pub const APPLIED_DIGEST: &str = "federation.hansa.dev/applied";
/// Annotation on member objects: the resourceVersion that the Work had when it was applied last.
/// Greater than the Work's own, it tells a hub that was set back to an older state.
pub const APPLIED_REVISION: &str = "federation.hansa.dev/revision";
/// Annotation on member namespaces: `"true"` if they were there before the federation, which then
/// never deletes them.
pub const ADOPTED: &str = "federation.hansa.dev/adopted";
/// Annotation on templates and manifests: `overwrite` or `abort`.
pub const CONFLICT_RESOLUTION: &str = "work.karmada.io/conflict-resolution";
/// Annotation on Cluster: `"true"` lets the member leave with everything that it holds.
pub const ORPHAN: &str = "federation.hansa.dev/orphan";
/// Label on templates: `Always` forbids deletion.
pub const DELETION_PROTECTED: &str = "resourcetemplate.karmada.io/deletion-protected";
/// Label on templates: `"true"` leaves replicas to the members.
pub const RETAIN_REPLICAS: &str = "resourcetemplate.karmada.io/retain-replicas";
/// Label on namespaces: `"true"` keeps them out of members.
pub const SKIP_AUTO_PROPAGATION: &str = "namespace.karmada.io/skip-auto-propagation";
/// Finalizer of Cluster.
pub const CLUSTER_FINALIZER: &str = "karmada.io/cluster-controller";
/// Finalizer of Work.
pub const EXECUTION_FINALIZER: &str = "karmada.io/execution-controller";
/// Finalizer of bindings.
pub const BINDING_FINALIZER: &str = "karmada.io/binding-controller";
/// Taint of a member that answers, and says that it is not ready.
pub const TAINT_NOT_READY: &str = "cluster.karmada.io/not-ready";
/// Taint of a member that does not answer.
pub const TAINT_UNREACHABLE: &str = "cluster.karmada.io/unreachable";
/// Taint of a cordoned member.
pub const TAINT_UNSCHEDULABLE: &str = "cluster.karmada.io/unschedulable";
/// The field manager of server-side apply in members.
pub const FIELD_MANAGER: &str = "hansa-federation";
/// Where the federation's own objects are on the hub.
pub const SYSTEM_NAMESPACE: &str = "karmada-system";
/// Where the members' credentials are on the hub.
pub const CLUSTER_NAMESPACE: &str = "karmada-cluster";
/// What the namespaces of Works begin with.
pub const EXECUTION_PREFIX: &str = "karmada-es-";

/// The namespace of a member's Works.
pub fn execution_namespace(cluster: &str) -> String {
    format!("{EXECUTION_PREFIX}{cluster}")
}

/// The member whose Works a namespace holds, if it holds any.
pub fn cluster_of_execution_namespace(namespace: &str) -> Option<&str> {
    namespace.strip_prefix(EXECUTION_PREFIX).filter(|c| !c.is_empty())
}

/// The name of a template's binding.
pub fn binding_name(kind: &str, name: &str) -> String {
    format!("{}-{}", name.replace(':', "."), kind.to_lowercase())
}

/// The name of a template's Work, the same in every member.
pub fn work_name(api_version: &str, kind: &str, namespace: &str, name: &str) -> String {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let id = fnv32a(&[group, kind, namespace, name].join("/"));
    format!("{}-{id:08x}", name.replace(':', "."))
}

/// Whether a namespace is never propagated and nothing in it either.
pub fn is_reserved_namespace(namespace: &str) -> bool {
    namespace.starts_with("kube-") || namespace.starts_with("karmada-")
}

/// FNV-1a, 32 bits.
pub fn fnv32a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// FNV-1a, 64 bits: the digest of inputs and manifests, where nobody is to be convinced.
pub fn fnv64a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_names_tell_kinds_and_namespaces_apart() {
        let one = work_name("apps/v1", "Deployment", "shop", "web");
        assert!(one.starts_with("web-"));
        assert_ne!(one, work_name("apps/v1", "StatefulSet", "shop", "web"));
        assert_ne!(one, work_name("apps/v1", "Deployment", "other", "web"));
        assert_eq!(one, work_name("apps/v1beta1", "Deployment", "shop", "web"));
    }

    #[test]
    fn hashes_are_the_published_ones() {
        assert_eq!(fnv32a("foobar"), 0xbf9c_f968);
        assert_eq!(fnv64a("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn execution_namespaces_name_their_cluster() {
        let namespace = execution_namespace("eu-west");
        assert_eq!(cluster_of_execution_namespace(&namespace), Some("eu-west"));
        assert_eq!(cluster_of_execution_namespace("karmada-es-"), None);
        assert_eq!(cluster_of_execution_namespace("shop"), None);
    }
}
