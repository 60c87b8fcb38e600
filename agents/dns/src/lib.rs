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
        let keys = tokio::select! {
            Some(change) = service_changes.recv() => vec![change.key()],
            Some(change) = slice_changes.recv() => note_slice(&mut by_service, &change),
            else => return,
        };
        for key in keys {
            let known: Vec<_> =
                by_service.get(&key).into_iter().flat_map(BTreeMap::values).cloned().collect();
            let service = services.get_key(&key);
            let records = service.map(|service| records::of_service(&service, &known, domain));
            zone.set(key, records.unwrap_or_default());
        }
    }
}

type ByService = HashMap<ObjectKey, BTreeMap<String, Arc<EndpointSlice>>>;

/// Notes a slice; answers the Services that this concerns: two if it was given to another one.
fn note_slice(by_service: &mut ByService, change: &Change<EndpointSlice>) -> Vec<ObjectKey> {
    let ObjectKey { namespace, name } = change.key();
    let service_of = |slice: &EndpointSlice| {
        let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
        Some(ObjectKey::new(namespace.clone(), service))
    };
    let mut concerned = Vec::new();
    let old = match change {
        Change::Applied { old, .. } => old.as_deref().and_then(service_of),
        Change::Deleted(last) => service_of(last),
    };
    if let Some(old) = old {
        let slices = by_service.entry(old.clone()).or_default();
        slices.remove(&name);
        if slices.is_empty() {
            by_service.remove(&old);
        }
        concerned.push(old);
    }
    if let Change::Applied { new, .. } = change
        && let Some(service) = service_of(new)
    {
        by_service.entry(service.clone()).or_default().insert(name, new.clone());
        concerned.push(service);
    }
    concerned.dedup();
    concerned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_belongs_to_the_service_that_its_label_names_last() {
        let slice = |service: &str| {
            let mut slice = EndpointSlice::default();
            slice.metadata.name = Some("web-1".into());
            slice.metadata.labels = Some([(SERVICE_NAME.to_owned(), service.to_owned())].into());
            Arc::new(slice)
        };
        let (web, shop) = (ObjectKey::new("", "web"), ObjectKey::new("", "shop"));
        let mut known = ByService::new();
        let new = Change::Applied { old: None, new: slice("web") };
        assert_eq!(note_slice(&mut known, &new), std::slice::from_ref(&web));
        let moved = Change::Applied { old: Some(slice("web")), new: slice("shop") };
        assert_eq!(note_slice(&mut known, &moved), [web, shop.clone()]);
        assert_eq!(Vec::from_iter(known.keys()), [&shop]);
        assert_eq!(note_slice(&mut known, &Change::Deleted(slice("shop"))), [shop]);
        assert!(known.is_empty());
    }
}
