//! The running scheduler: informers in, decisions one by one, effects side by side.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hansa_api::k8s_openapi::api::core::v1::{Node, Pod};
use hansa_client::kube::{self, Client};
use hansa_client::{Change, Informers, LeaderElector};
use hansa_extension::ActiveSet;
use hansa_extension::scheduler::SchedulerPolicy;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::effects::Effects;
use crate::facts::ClusterFacts;
use crate::framework::{Action, Failure, Scheduler};
use crate::metrics::Metrics;
use crate::pick::Dice;
use crate::queue::{PodUid, Wake};
use crate::record::DecisionLog;

/// The policies that decide, swapped by whoever loads plugins.
pub type Policies = Arc<ActiveSet<dyn SchedulerPolicy>>;

/// How long to sleep at most before looking at swaps, expiries and metrics.
const TICK: Duration = Duration::from_millis(200);

/// How the scheduler runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods with this `schedulerName` are ours.
    pub scheduler_name: String,
    /// Bindings and status writes that may be under way at once.
    pub concurrency: usize,
    /// Take part in an election; none: act at once.
    pub election: Option<Election>,
    /// Where the last decisions are kept.
    pub log: DecisionLog,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            scheduler_name: "default-scheduler".into(),
            concurrency: 128,
            election: None,
            log: DecisionLog::default(),
            metrics: Arc::default(),
        }
    }
}

/// The Lease by which replicas agree who acts.
#[derive(Clone, Debug)]
pub struct Election {
    /// The Lease's namespace.
    pub namespace: String,
    /// Who we are.
    pub identity: String,
}

/// Schedules pods until `stop`.
///
/// # Errors
/// None while it runs: what the API refuses is tried again.
pub async fn run(
    config: Config,
    client: Client,
    policies: Policies,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(election) = config.election.clone() else {
        schedule(config, client, policies, stop).await;
        return Ok(());
    };
    let Election { namespace, identity } = election;
    while !stop.is_cancelled() {
        let elector = LeaderElector::new(client.clone(), &namespace, "kube-scheduler", &identity);
        let (config, client) = (config.clone(), client.clone());
        let policies = policies.clone();
        elector.run(stop.clone(), |leading| schedule(config, client, policies, leading)).await;
    }
    Ok(())
}

async fn schedule(config: Config, client: Client, policies: Policies, stop: CancellationToken) {
    let stop = stop.child_token();
    let _stop_informers = stop.clone().drop_guard();
    let shell = tokio::select! {
        () = stop.cancelled() => return,
        shell = prepare(config, client, policies, stop.clone()) => shell,
    };
    // A thread of its own: on a busy runtime each decision would wait for its turn among all tasks.
    let runtime = Handle::current();
    let decides = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = shell.run() => {}
            }
        });
    });
    if let Err(error) = decides.await {
        tracing::error!(%error, "the scheduler's thread panicked");
    }
}

async fn prepare(
    config: Config,
    client: Client,
    policies: Policies,
    stop: CancellationToken,
) -> Shell {
    let informers = Informers::new(client.clone(), stop);
    let (nodes, pods) = (informers.of::<Node>(), informers.of::<Pod>());
    let facts = ClusterFacts::follow(&informers).await;
    nodes.synced().await;
    pods.synced().await;
    let Config { scheduler_name, concurrency, election: _, log, metrics } = config;
    let dice = Dice::new(seed());
    Shell {
        core: Scheduler::new(&scheduler_name, policies.clone(), dice, log, metrics),
        facts,
        effects: Effects::new(client, &scheduler_name),
        nodes: nodes.subscribe(),
        pods: pods.subscribe(),
        under_way: JoinSet::new(),
        concurrency: concurrency.max(1),
        seen: None,
        policies,
    }
}

/// Ties need not be the same after every start.
fn seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}

struct Shell {
    core: Scheduler,
    facts: ClusterFacts,
    effects: Effects,
    nodes: UnboundedReceiver<Change<Node>>,
    pods: UnboundedReceiver<Change<Pod>>,
    under_way: JoinSet<Outcome>,
    concurrency: usize,
    policies: Policies,
    seen: Option<usize>,
}

enum Outcome {
    Bound(PodUid),
    NotBound { uid: PodUid, pod: Arc<Pod>, error: kube::Error },
    Told,
}

impl Shell {
    async fn run(mut self) {
        loop {
            self.take_in();
            if self.may_decide()
                && let Some(action) = self.core.schedule_one(&self.facts, Instant::now())
            {
                self.carry_out(action);
                tokio::task::yield_now().await;
                continue;
            }
            self.wait().await;
        }
    }

    /// Nothing is decided while no policy is loaded: without filters every node would do.
    fn may_decide(&self) -> bool {
        self.under_way.len() < self.concurrency && !self.policies.current().is_empty()
    }

    /// Everything that happened up to now, without waiting.
    fn take_in(&mut self) {
        let now = Instant::now();
        while let Ok(change) = self.nodes.try_recv() {
            self.core.node_changed(&change, now);
        }
        while let Ok(change) = self.pods.try_recv() {
            self.core.pod_changed(&change, now);
        }
        while let Some(done) = self.under_way.try_join_next() {
            self.done(done);
        }
        self.notice_swap(now);
    }

    /// Another set of policies may have room where the last one had none.
    fn notice_swap(&mut self, now: Instant) {
        let set = Arc::as_ptr(&self.policies.current()) as usize;
        if self.seen.replace(set) != Some(set) {
            self.core.wake(Wake::POLICIES, now);
        }
    }

    async fn wait(&mut self) {
        let tick = Instant::now() + TICK;
        let next = self.core.next_deadline().filter(|_| self.may_decide());
        let until = next.map_or(tick, |at| at.min(tick));
        tokio::select! {
            Some(change) = self.nodes.recv() => self.core.node_changed(&change, Instant::now()),
            Some(change) = self.pods.recv() => self.core.pod_changed(&change, Instant::now()),
            Some(done) = self.under_way.join_next(), if !self.under_way.is_empty() => {
                self.done(done);
            }
            () = tokio::time::sleep_until(until.into()) => self.core.expire(Instant::now()),
        }
    }

    fn carry_out(&mut self, action: Action) {
        let effects = self.effects.clone();
        match action {
            Action::Bind { uid, pod, node } => {
                self.under_way.spawn(async move { bind(&effects, uid, pod, &node).await });
            }
            Action::Fail(failure) => {
                self.under_way.spawn(async move { tell(&effects, &failure).await });
            }
        }
    }

    fn done(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) {
        let now = Instant::now();
        match outcome {
            Ok(Outcome::Bound(uid)) => self.core.bound(&uid, now),
            Ok(Outcome::NotBound { uid, pod, error }) => {
                tracing::warn!(%uid, %error, "binding failed");
                self.effects.bind_failed(&pod, &error);
                self.core.bind_failed(&uid, now);
            }
            Ok(Outcome::Told) => {}
            Err(error) => tracing::error!(%error, "a binding or a status write panicked"),
        }
    }
}

async fn bind(effects: &Effects, uid: PodUid, pod: Arc<Pod>, node: &str) -> Outcome {
    match effects.bind(&pod, node).await {
        Ok(()) => Outcome::Bound(uid),
        Err(error) => Outcome::NotBound { uid, pod, error },
    }
}

async fn tell(effects: &Effects, failure: &Failure) -> Outcome {
    if let Err(error) = effects.fail(failure).await {
        let pod = failure.pod.metadata.name.as_deref().unwrap_or_default();
        tracing::debug!(%pod, %error, "could not write why it is unschedulable");
    }
    Outcome::Told
}

#[cfg(test)]
mod tests;
