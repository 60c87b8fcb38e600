//! Which groups and versions clients should prefer: upstream's figures for what is served here, an
//! APIService's own for what is served elsewhere.

/// A group's and a version's priority; higher ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Priority {
    /// `groupPriorityMinimum`.
    pub(crate) group: i64,
    /// `versionPriority`.
    pub(crate) version: i64,
}

const fn of(group: i64, version: i64) -> Priority {
    Priority { group, version }
}

/// Custom resources' groups, and whatever else upstream does not know.
pub(crate) const CUSTOM: Priority = of(1000, 100);

impl Priority {
    /// The priority of a group version that this server may have built in.
    pub(crate) fn builtin(group: &str, version: &str) -> Option<Self> {
        let group_priority = match group {
            "" => 18000,
            "apiregistration.k8s.io" => 20000,
            "apps" => 17800,
            "events.k8s.io" => 17750,
            "authentication.k8s.io" => 17700,
            "authorization.k8s.io" => 17600,
            "autoscaling" => 17500,
            "batch" => 17400,
            "certificates.k8s.io" => 17300,
            "networking.k8s.io" => 17200,
            "policy" => 17100,
            "rbac.authorization.k8s.io" => 17000,
            "storage.k8s.io" => 16800,
            "apiextensions.k8s.io" | "admissionregistration.k8s.io" => 16700,
            "scheduling.k8s.io" => 16600,
            "coordination.k8s.io" => 16500,
            "node.k8s.io" => 16300,
            "discovery.k8s.io" | "resource.k8s.io" => 16200,
            "flowcontrol.apiserver.k8s.io" => 16100,
            "internal.apiserver.k8s.io" => 16000,
            "storagemigration.k8s.io" => 15800,
            _ => return None,
        };
        Some(of(group_priority, version_priority(group, version)))
    }
}

fn version_priority(group: &str, version: &str) -> i64 {
    match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", "v1") => 21,
        ("resource.k8s.io", "v1beta2") | (_, "v1") => 15,
        ("admissionregistration.k8s.io", "v1beta1") => 12,
        ("coordination.k8s.io", "v1beta1") => 13,
        ("coordination.k8s.io", "v1alpha2") => 12,
        ("admissionregistration.k8s.io" | "internal.apiserver.k8s.io", "v1alpha1") => 9,
        (_, version) if version.contains("beta") => 9,
        ("scheduling.k8s.io", "v1alpha2") => 2,
        _ => 1,
    }
}
