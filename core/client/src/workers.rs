//! Workers: take a key, reconcile it, and bring it back as the outcome says.

use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::Workqueue;

/// When to come back to a key that was reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When something about it changes.
    Done,
    /// After this time, or when something changes.
    After(Duration),
}

/// Reconciles the queue's keys with `count` workers until `stop`; a failed key backs off.
///
/// One key is never in work twice. Errors are logged and never end a worker.
pub async fn run_workers<T, F, Fut, E>(
    queue: Workqueue<T>,
    count: usize,
    stop: CancellationToken,
    reconcile: F,
) where
    T: Clone + Eq + Hash + Display + Send + Sync + 'static,
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<Requeue, E>>,
    E: Display,
{
    let workers = (0..count.max(1)).map(|_| work(&queue, &reconcile));
    tokio::select! {
        () = stop.cancelled() => queue.shut_down(),
        _ = join_all(workers) => {}
    }
}

async fn work<T, F, Fut, E>(queue: &Workqueue<T>, reconcile: &F)
where
    T: Clone + Eq + Hash + Display + Send + Sync + 'static,
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<Requeue, E>>,
    E: Display,
{
    while let Some(key) = queue.get().await {
        match reconcile(key.clone()).await {
            Ok(Requeue::Done) => queue.forget(&key),
            Ok(Requeue::After(delay)) => {
                queue.forget(&key);
                queue.add_after(key.clone(), delay);
            }
            Err(error) => {
                tracing::debug!(%key, %error, "reconcile failed, will retry");
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
        // Work that never has to wait must not keep its thread from others.
        tokio::task::consume_budget().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_key_is_tried_again() {
        let queue = Workqueue::new();
        queue.add("a".to_owned());
        let tries = AtomicU32::new(0);
        let stop = CancellationToken::new();
        run_workers(queue, 2, stop.clone(), |_| {
            let nth = tries.fetch_add(1, Ordering::SeqCst);
            let stop = stop.clone();
            async move {
                if nth < 2 {
                    return Err("not yet");
                }
                stop.cancel();
                Ok(Requeue::Done)
            }
        })
        .await;
        assert_eq!(tries.load(Ordering::SeqCst), 3);
    }
}
