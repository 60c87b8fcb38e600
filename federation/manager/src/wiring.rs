//! From changes to keys in a queue.

use std::fmt::Display;
use std::hash::Hash;

use hansa_client::kube::Resource;
use hansa_client::{Change, Informer, Workqueue};
use tokio_util::sync::CancellationToken;

/// Adds to `queue`, until `stop`, the keys that each change of `informer` concerns.
pub fn follow<K, T, F>(
    informer: &Informer<K>,
    queue: &Workqueue<T>,
    stop: &CancellationToken,
    keys: F,
) where
    K: Resource + Send + Sync + 'static,
    T: Clone + Eq + Hash + Display + Send + Sync + 'static,
    F: Fn(&Change<K>) -> Vec<T> + Send + 'static,
{
    let (mut changes, queue, stop) = (informer.subscribe(), queue.clone(), stop.clone());
    tokio::spawn(async move {
        loop {
            let change = tokio::select! {
                () = stop.cancelled() => return,
                change = changes.recv() => change,
            };
            let Some(change) = change else { return };
            keys(&change).into_iter().for_each(|key| queue.add(key));
        }
    });
}
