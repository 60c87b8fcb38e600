//! From changes to keys.

use hansa_client::kube::Resource;
use hansa_client::{Change, Informer, ObjectKey, Workqueue};

/// Adds, for every change that the informer sees from now on, the keys that `keys` names.
pub(crate) fn enqueue<K, F>(informer: &Informer<K>, queue: &Workqueue<ObjectKey>, keys: F)
where
    K: Resource + Send + Sync + 'static,
    F: Fn(&Change<K>) -> Vec<ObjectKey> + Send + 'static,
{
    let mut changes = informer.subscribe();
    let queue = queue.clone();
    tokio::spawn(async move {
        while let Some(change) = changes.recv().await {
            keys(&change).into_iter().for_each(|key| queue.add(key));
        }
    });
}

/// The usual wiring of a controller's own kind: a changed object's key.
pub(crate) fn enqueue_self<K>(informer: &Informer<K>, queue: &Workqueue<ObjectKey>)
where
    K: Resource + Send + Sync + 'static,
{
    enqueue(informer, queue, |change| vec![change.key()]);
}

/// The key of the change's controller, if that is of `kind` in an API group named `group`.
pub(crate) fn controller_key<K: Resource>(
    change: &Change<K>,
    group: &str,
    kind: &str,
) -> Vec<ObjectKey> {
    let mut keys = Vec::new();
    let mut add = |object: &K| {
        let Some(owner) = crate::owned::controller_of(object.meta()) else {
            return;
        };
        let owner_group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        if owner.kind == kind && owner_group == group {
            let namespace = object.meta().namespace.clone().unwrap_or_default();
            keys.push(ObjectKey::new(namespace, owner.name.clone()));
        }
    };
    if let Change::Applied { old: Some(old), .. } = change {
        add(old);
    }
    add(change.object());
    keys.dedup();
    keys
}
