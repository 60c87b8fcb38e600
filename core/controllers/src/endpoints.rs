//! Endpoints: the addresses behind a Service in one object, for clients of before EndpointSlices.

use std::collections::BTreeMap;

use hansa_api::k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use hansa_client::kube::api::{DeleteParams, PostParams};
use hansa_client::kube::{Api, Error};
use hansa_client::{Informer, ObjectKey, Requeue, Workqueue, run_workers};

use crate::Context;
use crate::backends::{self, Backend, Port};
use crate::wiring::{enqueue, enqueue_self};

const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Most addresses of one object; the rest is cut and the object annotated.
const MOST: usize = 1000;

pub(crate) async fn run(context: Context) {
    let services: Informer<Service> = context.informers.of();
    let pods: Informer<Pod> = context.informers.of();
    let endpoints: Informer<Endpoints> = context.informers.of();
    services.synced().await;
    pods.synced().await;
    endpoints.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&services, &queue);
    enqueue_self(&endpoints, &queue);
    let all = services.clone();
    enqueue(&pods, &queue, move |change| backends::services_of(change, &all));
    run_workers(queue, 5, context.stop.clone(), |key: ObjectKey| {
        let service = services.get_key(&key);
        let current = endpoints.get_key(&key);
        let pods = pods.list_in(&key.namespace);
        let api = Api::namespaced(context.client.clone(), &key.namespace);
        async move {
            match service {
                None => remove(&api, current.as_deref()).await,
                Some(service) if backends::selector(&service).is_none() => Ok(Requeue::Done),
                Some(service) => {
                    let wanted = plan(&service, &backends::of_service(&service, &pods));
                    write(&api, current.as_deref(), wanted).await
                }
            }
        }
    })
    .await;
}

/// The Endpoints object of a Service with these backends.
fn plan(service: &Service, backends: &[Backend]) -> Endpoints {
    let mut endpoints = Endpoints::default();
    endpoints.metadata.name = service.metadata.name.clone();
    endpoints.metadata.namespace = service.metadata.namespace.clone();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    let headless =
        service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None");
    if headless {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert("endpoints.kubernetes.io/managed-by".into(), "endpoint-controller".into());
    endpoints.metadata.labels = Some(labels);
    if backends.len() > MOST {
        let annotations = BTreeMap::from([(OVER_CAPACITY.to_owned(), "truncated".to_owned())]);
        endpoints.metadata.annotations = Some(annotations);
    }
    // Where not all have room, those that serve come first.
    let mut chosen: Vec<&Backend> = backends.iter().collect();
    chosen.sort_by_key(|backend| !backend.ready);
    chosen.truncate(MOST);
    let subsets = subsets(service, &chosen);
    endpoints.subsets = (!subsets.is_empty()).then_some(subsets);
    endpoints
}

/// One subset per set of ports; the addresses of each in the order of their text.
fn subsets(service: &Service, backends: &[&Backend]) -> Vec<EndpointSubset> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let mut by_ports: BTreeMap<Vec<Port>, Vec<&Backend>> = BTreeMap::new();
    for backend in backends.iter().filter(|backend| backend.ready || !backend.terminating) {
        by_ports.entry(backend.ports.clone()).or_default().push(*backend);
    }
    let subsets = by_ports.into_iter().map(|(ports, mut members)| {
        members.sort_by(|a, b| a.ip.cmp(&b.ip));
        let addresses = |ready: bool| {
            let chosen = members.iter().filter(|backend| backend.ready == ready);
            let chosen: Vec<_> = chosen.map(|backend| address(namespace, backend)).collect();
            (!chosen.is_empty()).then_some(chosen)
        };
        EndpointSubset {
            addresses: addresses(true),
            not_ready_addresses: addresses(false),
            ports: (!ports.is_empty()).then(|| ports.into_iter().map(port).collect()),
        }
    });
    subsets.collect()
}

fn address(namespace: &str, backend: &Backend) -> EndpointAddress {
    EndpointAddress {
        hostname: backend.hostname.clone(),
        ip: backend.ip.clone(),
        node_name: backend.node.clone(),
        target_ref: Some(pod_reference(namespace, backend)),
    }
}

pub(crate) fn pod_reference(namespace: &str, backend: &Backend) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: Some(namespace.into()),
        name: Some(backend.pod.0.clone()),
        uid: Some(backend.pod.1.clone()),
        ..ObjectReference::default()
    }
}

