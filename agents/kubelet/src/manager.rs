//! One worker per pod: started when a pod is bound to the node, told of every change, and woken
//! when the runtime's view of the pod changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::Pod;
use hansa_client::Change;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::names::{self, identity};
use crate::pleg::{Found, Pleg, Relist};
use crate::worker::{Desired, End, Worker, grace_of};

/// How long containers of a pod that nobody remembers may take to end.
const ORPHAN_GRACE: Duration = Duration::from_secs(30);

/// Between two looks for folders without a pod.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

/// All workers of one kubelet.
pub struct Manager {
    context: Arc<Context>,
    workers: HashMap<String, Handle>,
    pleg: Pleg,
    finished: UnboundedSender<String>,
}

struct Handle {
    desired: watch::Sender<Desired>,
    wake: Arc<Notify>,
    task: tokio::task::AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Manager {
    /// Follows the node's pods until `stop`. Containers go on running then.
    ///
    /// `synced` resolves once `changes` has told of every pod there is: only then is it known
    /// which sandboxes belong to none.
    pub async fn run(
        context: Arc<Context>,
        mut changes: UnboundedReceiver<Change<Pod>>,
        synced: impl Future<Output = ()>,
        stop: CancellationToken,
    ) {
        let (finished, mut ended) = unbounded_channel();
        let periods = context.config.periods;
        let (workers, pleg) = (HashMap::new(), Pleg::default());
        let mut manager = Self { context, workers, pleg, finished };
        let mut relist = tokio::time::interval(periods.relist);
        relist.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        let mut synced = std::pin::pin!(synced);
        let mut complete = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(uid) = ended.recv() => drop(manager.workers.remove(&uid)),
                Some(change) = changes.recv() => manager.change(change),
                () = &mut synced, if !complete => complete = true,
                _ = relist.tick() => manager.relist(complete).await,
                _ = housekeeping.tick() => manager.tidy(complete).await,
            }
        }
    }

    fn change(&mut self, change: Change<Pod>) {
        let (pod, gone) = match change {
            Change::Applied { new, .. } => (new, false),
            Change::Deleted(old) => (old, true),
        };
        let mirror = pod.metadata.annotations.iter().flatten().any(|(key, _)| key == names::MIRROR);
        if mirror {
            return;
        }
        let ending = gone || pod.metadata.deletion_timestamp.is_some();
        let end = ending.then(|| End { grace: grace_of(&pod), gone });
        self.tell(Desired { pod, end });
    }

    /// Tells the pod's worker, or starts one. An end once begun stays: only its grace shrinks.
    fn tell(&mut self, desired: Desired) {
        let uid = identity(&desired.pod).2.to_string();
        let Some(handle) = self.workers.get(&uid) else {
            if !desired.end.is_some_and(|end| end.gone) {
                self.start(uid, desired);
            }
            return;
        };
        handle.desired.send_modify(|known| {
            let end = match (known.end, desired.end) {
                (Some(old), Some(new)) => {
                    let grace = old.grace.min(new.grace);
                    Some(End { grace, gone: old.gone || new.gone })
                }
                (old, new) => old.or(new),
            };
            *known = Desired { pod: desired.pod, end };
        });
    }

    fn start(&mut self, uid: String, desired: Desired) {
        let (desired, watched) = watch::channel(desired);
        let wake = Arc::new(Notify::new());
        let worker = Worker::new(self.context.clone(), watched, wake.clone());
        let (finished, own) = (self.finished.clone(), uid.clone());
        let task = tokio::spawn(async move {
            worker.run().await;
            let _ = finished.send(own);
        });
        let handle = Handle { desired, wake, task: task.abort_handle() };
        self.workers.insert(uid, handle);
    }

    async fn relist(&mut self, complete: bool) {
        match self.pleg.relist(&self.context.cri).await {
            Ok(seen) => self.woken(seen, complete).await,
            Err(error) => tracing::warn!(%error, "could not list the runtime's containers"),
        }
    }

    async fn woken(&mut self, seen: Relist, complete: bool) {
        for uid in &seen.changed {
            if let Some(handle) = self.workers.get(uid) {
                handle.wake.notify_one();
            }
        }
        for found in seen.pods {
            if complete && !self.workers.contains_key(&found.uid) {
                self.end_orphan(&found).await;
            }
        }
    }

    /// A pod that the API server does not know (any more): it was deleted while nobody looked.
    /// The API server is asked first: nothing is ended from a stale view.
    async fn end_orphan(&mut self, found: &Found) {
        let known = self.context.api.pod(&found.namespace, &found.name, &found.uid).await;
        if !matches!(known, Ok(None)) {
            return;
        }
        tracing::info!(namespace = found.namespace, name = found.name, "ending an orphaned pod");
        let mut pod = Pod::default();
        pod.metadata.uid = Some(found.uid.clone());
        pod.metadata.namespace = Some(found.namespace.clone());
        pod.metadata.name = Some(found.name.clone());
        let end = Some(End { grace: ORPHAN_GRACE, gone: true });
        self.start(found.uid.clone(), Desired { pod: Arc::new(pod), end });
    }

    /// Removes folders whose pod has neither worker nor sandbox.
    async fn tidy(&mut self, complete: bool) {
        if !complete {
            return;
        }
        let Ok(seen) = self.pleg.relist(&self.context.cri).await else { return };
        let known: Vec<_> = seen.pods.iter().map(|found| found.uid.clone()).collect();
        self.woken(seen, complete).await;
        let entries = std::fs::read_dir(self.context.folders.pods());
        for entry in entries.into_iter().flatten().filter_map(Result::ok) {
            let uid = entry.file_name().to_string_lossy().into_owned();
            if !known.contains(&uid) && !self.workers.contains_key(&uid) {
                let _ = crate::files::remove_dir(&entry.path());
            }
        }
    }
}
