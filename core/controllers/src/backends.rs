//! The pods behind a Service, and the ports they serve it on: what Endpoints and EndpointSlices share.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::{Pod, Service, ServicePort, ServiceSpec};
use hansa_api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use hansa_client::{Change, Informer, ObjectKey};

use crate::owned::is_deleting;
use crate::pods::{is_finished, is_ready, node_name};

/// A pod behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    /// Its address.
    pub(crate) ip: String,
    /// Its name and uid.
    pub(crate) pod: (String, String),
    /// Its node.
    pub(crate) node: Option<String>,
    /// Its host name, where the pod's subdomain is the Service.
    pub(crate) hostname: Option<String>,
    /// Passes its readiness checks.
    pub(crate) serving: bool,
    /// Is on its way out.
    pub(crate) terminating: bool,
    /// Takes traffic: serving and not terminating, or the Service wants unready ones too.
    pub(crate) ready: bool,
    /// The ports as this pod resolves them.
    pub(crate) ports: Vec<Port>,
}

/// A resolved port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) name: Option<String>,
    pub(crate) number: i32,
    pub(crate) protocol: String,
    pub(crate) app_protocol: Option<String>,
}

/// The Service's selector, if it has one; such a Service's endpoints are made by hand otherwise.
pub(crate) fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

/// The pods behind a Service, in the order of their names.
pub(crate) fn of_service(service: &Service, pods: &[Arc<Pod>]) -> Vec<Backend> {
    let (Some(selector), Some(spec)) = (selector(service), &service.spec) else {
        return Vec::new();
    };
    let matching = pods.iter().filter(|pod| matches(selector, pod));
    matching.filter_map(|pod| backend(service, spec, pod)).collect()
}

fn matches(selector: &BTreeMap<String, String>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|all| all.get(key)) == Some(value))
}

fn backend(service: &Service, spec: &ServiceSpec, pod: &Pod) -> Option<Backend> {
    let ip = pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())?;
    if is_finished(pod) {
        return None;
    }
    let terminating = is_deleting(&pod.metadata);
    let serving = is_ready(pod);
    let publish_all = spec.publish_not_ready_addresses == Some(true);
    let pod_spec = pod.spec.as_ref()?;
    let in_subdomain = pod_spec.subdomain.is_some() && pod_spec.subdomain == service.metadata.name;
    let ports = spec.ports.iter().flatten();
    Some(Backend {
        ip,
        pod: (
            pod.metadata.name.clone().unwrap_or_default(),
            pod.metadata.uid.clone().unwrap_or_default(),
        ),
        node: node_name(pod).map(str::to_owned),
        hostname: pod_spec.hostname.clone().filter(|_| in_subdomain),
        serving,
        terminating,
        ready: publish_all || (serving && !terminating),
        ports: ports.filter_map(|port| resolve(port, pod)).collect(),
    })
}

/// A named target port is looked up among the pod's containers; a pod without it does not serve it.
fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => container_port(pod, name, &protocol)?,
    };
    Some(Port {
        name: port.name.clone().filter(|name| !name.is_empty()),
        number,
        protocol,
        app_protocol: port.app_protocol.clone(),
    })
}

fn container_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let containers = spec.containers.iter().chain(sidecars);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .find(|port| {
            port.name.as_deref() == Some(name)
                && port.protocol.as_deref().unwrap_or("TCP") == protocol
        })
        .map(|port| port.container_port)
}

/// The Services that a changed pod is, or was, behind.
pub(crate) fn services_of(change: &Change<Pod>, services: &Informer<Service>) -> Vec<ObjectKey> {
    let mut pods = vec![change.object()];
    if let Change::Applied { old: Some(old), new } = change {
        if same_backend(old, new) {
            return Vec::new();
        }
        pods.push(old);
    }
    let namespace = change.object().metadata.namespace.clone().unwrap_or_default();
    let behind = services.list_in(&namespace).into_iter().filter(|service| {
        selector(service).is_some_and(|selector| pods.iter().any(|pod| matches(selector, pod)))
    });
    behind.map(|service| ObjectKey::of(&*service)).collect()
}

/// Whether nothing changed that a Service's endpoints show.
fn same_backend(old: &Pod, new: &Pod) -> bool {
    let seen = |pod: &Pod| {
        (
            pod.metadata.labels.clone(),
            pod.status.as_ref().and_then(|status| status.pod_ip.clone()),
            (is_ready(pod), is_finished(pod), is_deleting(&pod.metadata)),
            node_name(pod).map(str::to_owned),
        )
    };
    seen(old) == seen(new)
}

#[cfg(test)]
pub(crate) mod tests {
    use hansa_api::k8s_openapi::api::core::v1::{
        Container, ContainerPort, PodCondition, PodSpec, PodStatus,
    };

    use super::*;

    /// A pod `name` with label app=web, an address and a port called `http`.
    pub(crate) fn pod(name: &str, ip: &str, ready: bool) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.namespace = Some("default".into());
        pod.metadata.uid = Some(format!("uid-{name}"));
        pod.metadata.labels = Some(BTreeMap::from([("app".to_owned(), "web".to_owned())]));
        let port = ContainerPort {
            name: Some("http".into()),
            container_port: 8080,
            ..ContainerPort::default()
        };
        let container = Container { ports: Some(vec![port]), ..Container::default() };
        pod.spec = Some(PodSpec { containers: vec![container], ..PodSpec::default() });
        let condition = PodCondition {
            type_: "Ready".into(),
            status: if ready { "True" } else { "False" }.into(),
            ..PodCondition::default()
        };
        pod.status = Some(PodStatus {
            pod_ip: Some(ip.into()),
            conditions: Some(vec![condition]),
            phase: Some("Running".into()),
            ..PodStatus::default()
        });
        pod
    }

    /// A Service `web` over those pods.
    pub(crate) fn service() -> Service {
        let mut service = Service::default();
        service.metadata.name = Some("web".into());
        service.metadata.namespace = Some("default".into());
        let port = ServicePort {
            port: 80,
            target_port: Some(IntOrString::String("http".into())),
            ..ServicePort::default()
        };
        service.spec = Some(ServiceSpec {
            selector: Some(BTreeMap::from([("app".to_owned(), "web".to_owned())])),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        });
        service
    }

    #[test]
    fn named_ports_are_resolved_per_pod() {
        let mut other = pod("b", "127.64.0.3", true);
        other.spec.as_mut().unwrap().containers[0].ports.as_mut().unwrap()[0].container_port = 9090;
        let pods = [Arc::new(pod("a", "127.64.0.2", true)), Arc::new(other)];
        let ports: Vec<_> = of_service(&service(), &pods)
            .into_iter()
            .map(|backend| backend.ports[0].number)
            .collect();
        assert_eq!(ports, [8080, 9090]);
    }

    #[test]
    fn pods_without_address_and_ended_pods_are_not_behind_a_service() {
        let mut ended = pod("a", "127.64.0.2", true);
        ended.status.as_mut().unwrap().phase = Some("Succeeded".into());
        let pods = [Arc::new(ended), Arc::new(pod("b", "", true))];
        assert!(of_service(&service(), &pods).is_empty());
    }

    #[test]
    fn an_unready_pod_is_ready_only_where_the_service_wants_it() {
        let pods = [Arc::new(pod("a", "127.64.0.2", false))];
        assert!(!of_service(&service(), &pods)[0].ready);
        let mut all = service();
        all.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
        assert!(of_service(&all, &pods)[0].ready);
    }
}
