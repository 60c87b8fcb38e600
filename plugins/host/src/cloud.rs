//! The cloud's world: the deciding guest as a [`CloudProvider`].

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use hansa_extension::cloud::{self as host, CloudError, CloudProvider};
use hansa_extension::seat::Seats;
use hansa_extension::{ActiveSet, PluginError};
use parking_lot::Mutex;

use crate::bindings::cloud as wit;
use crate::bindings::cloud::hansa::cloud::types as guest;
use crate::bindings::scheduler::hansa::core::types::{Code, Failure, Kv};
use crate::guest::Guest;
use crate::version::{Version, lifecycle};

lifecycle!(wit::Provider, wit::ProviderPre<crate::guest::GuestState>);

/// A live provider.
pub struct CloudGuest(Guest<wit::Provider>);

/// A configured instance of a version.
///
/// # Errors
/// What the guest did wrong.
pub fn make(version: &Version) -> Result<Box<CloudGuest>, PluginError> {
    Ok(Box::new(CloudGuest(version.guest()?)))
}

/// Whoever is the cloud now. Calls run one after the other on a thread for blocking work.
pub struct Cloud {
    seats: Arc<Mutex<Seats<CloudGuest>>>,
    balancers: Balancers,
}

/// The load balancers that a provider was told of, by their Services' UIDs.
type Balancers = Arc<Mutex<BTreeMap<String, Told>>>;

/// What a provider was last told of a load balancer, and the addresses that it gave.
struct Told {
    spec: guest::LbSpec,
    nodes: Vec<guest::NodeRef>,
}

impl Cloud {
    /// The cloud that follows `active`.
    pub fn new(active: Arc<ActiveSet<CloudGuest>>) -> Self {
        let seats = Arc::new(Mutex::new(Seats::new(active)));
        Self { seats, balancers: Balancers::default() }
    }

    /// Asks the provider: `question` calls the guest and checks what it says.
    async fn ask<R: Send + 'static>(
        &self,
        mut question: impl FnMut(&mut CloudGuest) -> Answer<R> + Send + 'static,
    ) -> Result<R, CloudError> {
        let (seats, balancers) = (Arc::clone(&self.seats), Arc::clone(&self.balancers));
        let asked = tokio::task::spawn_blocking(move || {
            let mut seats = seats.lock();
            seats.refresh();
            let nobody = || PluginError::Nobody("cloud".into());
            let seat = seats.sole().ok_or_else(nobody)?;
            seat.call(&|fresh| retell(fresh, &balancers.lock()), &mut question)
        });
        let answered = asked.await.map_err(|error| PluginError::Trap(error.to_string()))?;
        let (answer, _) = answered?;
        answer.map_err(failure)
    }
}

/// Tells a fresh instance, which knows nothing, of the balancers that there are: addresses that one
/// before it gave away must not be given twice. What it refuses now it is asked for again when the
/// Service changes.
fn retell(fresh: &mut CloudGuest, told: &BTreeMap<String, Told>) -> Result<(), PluginError> {
    for Told { spec, nodes } in told.values() {
        fresh.ensure(spec, nodes)?.map_or_else(
            |no| tracing::warn!(service = spec.name, reason = no.message, "balancer not retold"),
            drop,
        );
    }
    Ok(())
}

impl CloudGuest {
    fn ensure(
        &mut self,
        spec: &guest::LbSpec,
        nodes: &[guest::NodeRef],
    ) -> Answer<Vec<guest::LbIngress>> {
        self.0.call(|b, s| b.hansa_cloud_load_balancers().call_ensure(s, spec, nodes))
    }
}

/// The guest's yes or no, or a broken guest.
type Answer<R> = Result<Result<R, Failure>, PluginError>;

#[async_trait]
impl CloudProvider for Cloud {
    async fn instance_states(
        &self,
        nodes: &[host::NodeRef],
    ) -> Result<Vec<host::InstanceState>, CloudError> {
        let nodes = node_refs(nodes);
        let states = self.ask(move |cloud| {
            let answer = cloud.0.call(|b, s| b.hansa_cloud_instances_v2().call_state(s, &nodes))?;
            as_many(answer, nodes.len())
        });
        Ok(states.await?.into_iter().map(instance_state).collect())
    }

    async fn instance_metadata(
        &self,
        nodes: &[host::NodeRef],
    ) -> Result<Vec<Result<host::Instance, CloudError>>, CloudError> {
        let nodes = node_refs(nodes);
        let instances = self.ask(move |cloud| {
            let answer =
                cloud.0.call(|b, s| b.hansa_cloud_instances_v2().call_metadata(s, &nodes))?;
            as_many(answer, nodes.len())
        });
        let each = |one: Result<guest::Instance, Failure>| one.map(instance).map_err(failure);
        Ok(instances.await?.into_iter().map(each).collect())
    }

