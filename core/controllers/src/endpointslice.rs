//! EndpointSlice: the pods behind a Service, at most a hundred to an object (KEP-752).
//!
//! A slice that is right is not written; a changed pod changes the one slice that holds it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::{Node, Pod, Service};
use hansa_api::k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice,
};
use hansa_client::kube::api::{DeleteParams, PostParams};
use hansa_client::kube::{Api, Error};
use hansa_client::{Change, Informer, ObjectKey, Requeue, Workqueue, run_workers};

use crate::Context;
use crate::backends::{self, Backend, Port};
use crate::endpoints::pod_reference;
use crate::expectations::Expectations;
use crate::owned::{name_of, reference_to};
use crate::wiring::{enqueue, enqueue_self};

const MANAGER: &str = "endpointslice-controller.k8s.io";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Most endpoints of one slice.
const MOST: usize = 100;

/// What is to be written.
#[derive(Debug, Default)]
struct Plan {
    create: Vec<EndpointSlice>,
    update: Vec<EndpointSlice>,
    delete: Vec<String>,
}

pub(crate) async fn run(context: Context) {
    let services: Informer<Service> = context.informers.of();
    let pods: Informer<Pod> = context.informers.of();
    let nodes: Informer<Node> = context.informers.of();
    let slices: Informer<EndpointSlice> = context.informers.of();
    services.synced().await;
    pods.synced().await;
    nodes.synced().await;
    slices.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&services, &queue);
    // Slices that were made and that the informer may not show yet: without them a second set would
    // be made.
    let made = Expectations::default();
    let seen = made.clone();
    enqueue(&slices, &queue, move |change| {
        let service = service_of(change.object());
        if let (Some(service), Change::Applied { old: None, .. }) = (&service, change) {
            seen.created(service);
        }
        service.into_iter().collect()
    });
    let all = services.clone();
    enqueue(&pods, &queue, move |change| backends::services_of(change, &all));
    run_workers(queue, 5, context.stop.clone(), |key: ObjectKey| {
        let service = services.get_key(&key);
        let current = slices_of(&slices, &key);
        let pods = pods.list_in(&key.namespace);
        let (client, nodes, made) = (context.client.clone(), &nodes, &made);
        async move {
            if service.is_none() {
                made.forget(&key);
            }
            if !made.satisfied(&key) {
                return Ok(Requeue::Done);
            }
            let plan = match service {
                Some(service) if backends::selector(&service).is_none() => {
                    return Ok(Requeue::Done);
                }
                Some(service) => {
                    let backends = backends::of_service(&service, &pods);
                    plan(&service, &backends, &current, |node| zone(nodes, node))
                }
                None => Plan { delete: names(&current), ..Plan::default() },
            };
            apply(&Api::namespaced(client, &key.namespace), plan, &key, made).await
        }
    })
    .await;
}

fn zone(nodes: &Informer<Node>, node: &str) -> Option<String> {
    nodes.get("", node)?.metadata.labels.as_ref()?.get(ZONE).cloned()
}

fn label<'a>(slice: &'a EndpointSlice, key: &str) -> Option<&'a String> {
    slice.metadata.labels.as_ref()?.get(key)
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    label(slice, MANAGED_BY).filter(|manager| *manager == MANAGER)?;
    let namespace = slice.metadata.namespace.clone().unwrap_or_default();
    Some(ObjectKey::new(namespace, label(slice, SERVICE_NAME)?))
}

fn slices_of(slices: &Informer<EndpointSlice>, service: &ObjectKey) -> Vec<Arc<EndpointSlice>> {
    let mut mine = slices.list_in(&service.namespace);
    mine.retain(|slice| service_of(slice).as_ref() == Some(service));
    mine
}

fn names(slices: &[Arc<EndpointSlice>]) -> Vec<String> {
    slices.iter().map(|slice| name_of(&slice.metadata).to_owned()).collect()
}

