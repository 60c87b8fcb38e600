//! The built-in kinds: one line each in [`table`], one file each for what is special about them.
//! CustomResourceDefinitions are in [`crate::crd`].

mod admissionregistration;
mod apiservice;
pub mod bootstrap;
mod cells;
mod certificatesigningrequest;
mod check;
mod conditions;
mod configmap;
mod controllerrevision;
mod cronjob;
mod csidriver;
mod csinode;
mod csistoragecapacity;
mod daemonset;
mod deployment;
mod devices;
mod endpoints;
mod endpointslice;
mod event;
mod flowcontrol;
mod horizontalpodautoscaler;
mod ingress;
mod ingressclass;
mod ipaddress;
mod job;
mod lease;
mod limitrange;
mod namespace;
mod networkpolicy;
mod node;
mod node_labels;
mod node_selector;
mod persistentvolume;
mod persistentvolumeclaim;
mod pod;
mod poddisruptionbudget;
mod podtemplate;
mod priorityclass;
mod provisioner;
mod quota_scopes;
mod rbac;
mod replicaset;
mod replicationcontroller;
mod resource_names;
mod resourcequota;
mod runtimeclass;
mod secret;
mod service;
mod serviceaccount;
mod servicecidr;
mod statefulset;
mod storageclass;
mod volume_source;
mod volumeattachment;
mod volumeattributesclass;
mod workload;

use admissionregistration as admission;

use crate::generic::catalog::Served;

pub(crate) use certificatesigningrequest::parse_request as parse_signing_request;
pub(crate) use flowcontrol::bootstrap as flow_bootstrap;
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
    let mut all = core_kinds(settings);
    all.extend(admission_kinds());
    all.extend(workload_kinds());
    all.extend(cluster_kinds(settings.service_range.is_loopback()));
    all.extend(device_and_flow_kinds());
    all.extend(network_and_storage_kinds());
    all
}

fn core_kinds(settings: &Settings) -> Vec<Served> {
    let Settings { service_range: addresses, node_ports } = *settings;
    let loopback = addresses.is_loopback();
    vec![
        Served::builtin(configmap::resource(), configmap::ConfigMaps),
        Served::builtin(endpoints::resource(), endpoints::EndpointsStrategy { loopback }),
        Served::builtin(event::resource(), event::Events { renamed: false }),
        Served::builtin(limitrange::resource(), limitrange::LimitRanges),
        Served::builtin(namespace::resource(), namespace::Namespaces),
        Served::builtin(node::resource(), node::Nodes),
        Served::builtin(
            persistentvolumeclaim::resource(),
            persistentvolumeclaim::PersistentVolumeClaims,
        ),
        Served::builtin(persistentvolume::resource(), persistentvolume::PersistentVolumes),
        Served::builtin(pod::resource(), pod::Pods),
        Served::builtin(podtemplate::resource(), podtemplate::PodTemplates),
        Served::builtin(
            replicationcontroller::resource(),
            replicationcontroller::ReplicationControllers,
        ),
        Served::builtin(resourcequota::resource(), resourcequota::ResourceQuotas),
        Served::builtin(secret::resource(), secret::Secrets),
        Served::builtin(serviceaccount::resource(), serviceaccount::ServiceAccounts),
        Served::builtin(service::resource(), service::Services { addresses, node_ports }),
    ]
}

fn admission_kinds() -> Vec<Served> {
    vec![
        Served::builtin(
            admission::policy::mutating(),
            admission::policy::Policies { mutating: true },
        ),
        Served::builtin(
            admission::binding::mutating(),
            admission::binding::PolicyBindings { mutating: true },
        ),
        Served::builtin(
            admission::webhook::mutating(),
            admission::webhook::Webhooks { mutating: true },
        ),
        Served::builtin(
            admission::policy::validating(),
            admission::policy::Policies { mutating: false },
        ),
        Served::builtin(
            admission::binding::validating(),
            admission::binding::PolicyBindings { mutating: false },
        ),
        Served::builtin(
            admission::webhook::validating(),
            admission::webhook::Webhooks { mutating: false },
        ),
        Served::builtin(apiservice::resource(), apiservice::ApiServices),
    ]
}