    async fn local_zone(&self) -> Result<(String, String), CloudError> {
        self.ask(|cloud| cloud.0.call(|b, s| b.hansa_cloud_zones().call_local_zone(s))).await
    }

    async fn load_balancer_name(&self, spec: &host::LbSpec) -> Result<String, CloudError> {
        let spec = lb_spec(spec);
        let name = move |cloud: &mut CloudGuest| {
            let name = cloud.0.call(|b, s| b.hansa_cloud_load_balancers().call_name(s, &spec))?;
            Ok(Ok(name))
        };
        self.ask(name).await
    }

    async fn load_balancer(
        &self,
        spec: &host::LbSpec,
    ) -> Result<Option<Vec<host::LbIngress>>, CloudError> {
        let spec = lb_spec(spec);
        let found = self.ask(move |cloud| {
            cloud.0.call(|b, s| b.hansa_cloud_load_balancers().call_get(s, &spec))
        });
        Ok(found.await?.map(ingresses))
    }

    async fn ensure_load_balancer(
        &self,
        spec: &host::LbSpec,
        nodes: &[host::NodeRef],
    ) -> Result<Vec<host::LbIngress>, CloudError> {
        let (spec, nodes) = (lb_spec(spec), node_refs(nodes));
        let balancers = Arc::clone(&self.balancers);
        let made = self.ask(move |cloud| {
            let answer = cloud.ensure(&spec, &nodes)?;
            if let Ok(given) = &answer {
                let spec = guest::LbSpec { current: given.clone(), ..spec.clone() };
                let told = Told { spec, nodes: nodes.clone() };
                balancers.lock().insert(told.spec.uid.clone(), told);
            }
            Ok(answer)
        });
        Ok(ingresses(made.await?))
    }

    async fn update_load_balancer(
        &self,
        spec: &host::LbSpec,
        nodes: &[host::NodeRef],
    ) -> Result<(), CloudError> {
        let (spec, nodes) = (lb_spec(spec), node_refs(nodes));
        let balancers = Arc::clone(&self.balancers);
        let update = move |cloud: &mut CloudGuest| {
            let answer = cloud
                .0
                .call(|b, s| b.hansa_cloud_load_balancers().call_update(s, &spec, &nodes))?;
            if let Some(told) = balancers.lock().get_mut(&spec.uid) {
                told.nodes.clone_from(&nodes);
            }
            Ok(answer)
        };
        self.ask(update).await
    }

    async fn delete_load_balancer(&self, spec: &host::LbSpec) -> Result<(), CloudError> {
        let spec = lb_spec(spec);
        let balancers = Arc::clone(&self.balancers);
        let delete = move |cloud: &mut CloudGuest| {
            let answer = cloud
                .0
                .call(|b, s| b.hansa_cloud_load_balancers().call_ensure_deleted(s, &spec))?;
            if answer.is_ok() {
                balancers.lock().remove(&spec.uid);
            }
            Ok(answer)
        };
        self.ask(delete).await
    }

    async fn routes(&self, cluster: &str) -> Result<Vec<host::Route>, CloudError> {
        let cluster = cluster.to_owned();
        let listed = self
            .ask(move |cloud| cloud.0.call(|b, s| b.hansa_cloud_routes().call_list(s, &cluster)));
        Ok(listed.await?.into_iter().map(host_route).collect())
    }

    async fn create_route(
        &self,
        cluster: &str,
        hint: &str,
        r: &host::Route,
    ) -> Result<(), CloudError> {
        let (cluster, hint, route) = (cluster.to_owned(), hint.to_owned(), guest_route(r));
        let create = move |cloud: &mut CloudGuest| {
            cloud.0.call(|b, s| b.hansa_cloud_routes().call_create(s, &cluster, &hint, &route))
        };
        self.ask(create).await
    }

    async fn delete_route(&self, cluster: &str, r: &host::Route) -> Result<(), CloudError> {
        let (cluster, route) = (cluster.to_owned(), guest_route(r));
        let delete = move |cloud: &mut CloudGuest| {
            cloud.0.call(|b, s| b.hansa_cloud_routes().call_delete(s, &cluster, &route))
        };
        self.ask(delete).await
    }
}

/// An answer about `want` nodes has as many parts.
fn as_many<T>(answer: Result<Vec<T>, Failure>, want: usize) -> Answer<Vec<T>> {
    match &answer {
        Ok(list) if list.len() != want => {
            let have = list.len();
            Err(PluginError::Contract(format!("{have} answers about {want} nodes")))
        }
        _ => Ok(answer),
    }
}