/// Keeps every endpoint in the slice that holds it, fills up slices that have room, and adds new
/// ones for the rest; slices left empty go, but for one.
fn plan(
    service: &Service,
    backends: &[Backend],
    current: &[Arc<EndpointSlice>],
    zone_of: impl Fn(&str) -> Option<String>,
) -> Plan {
    let mut plan = Plan::default();
    let mut by_ports: BTreeMap<Vec<Port>, Vec<&Backend>> = BTreeMap::new();
    for backend in backends {
        by_ports.entry(backend.ports.clone()).or_default().push(backend);
    }
    if by_ports.is_empty() {
        // One empty slice without ports: named ones cannot be resolved without a pod.
        by_ports.insert(Vec::new(), Vec::new());
    }
    let mut kept: BTreeSet<&str> = BTreeSet::new();
    for (ports, members) in by_ports {
        let wanted = members.into_iter().map(|backend| endpoint(service, backend, &zone_of));
        let slice_ports = slice_ports(&ports);
        let mine: Vec<_> = current
            .iter()
            .filter(|slice| slice.ports.as_deref().unwrap_or_default() == slice_ports)
            .collect();
        distribute(service, &slice_ports, wanted.collect(), &mine, &mut plan, &mut kept);
    }
    let gone = current.iter().filter(|slice| !kept.contains(name_of(&slice.metadata)));
    plan.delete = gone.map(|slice| name_of(&slice.metadata).to_owned()).collect();
    plan
}

fn distribute<'a>(
    service: &Service,
    ports: &[EndpointPort],
    wanted: Vec<Endpoint>,
    current: &[&'a Arc<EndpointSlice>],
    plan: &mut Plan,
    kept: &mut BTreeSet<&'a str>,
) {
    let mut open: BTreeMap<String, Endpoint> =
        wanted.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut stays: Vec<(&'a Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in current {
        let present = slice.endpoints.iter().flatten();
        let still = present.filter_map(|endpoint| open.remove(&identity(endpoint)));
        stays.push((slice, still.collect()));
    }
    let mut rest: VecDeque<Endpoint> = open.into_values().collect();
    let mut empty_allowed = rest.is_empty() && stays.iter().all(|(_, still)| still.is_empty());
    for (slice, mut endpoints) in stays {
        let room = MOST.saturating_sub(endpoints.len()).min(rest.len());
        endpoints.extend(rest.drain(..room));
        if endpoints.is_empty() && !std::mem::take(&mut empty_allowed) {
            continue;
        }
        kept.insert(name_of(&slice.metadata));
        let new = EndpointSlice { endpoints: Some(endpoints), ..with_labels(slice, service) };
        if !same(&new, slice) {
            plan.update.push(new);
        }
    }
    if current.is_empty() && rest.is_empty() {
        plan.create.push(new_slice(service, ports, Vec::new()));
    }
    while !rest.is_empty() {
        let part = rest.drain(..rest.len().min(MOST)).collect();
        plan.create.push(new_slice(service, ports, part));
    }
}

fn same(a: &EndpointSlice, b: &EndpointSlice) -> bool {
    a.endpoints.as_deref().unwrap_or_default() == b.endpoints.as_deref().unwrap_or_default()
        && a.metadata.labels == b.metadata.labels
}

fn identity(endpoint: &Endpoint) -> String {
    let pod = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    format!("{}/{}", pod.unwrap_or_default(), endpoint.addresses.join(","))
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels.insert(SERVICE_NAME.into(), name_of(&service.metadata).into());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels
}

fn with_labels(slice: &EndpointSlice, service: &Service) -> EndpointSlice {
    let mut slice = slice.clone();
    slice.metadata.labels = Some(labels(service));
    slice
}

fn new_slice(service: &Service, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    let mut slice = EndpointSlice {
        address_type: address_type(service).into(),
        endpoints: Some(endpoints),
        ports: Some(ports.to_vec()),
        ..EndpointSlice::default()
    };
    slice.metadata.generate_name = Some(format!("{}-", name_of(&service.metadata)));
    slice.metadata.namespace = service.metadata.namespace.clone();
    slice.metadata.labels = Some(labels(service));
    slice.metadata.owner_references = Some(vec![reference_to(service)]);
    slice
}

