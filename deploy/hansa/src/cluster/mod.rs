//! A whole cluster in one process: the one place that joins all components.
//!
//! Start order: keys, store, API server; then everything else at once, each component a client under
//! its own identity, in process, without TLS. [`readiness`] says when the whole answers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hansa_bootstrap::kubeconfig::Entry;
use hansa_bootstrap::pki::Pki;
use hansa_component::{Supervisor, logging, signals};
use tokio_util::sync::CancellationToken;

use crate::instance::{Instance, Settings};
use crate::network::{self, Network};

mod agents;
mod control_plane;
pub mod guests;
mod identity;
mod in_process;
mod kinds;
mod readiness;
mod workers;

pub use control_plane::open_store;

/// Stack of a thread, bytes: admission policies run on those that answer requests, and may want a
/// MiB of it.
const STACK: usize = 4 << 20;
/// How long components may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// What clients say of a member that does not answer is in the Cluster's conditions.
const LOG_FILTER: &str =
    "info,kube=warn,kube_client=off,tower=warn,hyper=warn,h2=warn,rustls=warn,wasmtime=warn";

/// What the parts of a cluster share while it runs.
pub struct Cluster {
    /// Where it lies.
    pub instance: Instance,
    /// What it was made with.
    pub settings: Settings,
    /// Its addresses.
    pub network: Network,
    /// Its keys and certificates.
    pub pki: Pki,
    /// Its components.
    pub supervisor: Supervisor,
}

/// Runs the cluster until a signal stops it.
///
/// # Errors
/// If it cannot start: it runs already, a port or range is taken, the store cannot be read.
pub fn run(instance: Instance, mut settings: Settings) -> Result<()> {
    logging::init(LOG_FILTER, logging::Format::Text);
    let _only_one = instance.lock()?;
    let (own, others) = crate::commands::up::networks(&settings)?;
    let seed = instance.dir.as_os_str().as_encoded_bytes();
    let reservation = network::reserve(own, &others, seed)?;
    settings.network = reservation.network.index();
    instance.save_settings(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("hansa")
        .thread_stack_size(STACK)
        .build()
        .context("failed to start the async runtime")?;
    let outcome = runtime.block_on(serve(instance, settings, reservation.network));
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

async fn serve(instance: Instance, settings: Settings, network: Network) -> Result<()> {
    // An Err means that one is installed already, which is the same one: the graph has no other.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = signals::stop_token().context("failed to listen for signals")?;
    let pki = Pki::open(instance.dir.join("pki")).context("failed to prepare the keys")?;
    let supervisor = Supervisor::new(stop.clone());
    let cluster = Arc::new(Cluster { instance, settings, network, pki, supervisor });
    tracing::info!(cluster = %cluster.settings.name, network = %network.pod_cidr(), "starting");
    let host = workers::host(&cluster)?;
    let server = control_plane::start(&cluster, host.admission()).await?;
    let clients = in_process::Clients::new(server.clone());
    // Before the roles are known everybody would be refused, and say so in the log.
    server.ready().await;
    tokio::spawn(readiness::publish(cluster.clone(), server.clone(), clients.admin()));
    // The host compiles its guests at the first start: nodes need not wait for that.
    agents::start(&cluster, &clients)?;
    workers::start(&cluster, &clients, &host).await?;
    cluster.supervisor.join(STOP_GRACE).await;
    drop(host);
    tracing::info!(cluster = %cluster.settings.name, "stopped");
    Ok(())
}

impl Cluster {
    /// The token that everything stops with.
    pub fn stop(&self) -> CancellationToken {
        self.supervisor.stop().clone()
    }
}

/// The administrator's context.
///
/// # Errors
/// If the keys cannot be read.
pub fn admin_entry(instance: &Instance, settings: &Settings) -> Result<Entry> {
    let pki = Pki::open(instance.dir.join("pki")).context("failed to open the keys")?;
    let admin = pki.admin().context("failed to make the administrator's certificate")?;
    Ok(Entry::admin(&settings.name, &settings.server(), pki.ca_pem(), admin))
}
