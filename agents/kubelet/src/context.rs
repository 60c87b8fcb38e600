//! What every part of one kubelet shares.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::Pod;
use jiff::Timestamp;

use crate::api::{Api, Kind, reference};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::cri::Cri;
use crate::fields::Place;
use crate::images::Puller;
use crate::names::Folders;
use crate::observed::Observed;

/// What every part of one kubelet shares.
pub struct Context {
    /// Its settings.
    pub config: Config,
    /// Its folders.
    pub folders: Folders,
    /// The runtime.
    pub cri: Cri,
    /// The API server.
    pub api: Arc<dyn Api>,
    /// Image pulls.
    pub puller: Puller,
    /// The runtime's name and version.
    pub runtime: (String, String),
    /// What the node can give, by resource.
    pub allocatable: BTreeMap<String, String>,
}

impl Context {
    /// Puts the parts together.
    #[must_use]
    pub fn new(config: Config, cri: Cri, api: Arc<dyn Api>, runtime: (String, String)) -> Self {
        let folders = Folders::new(&config.root_dir);
        let puller = Puller::new(cri.clone(), api.clone(), new_backoff(&config));
        let allocatable = crate::machine::capacity(&config);
        Self { folders, cri, api, puller, runtime, allocatable, config }
    }

    /// Where a pod is, for the downward API.
    #[must_use]
    pub fn place(&self, observed: &Observed, host_network: bool) -> Place {
        let host_ip = self.config.address.to_string();
        let addresses = observed.sandbox().map(|sandbox| sandbox.addresses.clone());
        Place {
            node_name: self.config.node_name.clone(),
            pod_ips: if host_network {
                vec![host_ip.clone()]
            } else {
                addresses.unwrap_or_default()
            },
            host_ip,
            allocatable: self.allocatable.clone(),
        }
    }

    /// Says what happened to a pod.
    pub fn pod_event(&self, pod: &Pod, kind: Kind, reason: &str, note: String) {
        self.api.event(reference(pod, None), kind, reason, note);
    }

    /// Says what happened to a container.
    pub fn event(&self, pod: &Pod, container: &str, kind: Kind, reason: &str, note: String) {
        let path = format!("spec.containers{{{container}}}");
        self.api.event(reference(pod, Some(path)), kind, reason, note);
    }

    /// The node's memory in bytes.
    #[must_use]
    pub fn memory(&self) -> i64 {
        let text = self.allocatable.get("memory").map_or("0", String::as_str);
        crate::fields::quantity(text).map_or(0, |amount| amount.value())
    }
}

/// A back-off with the configured delays.
#[must_use]
pub fn new_backoff(config: &Config) -> Backoff {
    Backoff::new(config.periods.backoff, config.periods.backoff_most)
}

/// Now, by the API's clock.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
