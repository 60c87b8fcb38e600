//! One module per controller: a pure `plan`, and a thin `reconcile` that carries it out.
//!
//! A reconciler takes a key and no hint: it reads what its informers hold, plans, and acts. Change
//! and time both wake it, so first run, restart and steady state are one path.

use std::sync::Arc;

use hansa_client::kube::Client;
use hansa_client::{Informers, LeaderElector, Recorder, Reporter};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod backends;
mod deployment;
mod endpoints;
mod endpointslice;
mod expectations;
mod garbage_collector;
mod in_use;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod owned;
mod plugin;
mod pod_gc;
mod pods;
mod replicas;
mod resource_quota;
mod resources;
mod root_ca;
mod service_account;
mod wiring;

pub use plugin::Plugins;

/// What the controllers need to know about their cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// A federation hub runs no workload controllers: a Deployment there is a template.
    pub hub: bool,
    /// PEM of the CA that pods trust, published in every namespace.
    pub root_ca: String,
    /// The range that nodes get their pod CIDRs from, such as `127.64.0.0/17`; `None` assigns none.
    pub cluster_cidr: Option<String>,
    /// Prefix length of a node's pod CIDR.
    pub node_cidr_prefix: u8,
    /// A part of the cluster's range that no node gets.
    pub node_cidr_reserved: Option<String>,
    /// A node without a heartbeat for this long is Unknown.
    pub node_monitor_grace: std::time::Duration,
    /// Who this process is in leader election; `None` runs without.
    pub identity: Option<String>,
}

/// What every controller is given.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) informers: Arc<Informers>,
    pub(crate) stop: CancellationToken,
    pub(crate) config: Arc<Config>,
}

impl Context {
    fn recorder(&self, controller: &str) -> Recorder {
        let reporter = Reporter { controller: controller.into(), instance: None };
        Recorder::new(self.client.clone(), reporter)
    }
}

/// Runs all controllers of this kind of cluster until `stop`, or until leadership is lost.
///
/// # Errors
/// If a controller ended by itself.
pub async fn run(
    config: Config,
    client: Client,
    plugins: Option<Plugins>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(identity) = config.identity.clone() else {
        return run_all(config, client, plugins, stop).await;
    };
    let elector =
        LeaderElector::new(client.clone(), "kube-system", "kube-controller-manager", &identity);
    let mut outcome = Ok(());
    elector
        .run(stop, |leading| async {
            outcome = run_all(config, client, plugins, leading).await;
        })
        .await;
    outcome
}

async fn run_all(
    config: Config,
    client: Client,
    plugins: Option<Plugins>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let all = stop.child_token();
    let informers = Arc::new(Informers::new(client.clone(), all.clone()));
    let hub = config.hub;
    let context = Context { client, informers, stop: all.clone(), config: Arc::new(config) };
    let mut running = Running { tasks: JoinSet::new(), stop: all.clone() };
    running.add(namespace::run(context.clone()));
    running.add(service_account::run(context.clone()));
    running.add(root_ca::run(context.clone()));
    running.add(garbage_collector::run(context.clone()));
    running.add(resource_quota::run(context.clone()));
    running.add(in_use::run_claims(context.clone()));
    running.add(in_use::run_volumes(context.clone()));
    if let Some(plugins) = plugins {
        running.add(plugin::run(context.clone(), plugins));
    }
    if !hub {
        add_workload_controllers(&mut running, &context);
    }
    let ended = running.tasks.join_next().await;
    all.cancel();
    while running.tasks.join_next().await.is_some() {}
    match ended {
        Some(Err(panic)) => Err(anyhow::anyhow!("a controller panicked: {panic}")),
        _ if stop.is_cancelled() => Ok(()),
        _ => Err(anyhow::anyhow!("a controller ended by itself")),
    }
}

/// The controllers that run; each ends with the token, even one that still waits for its kind.
struct Running {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Running {
    fn add(&mut self, controller: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = controller => {}
            }
        });
    }
}

fn add_workload_controllers(running: &mut Running, context: &Context) {
    running.add(deployment::run(context.clone()));
    running.add(replicas::run_replica_sets(context.clone()));
    running.add(replicas::run_replication_controllers(context.clone()));
    running.add(endpoints::run(context.clone()));
    running.add(endpointslice::run(context.clone()));
    running.add(node_ipam::run(context.clone()));
    running.add(node_lifecycle::run(context.clone()));
    running.add(pod_gc::run(context.clone()));
}
