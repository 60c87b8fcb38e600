//! Services and EndpointSlices become pure rules, and a backend makes them so.
//!
//! [`rules`] is the pure part: it knows what every Service address leads to. [`tracker`] keeps the
//! rules of all Services current, one Service at a time. A backend ([`userspace`]) is told which
//! addresses changed and renders them.

pub mod rules;
pub mod tracker;
pub mod userspace;

use std::net::IpAddr;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::Service;
use hansa_api::k8s_openapi::api::discovery::v1::EndpointSlice;
use hansa_client::kube::Client;
use hansa_client::{Change, Informers, ObjectKey};
use tokio_util::sync::CancellationToken;

use crate::tracker::Tracker;
use crate::userspace::Userspace;

/// How the proxy runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's own name: `externalTrafficPolicy: Local` and `internalTrafficPolicy: Local` keep
    /// to its endpoints.
    pub node_name: String,
    /// The addresses that NodePorts are served on.
    pub node_addresses: Vec<IpAddr>,
}

/// Between tries to open addresses that could not be opened.
const RETRY: Duration = Duration::from_secs(30);
/// Changes that arrive this close together are rendered together.
const GATHER: Duration = Duration::from_millis(5);

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Serves the addresses of all Services in this process, until `stop`.
///
/// # Errors
/// None while it runs: an address that cannot be opened is logged and tried again.
pub async fn run(config: Config, client: Client, stop: CancellationToken) -> anyhow::Result<()> {
    let informers = Informers::new(client, stop.child_token());
    let services = informers.of::<Service>();
    let slices = informers.of::<EndpointSlice>();
    services.synced().await;
    slices.synced().await;
    let mut service_changes = services.subscribe();
    let mut slice_changes = slices.subscribe();
    let mut tracker = Tracker::new(config.node_name, config.node_addresses);
    let mut backend = Userspace::default();
    let mut retry = tokio::time::interval(RETRY);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(change) = service_changes.recv() => note_service(&mut tracker, change),
            Some(change) = slice_changes.recv() => note_slice(&mut tracker, change),
            _ = retry.tick() => backend.retry().await,
        }
        tokio::time::sleep(GATHER).await;
        while let Ok(change) = service_changes.try_recv() {
            note_service(&mut tracker, change);
        }
        while let Ok(change) = slice_changes.try_recv() {
            note_slice(&mut tracker, change);
        }
        backend.apply(tracker.take_changes()).await;
    }
    backend.close();
    Ok(())
}

fn note_service(tracker: &mut Tracker, change: Change<Service>) {
    let key = change.key();
    match change {
        Change::Applied { new, .. } => tracker.set_service(key, new),
        Change::Deleted(_) => tracker.remove_service(&key),
    }
}

fn note_slice(tracker: &mut Tracker, change: Change<EndpointSlice>) {
    let slice = change.object();
    let labels = slice.metadata.labels.as_ref();
    let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) else { return };
    let slice_key = change.key();
    let service = ObjectKey::new(slice_key.namespace.clone(), service);
    match change {
        Change::Applied { new, .. } => tracker.set_slice(&service, slice_key.name, new),
        Change::Deleted(_) => tracker.remove_slice(&service, &slice_key.name),
    }
}
