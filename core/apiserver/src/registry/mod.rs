//! The built-in kinds: one line each in [`table`], one file each for what is special about them.
//! CustomResourceDefinitions are in [`crate::crd`].

mod apiservice;
pub mod bootstrap;
mod cells;
mod check;
mod configmap;
mod controllerrevision;
mod cronjob;
mod daemonset;
mod deployment;
mod endpoints;
mod endpointslice;
mod event;
mod job;
mod lease;
mod limitrange;
mod namespace;
mod node;
mod pod;
mod poddisruptionbudget;
mod priorityclass;
mod rbac;
mod replicaset;
mod replicationcontroller;
mod resourcequota;
mod secret;
mod service;
mod serviceaccount;
mod statefulset;
mod volume;
mod webhook;
mod workload;

use crate::generic::catalog::Served;
use crate::generic::resource::Resource;
use crate::generic::strategy::Plain;

pub use service::AddressRange;

/// What the built-in kinds must know of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where ClusterIPs come from (`--service-cluster-ip-range`). If it is loopback, so may
    /// endpoints be.
    pub service_range: AddressRange,
    /// Where node ports come from, both ends included (`--service-node-port-range`).
    pub node_ports: (u16, u16),
}

/// Node ports as upstream has them by default.
pub const NODE_PORTS: (u16, u16) = (30000, 32767);

/// Every built-in resource, in the order of discovery within its group.
pub fn table(settings: &Settings) -> Vec<Served> {
    let Settings { service_range: addresses, node_ports } = *settings;
    let loopback = addresses.is_loopback();
    let mut table = vec![
        Served::builtin(configmap::resource(), configmap::ConfigMaps),
        Served::builtin(endpoints::resource(), endpoints::EndpointsStrategy { loopback }),
        Served::builtin(event::resource(), event::Events { renamed: false }),
        Served::builtin(limitrange::resource(), limitrange::LimitRanges),
        Served::builtin(namespace::resource(), namespace::Namespaces),
        Served::builtin(node::resource(), node::Nodes),
        Served::builtin(volume::claims(), volume::Claims),
        Served::builtin(volume::volumes(), volume::Volumes),
        Served::builtin(pod::resource(), pod::Pods),
        Served::builtin(
            replicationcontroller::resource(),
            replicationcontroller::ReplicationControllers,
        ),
        Served::builtin(resourcequota::resource(), resourcequota::ResourceQuotas),
        Served::builtin(secret::resource(), secret::Secrets),
        Served::builtin(serviceaccount::resource(), serviceaccount::ServiceAccounts),
        Served::builtin(service::resource(), service::Services { addresses, node_ports }),
        Served::builtin(webhook::mutating(), webhook::Webhooks { mutating: true }),
        Served::builtin(webhook::validating(), webhook::Webhooks { mutating: false }),
        Served::builtin(apiservice::resource(), apiservice::ApiServices),
        Served::builtin(controllerrevision::resource(), controllerrevision::ControllerRevisions),
        Served::builtin(daemonset::resource(), daemonset::DaemonSets),
        Served::builtin(deployment::resource(), deployment::Deployments),
        Served::builtin(replicaset::resource(), replicaset::ReplicaSets),
        Served::builtin(statefulset::resource(), statefulset::StatefulSets),
        Served::builtin(cronjob::resource(), cronjob::CronJobs),
        Served::builtin(job::resource(), job::Jobs),
        Served::builtin(lease::resource(), lease::Leases),
        Served::builtin(endpointslice::resource(), endpointslice::EndpointSlices { loopback }),
        Served::builtin(event::resource_v1(), event::Events { renamed: true }),
        Served::builtin(poddisruptionbudget::resource(), poddisruptionbudget::PodDisruptionBudgets),
        Served::builtin(rbac::cluster_role_bindings(), rbac::Bindings { namespaced: false }),
        Served::builtin(rbac::cluster_roles(), rbac::Roles { namespaced: false }),
        Served::builtin(rbac::role_bindings(), rbac::Bindings { namespaced: true }),
        Served::builtin(rbac::roles(), rbac::Roles { namespaced: true }),
        Served::builtin(priorityclass::resource(), priorityclass::PriorityClasses),
        Served::builtin(volume::classes(), volume::Classes),
    ];
    table.extend(plain().into_iter().map(|resource| Served::builtin(resource, Plain)));
    table
}

/// Kinds that are kept and have no rules of their own yet.
fn plain() -> Vec<Resource> {
    let networking = |kind, plural| Resource::new("networking.k8s.io", "v1", kind, plural);
    vec![
        Resource::new("", "v1", "PodTemplate", "podtemplates").namespaced(),
        Resource::new(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
        )
        .short(&["csr"])
        .status(),
        networking("Ingress", "ingresses").namespaced().short(&["ing"]).status(),
        networking("IngressClass", "ingressclasses"),
        networking("NetworkPolicy", "networkpolicies").namespaced().short(&["netpol"]),
        Resource::new("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses"),
        Resource::new("storage.k8s.io", "v1", "CSIDriver", "csidrivers"),
        Resource::new("storage.k8s.io", "v1", "CSINode", "csinodes"),
        Resource::new("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments").status(),
        Resource::new("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
            .namespaced()
            .short(&["hpa"])
            .categories(&["all"])
            .status(),
    ]
}

#[cfg(test)]
mod tests;