fn failure(failure: Failure) -> CloudError {
    let code = match failure.code {
        Code::Unsupported => host::Code::Unsupported,
        Code::Invalid => host::Code::Invalid,
        Code::NotFound => host::Code::NotFound,
        Code::Conflict => host::Code::Conflict,
        Code::Retryable => host::Code::Retryable,
        Code::Unschedulable => host::Code::Unschedulable,
        Code::Internal => host::Code::Internal,
    };
    let (message, retry_after_ms) = (failure.message, failure.retry_after_ms);
    CloudError::Failure { code, message, retry_after_ms }
}

fn kvs(pairs: &[(String, String)]) -> Vec<Kv> {
    let kv = |(key, value): &(String, String)| Kv { key: key.clone(), value: value.clone() };
    pairs.iter().map(kv).collect()
}

fn address_kind(kind: host::AddressKind) -> guest::AddressKind {
    match kind {
        host::AddressKind::Hostname => guest::AddressKind::Hostname,
        host::AddressKind::InternalIp => guest::AddressKind::InternalIp,
        host::AddressKind::ExternalIp => guest::AddressKind::ExternalIp,
        host::AddressKind::InternalDns => guest::AddressKind::InternalDns,
        host::AddressKind::ExternalDns => guest::AddressKind::ExternalDns,
    }
}

fn address(address: guest::Address) -> host::Address {
    let kind = match address.kind {
        guest::AddressKind::Hostname => host::AddressKind::Hostname,
        guest::AddressKind::InternalIp => host::AddressKind::InternalIp,
        guest::AddressKind::ExternalIp => host::AddressKind::ExternalIp,
        guest::AddressKind::InternalDns => host::AddressKind::InternalDns,
        guest::AddressKind::ExternalDns => host::AddressKind::ExternalDns,
    };
    host::Address { kind, value: address.value }
}

fn node_refs(nodes: &[host::NodeRef]) -> Vec<guest::NodeRef> {
    nodes.iter().map(node_ref).collect()
}

fn node_ref(node: &host::NodeRef) -> guest::NodeRef {
    let address =
        |a: &host::Address| guest::Address { kind: address_kind(a.kind), value: a.value.clone() };
    guest::NodeRef {
        name: node.name.clone(),
        provider_id: node.provider_id.clone(),
        labels: kvs(&node.labels),
        addresses: node.addresses.iter().map(address).collect(),
    }
}

fn instance_state(state: guest::InstanceState) -> host::InstanceState {
    match state {
        guest::InstanceState::Running => host::InstanceState::Running,
        guest::InstanceState::ShutDown => host::InstanceState::ShutDown,
        guest::InstanceState::NotFound => host::InstanceState::NotFound,
    }
}

fn instance(instance: guest::Instance) -> host::Instance {
    let labels = instance.extra_labels.into_iter().map(|kv| (kv.key, kv.value));
    host::Instance {
        provider_id: instance.provider_id,
        instance_type: instance.instance_type,
        zone: instance.zone,
        region: instance.region,
        addresses: instance.addresses.into_iter().map(address).collect(),
        extra_labels: labels.collect(),
    }
}

fn lb_port(port: &host::LbPort) -> guest::LbPort {
    let proto = match port.proto {
        host::Proto::Tcp => guest::Proto::Tcp,
        host::Proto::Udp => guest::Proto::Udp,
        host::Proto::Sctp => guest::Proto::Sctp,
    };
    let (name, node_port) = (port.name.clone(), port.node_port);
    guest::LbPort { name, proto, port: port.port, node_port }
}

fn lb_spec(spec: &host::LbSpec) -> guest::LbSpec {
    let ingress = |i: &host::LbIngress| guest::LbIngress {
        ip: i.ip.clone(),
        hostname: i.hostname.clone(),
        ip_mode: i.ip_mode.clone(),
    };
    guest::LbSpec {
        cluster: spec.cluster.clone(),
        uid: spec.uid.clone(),
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        ports: spec.ports.iter().map(lb_port).collect(),
        source_ranges: spec.source_ranges.clone(),
        session_affinity: spec.session_affinity,
        external_traffic_local: spec.external_traffic_local,
        health_port: spec.health_port,
        annotations: kvs(&spec.annotations),
        current: spec.current.iter().map(ingress).collect(),
    }
}

fn ingresses(list: Vec<guest::LbIngress>) -> Vec<host::LbIngress> {
    let ingress = |i: guest::LbIngress| host::LbIngress {
        ip: i.ip,
        hostname: i.hostname,
        ip_mode: i.ip_mode,
    };
    list.into_iter().map(ingress).collect()
}

fn host_route(route: guest::Route) -> host::Route {
    host::Route {
        name: route.name,
        target_node: route.target_node,
        destination_cidr: route.destination_cidr,
        blackhole: route.blackhole,
    }
}

fn guest_route(route: &host::Route) -> guest::Route {
    guest::Route {
        name: route.name.clone(),
        target_node: route.target_node.clone(),
        destination_cidr: route.destination_cidr.clone(),
        blackhole: route.blackhole,
    }
}
