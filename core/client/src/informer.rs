//! One kind's objects, kept current by a single list and watch, shared by all who read them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::{Stream, StreamExt, pin_mut};
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use parking_lot::RwLock;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ObjectKey;

/// What happened to an object. A relist after a broken watch shows only the differences.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// Created or changed; `old` is `None` where the subscriber has not seen the object before.
    Applied {
        /// The object as it was.
        old: Option<Arc<K>>,
        /// The object as it is.
        new: Arc<K>,
    },
    /// Gone; this is how it last looked.
    Deleted(Arc<K>),
}

impl<K: Resource> Change<K> {
    /// The object that the change is about, in its latest known state.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Change::Applied { new, .. } => new,
            Change::Deleted(last) => last,
        }
    }

    /// The key of the object that the change is about.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::of(&**self.object())
    }
}

/// A reader's handle: cheap to clone, always the current objects.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
    synced: watch::Receiver<bool>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), synced: self.synced.clone() }
    }
}

impl<K> Informer<K>
where
    K: Resource + Send + Sync + 'static,
{
    /// Starts to follow `events` until `stop`; used by [`Informers`](crate::Informers).
    pub(crate) fn start(
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        what: String,
        stop: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared { state: RwLock::new(State::default()) });
        let (set_synced, synced) = watch::channel(false);
        tokio::spawn(follow(events, shared.clone(), set_synced, what, stop));
        Self { shared, synced }
    }

    /// Returns once the first list is in. Never returns if the process stops before that.
    pub async fn synced(&self) {
        let mut synced = self.synced.clone();
        if synced.wait_for(|done| *done).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// One object; `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get_key(&ObjectKey::new(namespace, name))
    }

    /// One object by its key.
    pub fn get_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.shared.state.read().objects.get(key).cloned()
    }

    /// All objects, in the order of their keys.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.state.read().objects.values().cloned().collect()
    }

    /// All objects of a namespace, in the order of their names.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        let first = ObjectKey::new(namespace, "");
        let of_namespace = state.objects.range(first..);
        of_namespace
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.state.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every change from now on, after the current objects (as `Applied` with no `old`).
    pub fn subscribe(&self) -> UnboundedReceiver<Change<K>> {
        let (sender, receiver) = unbounded_channel();
        let mut state = self.shared.state.write();
        for object in state.objects.values() {
            let _ = sender.send(Change::Applied { old: None, new: object.clone() });
        }
        state.subscribers.push(sender);
        receiver
    }
}

struct Shared<K> {
    state: RwLock<State<K>>,
}

struct State<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    subscribers: Vec<UnboundedSender<Change<K>>>,
}

impl<K> Default for State<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), subscribers: Vec::new() }
    }
}

impl<K: Resource> State<K> {
    fn apply(&mut self, object: K) {
        let key = ObjectKey::of(&object);
        let new = Arc::new(object);
        let old = self.objects.insert(key, new.clone());
        if old.as_ref().is_some_and(|old| same_version(&**old, &*new)) {
            return;
        }
        self.publish(&Change::Applied { old, new });
    }

    fn delete(&mut self, object: K) {
        if self.objects.remove(&ObjectKey::of(&object)).is_some() {
            self.publish(&Change::Deleted(Arc::new(object)));
        }
    }

    /// Takes the outcome of a new list: what is no longer there is deleted, the rest is applied.
    fn replace(&mut self, listed: HashMap<ObjectKey, K>) {
        let gone: Vec<_> =
            self.objects.keys().filter(|key| !listed.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some(last) = self.objects.remove(&key) {
                self.publish(&Change::Deleted(last));
            }
        }
        listed.into_values().for_each(|object| self.apply(object));
    }

    fn publish(&mut self, change: &Change<K>)
    where
        K: Resource,
    {
        self.subscribers.retain(|subscriber| {
            let copy = match change {
                Change::Applied { old, new } => {
                    Change::Applied { old: old.clone(), new: new.clone() }
                }
                Change::Deleted(last) => Change::Deleted(last.clone()),
            };
            subscriber.send(copy).is_ok()
        });
    }
}

fn same_version<K: Resource>(a: &K, b: &K) -> bool {
    a.meta().resource_version.is_some() && a.meta().resource_version == b.meta().resource_version
}

/// Feeds watch events into the shared state; errors back off inside the stream and are retried.
async fn follow<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    shared: Arc<Shared<K>>,
    synced: watch::Sender<bool>,
    what: String,
    stop: CancellationToken,
) where
    K: Resource + Send + Sync + 'static,
{
    let events = events.default_backoff();
    pin_mut!(events);
    let mut listed = HashMap::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Err(error)) => tracing::debug!(%what, %error, "watch broke, starting anew"),
            Some(Ok(Event::Init)) => listed.clear(),
            Some(Ok(Event::InitApply(object))) => {
                listed.insert(ObjectKey::of(&object), object);
            }
            Some(Ok(Event::InitDone)) => {
                shared.state.write().replace(std::mem::take(&mut listed));
                synced.send_replace(true);
            }
            Some(Ok(Event::Apply(object))) => shared.state.write().apply(object),
            Some(Ok(Event::Delete(object))) => shared.state.write().delete(object),
        }
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn config_map(name: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("default".into());
        object.metadata.name = Some(name.into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    fn informer(events: Vec<Event<ConfigMap>>) -> Informer<ConfigMap> {
        let events =
            futures::stream::iter(events.into_iter().map(Ok)).chain(futures::stream::pending());
        Informer::start(events, "configmaps".into(), CancellationToken::new())
    }

    fn describe(change: Change<ConfigMap>) -> String {
        let key = change.key();
        match change {
            Change::Applied { old: None, .. } => format!("+{key}"),
            Change::Applied { old: Some(_), .. } => format!("~{key}"),
            Change::Deleted(_) => format!("-{key}"),
        }
    }

    #[tokio::test]
    async fn subscribers_see_current_objects_then_changes() {
        let informer = informer(vec![
            Event::Init,
            Event::InitApply(config_map("a", "1")),
            Event::InitDone,
            Event::Apply(config_map("a", "2")),
            Event::Delete(config_map("a", "3")),
        ]);
        let mut changes = informer.subscribe();
        let mut seen = Vec::new();
        while seen.last().map(String::as_str) != Some("-default/a") {
            seen.push(describe(changes.recv().await.expect("the informer runs")));
        }
        assert_eq!(seen, ["+default/a", "~default/a", "-default/a"]);
    }

    #[tokio::test]
    async fn a_relist_reports_only_differences() {
        let informer = informer(vec![
            Event::Init,
            Event::InitApply(config_map("gone", "1")),
            Event::InitApply(config_map("same", "2")),
            Event::InitDone,
            Event::Init,
            Event::InitApply(config_map("same", "2")),
            Event::InitApply(config_map("new", "5")),
            Event::InitDone,
        ]);
        let mut changes = informer.subscribe();
        let mut seen = Vec::new();
        while seen.last().map(String::as_str) != Some("+default/new") {
            seen.push(describe(changes.recv().await.expect("the informer runs")));
        }
        let after_first_list: Vec<_> =
            seen.iter().skip_while(|change| !change.starts_with('-')).collect();
        assert_eq!(after_first_list, ["-default/gone", "+default/new"]);
    }
}
