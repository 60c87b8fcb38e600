//! The kubelet: pod workers, volumes, probes, status, node lease, streaming server. It speaks
//! CRI and nothing else to whatever runs containers.
//!
//! - [`plan`] decides what to do next about a pod, [`status`] what to say of it. Both are pure.
//! - [`worker`] looks, asks `plan`, acts ([`starter`], [`killer`]) and reports.
//! - [`manager`] keeps one worker per pod; [`pleg`] says whom to wake.
//! - [`server`] answers logs, exec, attach, port-forward.
//! - [`node`] registers the node and keeps its status and lease.

pub mod api;
pub mod backoff;
pub mod config;
pub mod container;
#[cfg(test)]
mod containerd_tests;
pub mod context;
pub mod cri;
pub mod env;
pub mod fields;
pub mod files;
pub mod hooks;
pub mod images;
pub mod killer;
pub mod last_words;
pub mod machine;
pub mod manager;
pub mod names;
pub mod node;
pub mod observed;
pub mod plan;
pub mod pleg;
pub mod probes;
pub mod sandbox;
pub mod server;
pub mod starter;
pub mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod volumes;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hansa_api::k8s_openapi::api::core::v1::{Pod, Service};
use hansa_client::kube::Client;
use hansa_client::kube::runtime::watcher;
use hansa_client::{Informers, Recorder, Reporter};
use tokio_util::sync::CancellationToken;

pub use config::{Config, Periods, Tls};
use context::Context;
use cri::Cri;

/// Runs a kubelet until `stop`. Containers go on running when it ends: the next one adopts them.
///
/// # Errors
/// The CRI endpoint is no socket, or the HTTPS server cannot listen.
pub async fn run(config: Config, client: Client, stop: CancellationToken) -> anyhow::Result<()> {
    let cri = Cri::new(&config.cri_endpoint).context("failed to set up the runtime's client")?;
    let Some(runtime) = stop.run_until_cancelled(wait_for_runtime(&cri)).await else {
        return Ok(());
    };
    let informers = Informers::new(client.clone(), stop.clone());
    let mine = format!("spec.nodeName={}", config.node_name);
    let pods = informers.of_with::<Pod>(watcher::Config::default().fields(&mine));
    let services = informers.of::<Service>();
    let reporter =
        Reporter { controller: "kubelet".to_string(), instance: Some(config.node_name.clone()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let api = Arc::new(api::Server::new(client.clone(), services, recorder));
    let context = Arc::new(Context::new(config, cri, api, runtime));
    let listed = pods.clone();
    let server = server::Server::bind(context.clone(), Arc::new(move || listed.list())).await?;
    let port = server.port().context("failed to learn the server's port")?;
    let serving = tokio::spawn(server.run(stop.clone()));
    let node = tokio::spawn(node::run(context.clone(), client, port, stop.clone()));
    let synced = {
        let pods = pods.clone();
        async move { pods.synced().await }
    };
    manager::Manager::run(context, pods.subscribe(), synced, stop).await;
    serving.await.context("failed to end the HTTPS server")?;
    node.await.context("failed to end the node's status loop")
}

/// Asks until the runtime answers: its name and version.
async fn wait_for_runtime(cri: &Cri) -> (String, String) {
    let mut told = false;
    loop {
        match cri.version().await {
            Ok(version) => return (version.runtime_name, version.runtime_version),
            Err(error) if !told => {
                tracing::warn!(%error, "waiting for the container runtime");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