fn workload_kinds() -> Vec<Served> {
    vec![
        Served::builtin(controllerrevision::resource(), controllerrevision::ControllerRevisions),
        Served::builtin(daemonset::resource(), daemonset::DaemonSets),
        Served::builtin(deployment::resource(), deployment::Deployments),
        Served::builtin(replicaset::resource(), replicaset::ReplicaSets),
        Served::builtin(statefulset::resource(), statefulset::StatefulSets),
        Served::builtin(
            horizontalpodautoscaler::v1::resource(),
            horizontalpodautoscaler::v1::AutoscalersV1,
        ),
        Served::builtin(horizontalpodautoscaler::resource(), horizontalpodautoscaler::Autoscalers),
        Served::builtin(cronjob::resource(), cronjob::CronJobs),
        Served::builtin(job::resource(), job::Jobs),
    ]
}

fn cluster_kinds(loopback: bool) -> Vec<Served> {
    vec![
        Served::builtin(
            certificatesigningrequest::resource(),
            certificatesigningrequest::SigningRequests,
        ),
        Served::builtin(lease::resource(), lease::Leases),
        Served::builtin(endpointslice::resource(), endpointslice::EndpointSlices { loopback }),
        Served::builtin(event::resource_v1(), event::Events { renamed: true }),
        Served::builtin(poddisruptionbudget::resource(), poddisruptionbudget::PodDisruptionBudgets),
        Served::builtin(rbac::cluster_role_bindings(), rbac::Bindings { namespaced: false }),
        Served::builtin(rbac::cluster_roles(), rbac::Roles { namespaced: false }),
        Served::builtin(rbac::role_bindings(), rbac::Bindings { namespaced: true }),
        Served::builtin(rbac::roles(), rbac::Roles { namespaced: true }),
    ]
}

fn device_and_flow_kinds() -> Vec<Served> {
    vec![
        Served::builtin(devices::class::resource(), devices::class::Classes),
        Served::builtin(devices::claim::resource(), devices::claim::Claims),
        Served::builtin(devices::template::resource(), devices::template::Templates),
        Served::builtin(devices::slice::resource(), devices::slice::Slices),
        Served::builtin(priorityclass::resource(), priorityclass::PriorityClasses),
        Served::builtin(flowcontrol::flowschema::resource(), flowcontrol::flowschema::FlowSchemas),
        Served::builtin(
            flowcontrol::prioritylevel::resource(),
            flowcontrol::prioritylevel::PriorityLevels,
        ),
    ]
}

fn network_and_storage_kinds() -> Vec<Served> {
    vec![
        Served::builtin(ingressclass::resource(), ingressclass::IngressClasses),
        Served::builtin(ingress::resource(), ingress::Ingresses),
        Served::builtin(ipaddress::resource(), ipaddress::IpAddresses),
        Served::builtin(networkpolicy::resource(), networkpolicy::NetworkPolicies),
        Served::builtin(servicecidr::resource(), servicecidr::ServiceCidrs),
        Served::builtin(runtimeclass::resource(), runtimeclass::RuntimeClasses),
        Served::builtin(csidriver::resource(), csidriver::CsiDrivers),
        Served::builtin(csinode::resource(), csinode::CsiNodes),
        Served::builtin(csistoragecapacity::resource(), csistoragecapacity::CsiStorageCapacities),
        Served::builtin(storageclass::resource(), storageclass::StorageClasses),
        Served::builtin(volumeattachment::resource(), volumeattachment::VolumeAttachments),
        Served::builtin(
            volumeattributesclass::resource(),
            volumeattributesclass::VolumeAttributesClasses,
        ),
    ]
}

#[cfg(test)]
mod tests;
