//! The federation's controllers: a client of the hub and of its members.
//!
//! Templates and policies make bindings (`detector`); bindings get clusters (`scheduler`); clusters
//! get Works (`binding`); Works become objects in members (`execution`); members report back
//! (`work_status`); lost members are left (`cluster`, `failover`). Every controller takes a key,
//! reads anew, and writes only what changes.

mod binding;
mod cluster;
mod config;
mod credentials;
mod dependencies;
mod detector;
mod diff;
mod error;
mod execution;
mod failover;
mod hub;
mod kinds;
mod members;
mod namespace;
mod scheduler;
mod wiring;
mod work_status;
mod works;

use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as ext;
use hansa_client::LeaderElector;
use hansa_client::kube::{Api, Client};
use hansa_federation_api::{crds, names};
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use scheduler::Policies;

use crate::hub::Hub;
use crate::members::Members;

/// Runs the federation of a hub until `stop`. Waits until the hub has the federation's kinds, which
/// `fedctl init` brings.
///
/// # Errors
/// None while the hub can be reached at all: what fails is tried again.
pub async fn run(
    config: Config,
    hub: Client,
    policies: Policies,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = kinds_exist(&hub) => {}
    }
    if !config.leader_elect {
        act(config, hub, policies, stop).await;
        return Ok(());
    }
    let lease = "hansa-federation-manager";
    let elector = LeaderElector::new(hub.clone(), names::SYSTEM_NAMESPACE, lease, &config.identity);
    while !stop.is_cancelled() {
        let (config, hub, policies) = (config.clone(), hub.clone(), policies.clone());
        elector.run(stop.clone(), |leading| act(config, hub, policies, leading)).await;
    }
    Ok(())
}

/// Returns when every kind of the federation is served.
async fn kinds_exist(hub: &Client) {
    let api: Api<ext::CustomResourceDefinition> = Api::all(hub.clone());
    for crd in crds::crds() {
        let name = crd.metadata.name.unwrap_or_default();
        while !is_established(&api, &name).await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn is_established(api: &Api<ext::CustomResourceDefinition>, name: &str) -> bool {
    let Ok(Some(crd)) = api.get_opt(name).await else { return false };
    let conditions = crd.status.and_then(|s| s.conditions).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Established" && c.status == "True")
}

/// All controllers, until `stop` or until the right to act is lost.
async fn act(config: Config, client: Client, policies: Policies, stop: CancellationToken) {
    let hub = Arc::new(Hub::new(client, stop.clone()));
    tokio::select! {
        () = stop.cancelled() => return,
        () = hub.synced() => {}
    }
    tracing::info!("the federation is in view");
    let members = Arc::new(Members::new(config.member_timeout, stop.clone()));
    let workers = config.workers;
    tokio::join!(
        cluster::run(hub.clone(), members, config, stop.clone()),
        namespace::run(hub.clone(), workers, stop.clone()),
        detector::run(hub.clone(), workers, stop.clone()),
        scheduler::run(hub.clone(), policies, workers, stop.clone()),
        binding::run(hub.clone(), workers, stop.clone()),
        dependencies::run(hub.clone(), workers, stop.clone()),
        work_status::run_aggregation(hub.clone(), workers, stop.clone()),
        failover::run(hub, workers, stop),
    );
}
