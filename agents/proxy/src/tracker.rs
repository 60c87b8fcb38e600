//! Keeps the rules of all Services, and tells which addresses changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::Service;
use hansa_api::k8s_openapi::api::discovery::v1::EndpointSlice;
use hansa_client::ObjectKey;

use crate::rules::{Frontend, Rules, Target, render};

/// What a backend has to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Addresses that are new or lead elsewhere.
    pub set: BTreeMap<Frontend, Target>,
    /// Addresses that are no more.
    pub removed: BTreeSet<Frontend>,
}

/// All Services and their slices; the work of a change is that of the one Service.
pub struct Tracker {
    node: String,
    node_addresses: Vec<IpAddr>,
    services: HashMap<ObjectKey, Known>,
    dirty: BTreeSet<ObjectKey>,
}

#[derive(Default)]
struct Known {
    service: Option<Arc<Service>>,
    slices: BTreeMap<String, Arc<EndpointSlice>>,
    rendered: Rules,
}

impl Tracker {
    /// A tracker for this node.
    pub fn new(node: String, node_addresses: Vec<IpAddr>) -> Self {
        Self { node, node_addresses, services: HashMap::new(), dirty: BTreeSet::new() }
    }

    /// A Service was created or changed.
    pub fn set_service(&mut self, key: ObjectKey, service: Arc<Service>) {
        self.touch(&key).service = Some(service);
    }

    /// A Service is gone.
    pub fn remove_service(&mut self, key: &ObjectKey) {
        self.touch(key).service = None;
    }

    /// One of a Service's slices was created or changed.
    pub fn set_slice(&mut self, service: &ObjectKey, name: String, slice: Arc<EndpointSlice>) {
        self.touch(service).slices.insert(name, slice);
    }

    /// One of a Service's slices is gone.
    pub fn remove_slice(&mut self, service: &ObjectKey, name: &str) {
        self.touch(service).slices.remove(name);
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for key in std::mem::take(&mut self.dirty) {
            let Some(known) = self.services.get_mut(&key) else { continue };
            let slices: Vec<_> = known.slices.values().cloned().collect();
            let service = known.service.as_deref();
            let new = service.map_or_else(Rules::new, |service| {
                render(service, &slices, &self.node, &self.node_addresses)
            });
            let gone = known.rendered.keys().filter(|frontend| !new.contains_key(frontend));
            changes.removed.extend(gone);
            let differs = |(frontend, target): &(&Frontend, &Target)| {
                known.rendered.get(frontend) != Some(target)
            };
            changes.set.extend(new.iter().filter(differs).map(|(at, to)| (*at, to.clone())));
            known.rendered = new;
            if known.service.is_none() && known.slices.is_empty() {
                self.services.remove(&key);
            }
        }
        // An address that moved from one Service to another within one gathering is not removed.
        changes.removed.retain(|frontend| !changes.set.contains_key(frontend));
        changes
    }

    fn touch(&mut self, key: &ObjectKey) -> &mut Known {
        self.dirty.insert(key.clone());
        self.services.entry(key.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{service, slice};

    fn key() -> ObjectKey {
        ObjectKey::new("default", "web")
    }

    fn tracker() -> Tracker {
        let mut tracker = Tracker::new("n1".into(), Vec::new());
        tracker.set_service(key(), Arc::new(service("127.64.128.9")));
        tracker.set_slice(&key(), "web-1".into(), slice(&[("127.64.0.2", "n1", true, false)]));
        tracker
    }

    #[test]
    fn only_what_differs_is_told() {
        let mut tracker = tracker();
        assert_eq!(tracker.take_changes().set.len(), 1);
        tracker.set_service(key(), Arc::new(service("127.64.128.9")));
        assert_eq!(tracker.take_changes(), Changes::default());
    }

    #[test]
    fn a_moved_service_leaves_its_old_address() {
        let mut tracker = tracker();
        tracker.take_changes();
        tracker.set_service(key(), Arc::new(service("127.64.128.10")));
        let changes = tracker.take_changes();
        assert_eq!((changes.set.len(), changes.removed.len()), (1, 1));
        tracker.remove_service(&key());
        assert_eq!(tracker.take_changes().removed.len(), 1);
    }

    #[test]
    fn an_address_taken_over_is_set_not_removed() {
        let mut tracker = tracker();
        tracker.take_changes();
        tracker.remove_service(&key());
        tracker.set_service(ObjectKey::new("default", "other"), Arc::new(service("127.64.128.9")));
        let changes = tracker.take_changes();
        assert_eq!((changes.set.len(), changes.removed.len()), (1, 0));
    }
}
