//! Facts from informers: what owns a pod, and the disruption budgets.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::apps::v1::ReplicaSet;
use hansa_api::k8s_openapi::api::core::v1::{Pod, ReplicationController, Service};
use hansa_api::k8s_openapi::api::policy::v1::PodDisruptionBudget;
use hansa_client::{Informer, Informers};

use crate::framework::Facts;
use crate::view::Selector;

/// Facts of a running cluster.
pub struct ClusterFacts {
    services: Informer<Service>,
    replica_sets: Informer<ReplicaSet>,
    replication_controllers: Informer<ReplicationController>,
    budgets: Option<Informer<PodDisruptionBudget>>,
}

impl ClusterFacts {
    /// Follows the kinds that the facts come from; budgets only where the server has them.
    pub async fn follow(informers: &Informers) -> ClusterFacts {
        let served = informers.client().list_api_group_resources("policy/v1").await;
        let served = served.map(|list| list.resources).unwrap_or_default();
        let has_budgets = served.iter().any(|r| r.name == "poddisruptionbudgets");
        let facts = ClusterFacts {
            services: informers.of(),
            replica_sets: informers.of(),
            replication_controllers: informers.of(),
            budgets: has_budgets.then(|| informers.of()),
        };
        facts.services.synced().await;
        facts.replica_sets.synced().await;
        facts.replication_controllers.synced().await;
        facts
    }
}

impl Facts for ClusterFacts {
    fn owner_selector(&self, pod: &Pod) -> Selector {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut selector = Selector::default();
        for service in self.services.list_in(namespace) {
            and_service(&mut selector, pod, &service);
        }
        let owners = pod.metadata.owner_references.iter().flatten();
        if let Some(owner) = owners.into_iter().find(|o| o.controller == Some(true)) {
            if let Some(set) = self.replica_sets.get(namespace, &owner.name)
                && owner.kind == "ReplicaSet"
                && let Some(spec) = &set.spec
            {
                selector.and_selector(&spec.selector);
            }
            if let Some(rc) = self.replication_controllers.get(namespace, &owner.name)
                && owner.kind == "ReplicationController"
                && let Some(labels) = rc.spec.as_ref().and_then(|s| s.selector.as_ref())
            {
                selector.and_labels(labels);
            }
        }
        selector
    }

    fn budgets(&self) -> Vec<Arc<PodDisruptionBudget>> {
        self.budgets.as_ref().map(Informer::list).unwrap_or_default()
    }
}

/// Adds the selector of a Service that selects the pod.
fn and_service(selector: &mut Selector, pod: &Pod, service: &Service) {
    let none = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
    let wanted = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return };
    if wanted.iter().all(|(key, value)| labels.get(key) == Some(value)) {
        selector.and_labels(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_services_that_select_the_pod_are_merged() {
        let read = |app: serde_json::Value| -> Service {
            serde_json::from_value(json!({ "spec": { "selector": app } })).unwrap()
        };
        let pod = json!({ "metadata": { "labels": { "app": "web", "tier": "front" } } });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let mut selector = Selector::default();
        and_service(&mut selector, &pod, &read(json!({ "app": "db" })));
        and_service(&mut selector, &pod, &read(json!({})));
        assert!(selector.is_empty());
        and_service(&mut selector, &pod, &read(json!({ "app": "web" })));
        assert!(!selector.is_empty());
    }
}
