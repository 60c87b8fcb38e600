//! Who the components are. Only the administrator's kubeconfig is `system:masters`.

use std::sync::Arc;

use hansa_apiserver::authn::Identity;

/// The scheduler.
pub const SCHEDULER: &str = "system:kube-scheduler";
/// The controllers.
pub const CONTROLLERS: &str = "system:kube-controller-manager";
/// The cloud controllers.
pub const CLOUD: &str = "system:cloud-controller-manager";
/// The proxy.
pub const PROXY: &str = "system:kube-proxy";
/// The DNS server.
pub const DNS: &str = "system:hansa:dns";
/// The federation manager.
pub const FEDERATION: &str = "system:hansa:federation-manager";

/// A component by its user name.
pub fn component(user: &str) -> Arc<Identity> {
    Arc::new(Identity::user(user, &[]))
}

/// A node's kubelet.
pub fn node(name: &str) -> Arc<Identity> {
    Arc::new(Identity::user(format!("system:node:{name}"), &["system:nodes"]))
}
