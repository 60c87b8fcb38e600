//! The cluster's DNS: Services and EndpointSlices become records, and a server answers for them.
//!
//! Names and record types are those of the Kubernetes DNS specification, version 1.1.0. [`records`]
//! is the pure part; [`zone`] holds all records; [`server`] answers over UDP and TCP, and hands what
//! is not the cluster's to the machine's own resolvers ([`forward`]).

pub mod forward;
pub mod records;
pub mod server;
pub mod zone;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::Service;
use hansa_api::k8s_openapi::api::discovery::v1::EndpointSlice;
use hansa_client::kube::Client;
use hansa_client::{Change, Informers, ObjectKey};
use tokio_util::sync::CancellationToken;

use crate::server::Server;
use crate::zone::Zone;

/// How the server runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens, UDP and TCP; the first address that can be bound is used.
    pub listen: Vec<SocketAddr>,
    /// The cluster's domain, such as `cluster.local`.
    pub domain: String,
    /// Who answers for everything else; none answers REFUSED.
    pub upstreams: Vec<SocketAddr>,
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Answers until `stop`.
///
/// # Errors
/// If none of the addresses can be bound.
pub async fn run(config: Config, client: Client, stop: CancellationToken) -> anyhow::Result<()> {
    let zone = Arc::new(Zone::new(&config.domain));
    let server = Server::bind(&config.listen, zone.clone(), config.upstreams).await?;
    tracing::info!(address = %server.address(), "answering DNS queries");
    let informers = Informers::new(client, stop.child_token());
    tokio::select! {
        () = follow(&informers, &config.domain, &zone) => {}
        () = server.serve() => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

/// Keeps the zone current; the work of a change is that of the one Service.
async fn follow(informers: &Informers, domain: &str, zone: &Zone) {
    let services = informers.of::<Service>();
    let slices = informers.of::<EndpointSlice>();
    services.synced().await;
    slices.synced().await;
    let mut service_changes = services.subscribe();
    let mut slice_changes = slices.subscribe();
    let mut by_service: HashMap<ObjectKey, BTreeMap<String, Arc<EndpointSlice>>> = HashMap::new();
    loop {
        let key = tokio::select! {
            Some(change) = service_changes.recv() => change.key(),
            Some(change) = slice_changes.recv() => match note_slice(&mut by_service, &change) {
                Some(key) => key,
                None => continue,
            },
            else => return,
        };
        let known: Vec<_> =
            by_service.get(&key).into_iter().flat_map(BTreeMap::values).cloned().collect();
        let service = services.get_key(&key);
        let records = service.map(|service| records::of_service(&service, &known, domain));
        zone.set(key, records.unwrap_or_default());
    }
}

fn note_slice(
    by_service: &mut HashMap<ObjectKey, BTreeMap<String, Arc<EndpointSlice>>>,
    change: &Change<EndpointSlice>,
) -> Option<ObjectKey> {
    let labels = change.object().metadata.labels.as_ref()?;
    let ObjectKey { namespace, name } = change.key();
    let service = ObjectKey::new(namespace, labels.get(SERVICE_NAME)?);
    let slices = by_service.entry(service.clone()).or_default();
    match change {
        Change::Applied { new, .. } => drop(slices.insert(name, new.clone())),
        Change::Deleted(_) => drop(slices.remove(&name)),
    }
    if slices.is_empty() {
        by_service.remove(&service);
    }
    Some(service)
}
