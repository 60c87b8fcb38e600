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
    let ObjectKey { namespace, name } = change.key();
    let service_of = |slice: &EndpointSlice| {
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE_NAME))?;
        Some(ObjectKey::new(namespace.clone(), service))
    };
    let (old, new) = match &change {
        Change::Applied { old, new } => (old.as_deref().and_then(service_of), Some(new)),
        Change::Deleted(last) => (service_of(last), None),
    };
    let service = new.and_then(|slice| service_of(slice));
    // A slice may be given to another Service.
    if let Some(old) = old.filter(|old| Some(old) != service.as_ref()) {
        tracker.remove_slice(&old, &name);
    }
    if let (Some(service), Some(slice)) = (service, new) {
        tracker.set_slice(&service, name, slice.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rules::tests::{service, slice};

    #[test]
    fn a_slice_that_is_given_to_another_service_leaves_the_first() {
        let named = |name: &str| {
            let mut service = service(if name == "web" { "127.64.128.9" } else { "127.64.128.8" });
            service.metadata.name = Some(name.into());
            Change::Applied { old: None, new: Arc::new(service) }
        };
        let labelled = |service: &str| {
            let mut slice = (*slice(&[("127.64.0.2", "n1", true, false)])).clone();
            slice.metadata.namespace = Some("default".into());
            slice.metadata.name = Some("web-1".into());
            let label = (SERVICE_NAME.to_owned(), service.to_owned());
            slice.metadata.labels = Some([label].into());
            Arc::new(slice)
        };
        let mut tracker = Tracker::new("n1".into(), Vec::new());
        note_service(&mut tracker, named("web"));
        note_service(&mut tracker, named("shop"));
        note_slice(&mut tracker, Change::Applied { old: None, new: labelled("web") });
        tracker.take_changes();
        let (old, new) = (Some(labelled("web")), labelled("shop"));
        note_slice(&mut tracker, Change::Applied { old, new });
        let led: Vec<_> = tracker
            .take_changes()
            .set
            .into_iter()
            .map(|(at, to)| (at.address.ip().to_string(), to.endpoints.len()))
            .collect();
        assert_eq!(led, [("127.64.128.8".into(), 1), ("127.64.128.9".into(), 0)]);
        note_slice(&mut tracker, Change::Deleted(labelled("shop")));
        assert!(tracker.take_changes().set.values().all(|to| to.endpoints.is_empty()));
    }
}
