//! The few reads that authentication and authorization need of live objects.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::generic::filter::Filter;
use crate::generic::registry::Registry;

/// Reads core-group objects; the registry is the real one, tests have a map.
#[async_trait]
pub trait Objects: Send + Sync {
    /// One object of `/api/v1` by its plural; cluster-scoped ones have an empty namespace.
    async fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// The pods of a namespace that are bound to a node.
    async fn pods_on(&self, node: &str, namespace: &str) -> Vec<Arc<Value>>;
}

/// The live objects, read from the registry's cache as new as the store.
pub(crate) struct RegistryObjects<'a>(pub(crate) &'a Arc<Registry>);

#[async_trait]
impl Objects for RegistryObjects<'_> {
    async fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.0.get_cached("", resource, namespace, name).await.ok()
    }

    async fn pods_on(&self, node: &str, namespace: &str) -> Vec<Arc<Value>> {
        let on_node = Filter::all(namespace).with_field("spec.nodeName", node);
        self.0.select_cached("", "pods", &on_node).await.unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod fake {
    use std::collections::HashMap;

    use hansa_api::meta;
    use parking_lot::Mutex;

    use super::*;

    type Key = (String, String, String);

    /// Objects in a map.
    #[derive(Default)]
    pub(crate) struct FakeObjects(Mutex<HashMap<Key, Arc<Value>>>);

    impl FakeObjects {
        /// Adds or replaces one object.
        pub(crate) fn put(&self, resource: &str, object: Value) {
            let key = (
                resource.to_string(),
                meta::namespace(&object).to_string(),
                meta::name(&object).to_string(),
            );
            self.0.lock().insert(key, Arc::new(object));
        }
    }

    #[async_trait]
    impl Objects for FakeObjects {
        async fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
            let key = (resource.to_string(), namespace.to_string(), name.to_string());
            self.0.lock().get(&key).cloned()
        }

        async fn pods_on(&self, node: &str, namespace: &str) -> Vec<Arc<Value>> {
            let objects = self.0.lock();
            let pods = objects.iter().filter(|((resource, place, _), pod)| {
                resource == "pods" && place == namespace && pod["spec"]["nodeName"] == node
            });
            pods.map(|(_, pod)| pod.clone()).collect()
        }
    }
}