fn address_type(service: &Service) -> &'static str {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref());
    match families.and_then(|families| families.first()).map(String::as_str) {
        Some("IPv6") => "IPv6",
        _ => "IPv4",
    }
}

fn endpoint(
    service: &Service,
    backend: &Backend,
    zone_of: &impl Fn(&str) -> Option<String>,
) -> Endpoint {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    Endpoint {
        addresses: vec![backend.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(backend.ready),
            serving: Some(backend.serving),
            terminating: Some(backend.terminating),
        }),
        hostname: backend.hostname.clone(),
        node_name: backend.node.clone(),
        target_ref: Some(pod_reference(namespace, backend)),
        zone: backend.node.as_deref().and_then(zone_of),
        ..Endpoint::default()
    }
}

fn slice_ports(ports: &[Port]) -> Vec<EndpointPort> {
    let ports = ports.iter().map(|port| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    });
    ports.collect()
}

async fn apply(
    api: &Api<EndpointSlice>,
    plan: Plan,
    service: &ObjectKey,
    made: &Expectations,
) -> Result<Requeue, Error> {
    for slice in &plan.update {
        api.replace(name_of(&slice.metadata), &PostParams::default(), slice).await?;
    }
    create(api, &plan.create, service, made).await?;
    for name in &plan.delete {
        match api.delete(name, &DeleteParams::default()).await {
            Err(Error::Api(status)) if status.is_not_found() => {}
            outcome => drop(outcome?),
        }
    }
    Ok(Requeue::Done)
}

async fn create(
    api: &Api<EndpointSlice>,
    slices: &[EndpointSlice],
    service: &ObjectKey,
    made: &Expectations,
) -> Result<(), Error> {
    if !slices.is_empty() {
        made.expect(service, slices.len(), []);
    }
    for (index, slice) in slices.iter().enumerate() {
        if let Err(error) = api.create(&PostParams::default(), slice).await {
            (index..slices.len()).for_each(|_| made.created(service));
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::tests::{pod, service};

    fn backends(count: usize) -> Vec<Backend> {
        let pods: Vec<_> = (0..count)
            .map(|n| {
                Arc::new(pod(&format!("p{n:03}"), &format!("127.64.{}.{}", n / 250, n % 250), true))
            })
            .collect();
        backends::of_service(&service(), &pods)
    }

    fn named(plan: Plan) -> Vec<Arc<EndpointSlice>> {
        let slices = plan.create.into_iter().enumerate().map(|(index, mut slice)| {
            slice.metadata.name = Some(format!("web-{index}"));
            Arc::new(slice)
        });
        slices.collect()
    }

    #[test]
    fn slices_hold_at_most_a_hundred() {
        let plan = plan(&service(), &backends(250), &[], |_| None);
        let sizes: Vec<_> =
            plan.create.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn nothing_changed_writes_nothing() {
        let slices = named(plan(&service(), &backends(150), &[], |_| None));
        let again = plan(&service(), &backends(150), &slices, |_| None);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
    }

    #[test]
    fn one_changed_pod_changes_one_slice() {
        let slices = named(plan(&service(), &backends(150), &[], |_| None));
        let mut changed = backends(150);
        changed[120].ready = false;
        let plan = plan(&service(), &changed, &slices, |_| None);
        assert_eq!(plan.update.len(), 1);
        assert!(plan.create.is_empty() && plan.delete.is_empty());
    }

    #[test]
    fn a_service_without_pods_keeps_one_empty_slice() {
        let slices = named(plan(&service(), &[], &[], |_| None));
        assert_eq!(slices.len(), 1);
        let again = plan(&service(), &[], &slices, |_| None);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
    }

    #[test]
    fn the_zone_is_that_of_the_node() {
        let mut one = backends(1);
        one[0].node = Some("n1".into());
        let plan = plan(&service(), &one, &[], |node| (node == "n1").then(|| "eu-west-a".into()));
        let endpoints = plan.create[0].endpoints.as_ref().unwrap();
        assert_eq!(endpoints[0].zone.as_deref(), Some("eu-west-a"));
    }
}
