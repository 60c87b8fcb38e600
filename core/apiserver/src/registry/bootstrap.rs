//! The objects that a new cluster starts with.

use serde_json::{Value, json};

use super::AddressRange;
use super::flow_bootstrap as flow;
use super::priorityclass::SYSTEM;
use crate::authn::request_header::ALLOWED_NAMES;
use crate::server::FrontProxy;

/// Namespaces that always exist.
pub const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// One object and where it belongs.
#[derive(Clone, Debug)]
pub struct Seed {
    /// API group.
    pub group: &'static str,
    /// Plural.
    pub plural: &'static str,
    /// The object.
    pub object: Value,
}

/// Flow schemas and priority levels, levels first.
pub fn flow_control() -> Vec<Seed> {
    let group = "flowcontrol.apiserver.k8s.io";
    let seed = |plural| move |object| Seed { group, plural, object };
    let levels = flow::levels().into_iter().map(seed("prioritylevelconfigurations"));
    levels.chain(flow::schemas().into_iter().map(seed("flowschemas"))).collect()
}

/// The ServiceCIDR of the range that the server was started with, and the status that it has.
pub fn service_cidr(cidr: &str) -> Seed {
    Seed {
        group: "networking.k8s.io",
        plural: "servicecidrs",
        object: json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": [cidr]},
            "status": {"conditions": [{
                "type": "Ready",
                "status": "True",
                "reason": "",
                "message": "Kubernetes default Service CIDR is ready",
                "lastTransitionTime": hansa_api::time::now(),
            }]},
        }),
    }
}

/// Namespaces and priority classes; to be created where they are missing.
pub fn seeds() -> Vec<Seed> {
    let namespaces = NAMESPACES.iter().map(|name| Seed {
        group: "",
        plural: "namespaces",
        object: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
    });
    namespaces.chain(SYSTEM.iter().map(priority_class)).collect()
}

fn priority_class((name, value): &(&'static str, i64)) -> Seed {
    let what = match *name {
        "system-node-critical" => "For pods without which their node does not work.",
        _ => "For pods without which the cluster does not work.",
    };
    Seed {
        group: "scheduling.k8s.io",
        plural: "priorityclasses",
        object: json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": what,
            "preemptionPolicy": "PreemptLowerPriority",
        }),
    }
}

/// The ConfigMap by which aggregated servers know whose certificates and headers to believe.
pub fn authentication(front_proxy: &FrontProxy) -> Value {
    let text = |pem: &[u8]| String::from_utf8_lossy(pem).into_owned();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": text(&front_proxy.client_ca_pem),
            "requestheader-client-ca-file": text(&front_proxy.ca_pem),
            "requestheader-allowed-names": json!(ALLOWED_NAMES).to_string(),
            "requestheader-username-headers": r#"["X-Remote-User"]"#,
            "requestheader-uid-headers": r#"["X-Remote-Uid"]"#,
            "requestheader-group-headers": r#"["X-Remote-Group"]"#,
            "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
        },
    })
}

/// The Service `default/kubernetes`: the API server at the first address of the range.
pub fn kubernetes_service(range: &AddressRange, port: u16) -> Seed {
    Seed {
        group: "",
        plural: "services",
        object: json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "clusterIP": range.at(0).to_string(),
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
                "sessionAffinity": "None",
                "type": "ClusterIP",
            },
        }),
    }
}

/// The endpoint behind [`kubernetes_service`], as `Endpoints` and as `EndpointSlice`.
pub fn kubernetes_endpoints(address: &str, port: u16) -> [Seed; 2] {
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": address}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    });
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    [
        Seed { group: "", plural: "endpoints", object: endpoints },
        Seed { group: "discovery.k8s.io", plural: "endpointslices", object: slice },
    ]
}
