//! The components that decide and reconcile: controllers, scheduler, cloud, and on a hub the
//! federation manager.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hansa_controllers::Plugins;
use hansa_plugin_host::{Host, HostConfig};

use super::in_process::Clients;
use super::{Cluster, guests, identity, kinds};
use crate::network::Network;

/// The host of decisions, without any yet.
///
/// # Errors
/// If there can be no engine.
pub fn host(cluster: &Cluster) -> Result<Host> {
    let config = HostConfig { cache_dir: Some(cluster.instance.dir.join("compiled")) };
    Host::new(&config).context("failed to start the host of decisions")
}

/// Starts them.
///
/// # Errors
/// If the host cannot run the components that come with the product.
pub async fn start(cluster: &Arc<Cluster>, clients: &Clients, host: &Host) -> Result<()> {
    let (installed, with) = (host.clone(), cluster.clone());
    tokio::task::spawn_blocking(move || guests::install(&with, &installed)).await??;
    start_controllers(cluster, clients, host);
    if cluster.settings.hub {
        start_federation(cluster, clients, host);
    } else {
        start_scheduler(cluster, clients, host);
        start_cloud(cluster, clients, host);
    }
    Ok(())
}

fn start_controllers(cluster: &Arc<Cluster>, clients: &Clients, host: &Host) {
    let config = hansa_controllers::Config {
        hub: cluster.settings.hub,
        root_ca: cluster.pki.ca_pem().to_owned(),
        cluster_cidr: Some(cluster.network.pod_cidr()),
        node_cidr_prefix: Network::node_prefix(cluster.settings.nodes),
        node_cidr_reserved: Some(cluster.network.node_cidr()),
        node_monitor_grace: Duration::from_secs(40),
        identity: None,
    };
    let plugins = Plugins {
        runtime: Arc::new(host.clone()),
        directory: Some(cluster.instance.dir.join("plugins")),
    };
    let (client, definer) = (clients.component(identity::CONTROLLERS), clients.admin());
    cluster.supervisor.spawn("controller-manager", move |stop| {
        let (config, plugins) = (config.clone(), Some(plugins.clone()));
        let (client, definer) = (client.clone(), definer.clone());
        async move {
            kinds::ensure(definer).await?;
            hansa_controllers::run(config, client, plugins, stop).await
        }
    });
}

fn start_scheduler(cluster: &Arc<Cluster>, clients: &Clients, host: &Host) {
    let (client, host) = (clients.component(identity::SCHEDULER), host.clone());
    cluster.supervisor.spawn("scheduler", move |stop| {
        let config = hansa_scheduler::Config::default();
        hansa_scheduler::run(config, client.clone(), host.scheduler(), stop)
    });
}

fn start_cloud(cluster: &Arc<Cluster>, clients: &Clients, host: &Host) {
    let (client, host) = (clients.component(identity::CLOUD), host.clone());
    let name = cluster.settings.name.clone();
    cluster.supervisor.spawn("cloud-controller-manager", move |stop| {
        let config = hansa_cloud::Config { cluster_name: name.clone(), ..Default::default() };
        hansa_cloud::run(config, client.clone(), host.cloud(), stop)
    });
}

fn start_federation(cluster: &Arc<Cluster>, clients: &Clients, host: &Host) {
    let (client, host) = (clients.component(identity::FEDERATION), host.clone());
    cluster.supervisor.spawn("federation-manager", move |stop| {
        // Regions of one machine: a loss shows within seconds.
        let config = hansa_federation_manager::Config {
            probe_period: Duration::from_secs(1),
            eviction_grace: Some(Duration::from_secs(5)),
            recovery: Duration::from_secs(3),
            ..Default::default()
        };
        hansa_federation_manager::run(config, client.clone(), host.federation(), stop)
    });
}
