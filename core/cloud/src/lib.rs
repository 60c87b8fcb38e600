//! The cloud-controller-manager: node and service controllers over the provider trait.
//!
//! A cloud is whatever answers [`CloudProvider`]; nothing here knows one. Each controller is a pure
//! `plan` and a thin `reconcile` by key that reads, asks the provider, plans and writes.

use std::sync::Arc;
use std::time::Duration;

use hansa_client::kube::Client;
use hansa_client::{Informers, LeaderElector, Recorder, Reporter};
use hansa_extension::cloud::{CloudError, CloudProvider};
use tokio_util::sync::CancellationToken;

mod convert;
pub mod node;
pub mod service;
#[cfg(test)]
mod tests;

/// The name under which events are written and the Lease is held.
const NAME: &str = "cloud-controller-manager";

/// How the controllers run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's name, which the provider marks its things with.
    pub cluster_name: String,
    /// Workers per controller.
    pub workers: usize,
    /// How often instances of nodes that are not ready are asked about.
    pub monitor_period: Duration,
    /// How often addresses and labels of nodes are compared with the cloud.
    pub refresh_period: Duration,
    /// Take part in an election; none: act at once.
    pub election: Option<Election>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cluster_name: "kubernetes".into(),
            workers: 2,
            monitor_period: Duration::from_secs(5),
            refresh_period: Duration::from_secs(300),
            election: None,
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

/// What went wrong with one object; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or did not answer.
    #[error("write to the API server")]
    Api(#[from] hansa_client::kube::Error),
    /// The provider refused, or did not answer.
    #[error("ask the cloud provider: {0}")]
    Cloud(#[from] CloudError),
    /// The provider's answer has another length than the question.
    #[error("use the cloud provider's answer: {have} entries for {want}")]
    Answer {
        /// How many there are.
        have: usize,
        /// How many were asked for.
        want: usize,
    },
}

/// Runs both controllers until `stop`.
///
/// # Errors
/// None while it runs: what fails is tried again.
pub async fn run(
    config: Config,
    client: Client,
    provider: Arc<dyn CloudProvider>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(Election { namespace, identity }) = config.election.clone() else {
        act(config, client, provider, stop).await;
        return Ok(());
    };
    while !stop.is_cancelled() {
        let elector = LeaderElector::new(client.clone(), &namespace, NAME, &identity);
        let (config, client) = (config.clone(), client.clone());
        let provider = provider.clone();
        elector.run(stop.clone(), |leading| act(config, client, provider, leading)).await;
    }
    Ok(())
}

async fn act(
    config: Config,
    client: Client,
    provider: Arc<dyn CloudProvider>,
    stop: CancellationToken,
) {
    let stop = stop.child_token();
    let _stop_informers = stop.clone().drop_guard();
    let informers = Informers::new(client.clone(), stop.clone());
    let reporter = Reporter { controller: NAME.into(), instance: Some(NAME.into()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let nodes = node::Controller::new(&config, &informers, provider.clone(), recorder.clone());
    let services = service::Controller::new(&config, &informers, provider, recorder);
    let workers = config.workers;
    tokio::select! {
        () = stop.cancelled() => {}
        _ = async { tokio::join!(
            nodes.run(workers, stop.clone()),
            services.run(workers, stop.clone()),
        ) } => {}
    }
}