fn port(port: Port) -> EndpointPort {
    EndpointPort {
        name: port.name,
        port: port.number,
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

async fn remove(api: &Api<Endpoints>, current: Option<&Endpoints>) -> Result<Requeue, Error> {
    let managed = |endpoints: &Endpoints| {
        let labels = endpoints.metadata.labels.as_ref();
        labels.is_some_and(|all| all.contains_key("endpoints.kubernetes.io/managed-by"))
    };
    if let Some(name) =
        current.filter(|now| managed(now)).and_then(|now| now.metadata.name.as_ref())
    {
        match api.delete(name, &DeleteParams::default()).await {
            Err(Error::Api(status)) if status.is_not_found() => {}
            outcome => drop(outcome?),
        }
    }
    Ok(Requeue::Done)
}

async fn write(
    api: &Api<Endpoints>,
    current: Option<&Endpoints>,
    mut wanted: Endpoints,
) -> Result<Requeue, Error> {
    let Some(current) = current else {
        api.create(&PostParams::default(), &wanted).await?;
        return Ok(Requeue::Done);
    };
    if !is_right(current, &wanted) {
        let name = wanted.metadata.name.clone().unwrap_or_default();
        keep_annotations(current, &mut wanted);
        wanted.metadata.resource_version = current.metadata.resource_version.clone();
        api.replace(&name, &PostParams::default(), &wanted).await?;
    }
    Ok(Requeue::Done)
}

fn is_right(current: &Endpoints, wanted: &Endpoints) -> bool {
    current.subsets == wanted.subsets
        && current.metadata.labels == wanted.metadata.labels
        && is_cut(current) == is_cut(wanted)
}

fn is_cut(endpoints: &Endpoints) -> bool {
    let annotations = endpoints.metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key(OVER_CAPACITY))
}

/// Annotations of others stay.
fn keep_annotations(current: &Endpoints, wanted: &mut Endpoints) {
    let mut all = current.metadata.annotations.clone().unwrap_or_default();
    all.remove(OVER_CAPACITY);
    all.extend(wanted.metadata.annotations.take().unwrap_or_default());
    wanted.metadata.annotations = (!all.is_empty()).then_some(all);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backends::tests::{pod, service};

    #[test]
    fn ready_and_unready_addresses_are_kept_apart() {
        let pods =
            [Arc::new(pod("a", "127.64.0.2", true)), Arc::new(pod("b", "127.64.0.3", false))];
        let endpoints = plan(&service(), &backends::of_service(&service(), &pods));
        let subsets = endpoints.subsets.unwrap();
        assert_eq!(subsets.len(), 1);
        assert_eq!(subsets[0].addresses.as_ref().unwrap()[0].ip, "127.64.0.2");
        assert_eq!(subsets[0].not_ready_addresses.as_ref().unwrap()[0].ip, "127.64.0.3");
        assert_eq!(subsets[0].ports.as_ref().unwrap()[0].port, 8080);
    }

    #[test]
    fn a_service_without_pods_has_endpoints_without_subsets() {
        assert_eq!(plan(&service(), &[]).subsets, None);
    }

    #[test]
    fn too_many_addresses_are_cut_once_those_that_serve_first() {
        let pods: Vec<_> = (0..=MOST)
            .map(|n| {
                Arc::new(pod(
                    &format!("p{n:04}"),
                    &format!("127.64.{}.{}", n / 250, n % 250),
                    n > 0,
                ))
            })
            .collect();
        let wanted = plan(&service(), &backends::of_service(&service(), &pods));
        let subsets = wanted.subsets.as_ref().unwrap();
        assert_eq!(subsets[0].addresses.as_ref().unwrap().len(), MOST);
        assert_eq!(subsets[0].not_ready_addresses, None);
        let mut written = wanted.clone();
        written.metadata.annotations.get_or_insert_default().insert("team".into(), "a".into());
        assert!(is_right(&written, &wanted), "a steady state writes nothing");
        let mut fewer = plan(&service(), &[]);
        assert!(!is_right(&written, &fewer));
        keep_annotations(&written, &mut fewer);
        let kept = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        assert_eq!(fewer.metadata.annotations, Some(kept));
    }
}
