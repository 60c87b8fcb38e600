//! The proxy subresources of nodes, pods and Services.

use std::net::IpAddr;
use std::sync::Arc;

use hansa_api::{ApiError, GroupResource, meta};
use http::{Request, Response};
use serde_json::Value;

use super::rewrite::Route;
use super::transport::{Authority, connect_kubelet, connect_plain, connect_unverified, kubelet_of};
use super::tunnel::{forward, is_upgrade};
use crate::body::Body;
use crate::objects::Objects;
use crate::request_info::RequestInfo;
use crate::server::ApiServer;

/// `nodes/[SCHEME:]NAME[:PORT]/proxy/…`: the kubelet's own endpoints, or another server of the node.
pub(super) async fn node(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let Target { scheme, name, port } = Target::of(&info.name, "node")?;
    let kubelet = kubelet_of(server, name).await?;
    let asked = port.map(|port| port.parse::<u16>().map_err(|_| bad_port(port))).transpose()?;
    let way = match asked {
        Some(port) if port != kubelet.port => {
            Way::Server { to: Authority { port, ..kubelet }, scheme }
        }
        _ => Way::Kubelet(kubelet),
    };
    carry(server, way, Route::of(&request, 5), request).await
}

/// `pods/[SCHEME:]NAME[:PORT]/proxy/…`: a pod's own HTTP server.
pub(super) async fn pod(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let Target { scheme, name, port } = Target::of(&info.name, "pod")?;
    let pods = GroupResource::new("", "pods");
    let found = server.objects().get("pods", &info.namespace, name).await;
    let found = found.ok_or_else(|| ApiError::not_found(&pods, name))?;
    let host = meta::str_at(&found, &["status", "podIP"]);
    if !may_be_reached(host, &server.config.pod_cidrs) {
        return Err(ApiError::bad_request("address not allowed"));
    }
    let port = pod_port(&found, port, scheme)?;
    let way = Way::Server { to: Authority { host: host.to_string(), port }, scheme };
    carry(server, way, Route::of(&request, 7), request).await
}

/// `services/[SCHEME:]NAME[:PORT]/proxy/…`: one of the pods behind a Service.
pub(super) async fn service(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let Target { scheme, name, port } = Target::of(&info.name, "service")?;
    let objects = server.objects();
    let get = async |plural: &'static str| {
        let found = objects.get(plural, &info.namespace, name).await;
        found.ok_or_else(|| ApiError::not_found(&GroupResource::new("", plural), name))
    };
    let port_name = match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(number) => service_port_name(&*get("services").await?, number)?,
        None => port.unwrap_or_default().to_string(),
    };
    let endpoints = get("endpoints").await?;
    let unavailable =
        |name: &str| ApiError::unavailable(format!("no endpoints available for service {name:?}"));
    if meta::list_at(&endpoints, &["subsets"]).is_empty() {
        return Err(unavailable(name));
    }
    let mut candidates = ready(&endpoints, &port_name);
    while !candidates.is_empty() {
        let at = rand::random_range(0..candidates.len());
        let Candidate { to, pod } = candidates.swap_remove(at);
        let pod = objects.get("pods", &info.namespace, &pod).await;
        if pod.is_some_and(|pod| has_address(&pod, &to.host)) {
            let way = Way::Server { to, scheme };
            return carry(server, way, Route::of(&request, 7), request).await;
        }
    }
    Err(unavailable(&info.name))
}

/// How the far end is reached.
enum Way {
    /// With this server's credentials for kubelets.
    Kubelet(Authority),
    /// Without any.
    Server { to: Authority, scheme: Scheme },
}

async fn carry(
    server: &Arc<ApiServer>,
    way: Way,
    route: Route,
    mut request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    if let Some(redirect) = route.redirect(request.method(), request.uri())
        && !is_upgrade(request.headers())
    {
        return Ok(redirect);
    }
    let (stream, to) = match way {
        Way::Kubelet(to) => (connect_kubelet(server, &to).await?, to),
        Way::Server { to, scheme: Scheme::Http } => (connect_plain(&to).await?, to),
        Way::Server { to, scheme: Scheme::Https } => (connect_unverified(&to).await?, to),
    };
    route.announce(request.headers_mut());
    let path = if route.path.is_empty() { "/" } else { &route.path };
    let mut response = forward(stream, &to, path, request, server.stop.clone()).await?;
    route.lead_back(response.headers_mut(), &to);
    Ok(response)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// What stands in the place of a name.
#[derive(Debug, PartialEq)]
struct Target<'a> {
    scheme: Scheme,
    name: &'a str,
    port: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// `scheme:name:port`, `name:port` or `name`.
    fn of(text: &'a str, what: &str) -> Result<Self, ApiError> {
        let odd = || ApiError::bad_request(format!("invalid {what} request {text:?}"));
        let (scheme, name, port) = match text.split(':').collect::<Vec<_>>()[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return Err(odd()),
        };
        let scheme = match scheme {
            "" | "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(odd()),
        };
        let port = Some(port).filter(|port| !port.is_empty());
        if name.is_empty() { Err(odd()) } else { Ok(Self { scheme, name, port }) }
    }
}

/// Nobody may reach this machine itself through a pod's address, unless its pods live there.
fn may_be_reached(host: &str, pod_cidrs: &[String]) -> bool {
    let Ok(address) = host.parse::<IpAddr>() else { return false };
    let local = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    let global = !local && !address.is_multicast() && !address.is_unspecified();
    global || pod_cidrs.iter().any(|cidr| is_inside(address, cidr))
}

fn is_inside(address: IpAddr, cidr: &str) -> bool {
    let Some((network, length)) = hansa_api::names::parse_cidr(cidr) else { return false };
    let (address, network, bits) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (a.to_bits().into(), n.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    let shift = bits - u32::from(length);
    shift == 128 || (address ^ network) >> shift == 0_u128
}

fn pod_port(pod: &Value, asked: Option<&str>, scheme: Scheme) -> Result<u16, ApiError> {
    let ports = || {
        let containers = meta::list_at(pod, &["spec", "containers"]).iter();
        containers.flat_map(|container| meta::list_at(container, &["ports"]))
    };
    let usual = if scheme == Scheme::Https { 443 } else { 80 };
    let found = match asked {
        None => ports().find_map(|port| port["containerPort"].as_u64()).or(Some(usual)),
        Some(asked) => asked.parse().ok().or_else(|| {
            let named = ports().find(|port| port["name"] == asked)?;
            named["containerPort"].as_u64()
        }),
    };
    found.and_then(|port| u16::try_from(port).ok()).ok_or_else(|| bad_port(asked.unwrap_or("")))
}

/// The name of the Service's port of this number.
fn service_port_name(service: &Value, number: u16) -> Result<String, ApiError> {
    let ports = meta::list_at(service, &["spec", "ports"]);
    let port = ports.iter().find(|port| port["port"].as_u64() == Some(number.into()));
    let port = port.ok_or_else(|| {
        let name = meta::name(service);
        ApiError::unavailable(format!("no service port {number} found for service {name:?}"))
    })?;
    Ok(meta::str_at(port, &["name"]).to_string())
}

/// An endpoint and the pod that it says it is.
struct Candidate {
    to: Authority,
    pod: String,
}

/// The ready endpoints that have a port of this name and are pods.
fn ready(endpoints: &Value, port_name: &str) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for subset in meta::list_at(endpoints, &["subsets"]) {
        let ports = meta::list_at(subset, &["ports"]);
        let port = ports.iter().find(|port| meta::str_at(port, &["name"]) == port_name);
        let Some(port) = port.and_then(|port| u16::try_from(port["port"].as_u64()?).ok()) else {
            continue;
        };
        let addresses = meta::list_at(subset, &["addresses"]).iter();
        let pods = addresses.filter(|address| address["targetRef"]["kind"] == "Pod");
        candidates.extend(pods.filter_map(|address| {
            let host = address["ip"].as_str()?.to_string();
            let pod = address["targetRef"]["name"].as_str()?.to_string();
            Some(Candidate { to: Authority { host, port }, pod })
        }));
    }
    candidates
}

fn has_address(pod: &Value, address: &str) -> bool {
    let all = meta::list_at(pod, &["status", "podIPs"]).iter();
    let mut all = all.map(|one| meta::str_at(one, &["ip"]));
    meta::str_at(pod, &["status", "podIP"]) == address || all.any(|own| own == address)
}

fn bad_port(port: &str) -> ApiError {
    ApiError::bad_request(format!("invalid port number or name {port:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_carry_scheme_and_port() {
        let of = |text| Target::of(text, "pod");
        let http = |name, port| Target { scheme: Scheme::Http, name, port };
        assert_eq!(of("web").unwrap(), http("web", None));
        assert_eq!(of("web:80").unwrap(), http("web", Some("80")));
        assert_eq!(of("http:web:").unwrap(), http("web", None));
        assert_eq!(of("https:web:x").unwrap().scheme, Scheme::Https);
        for odd in ["ftp:web:80", ":80", "a:b:c:d", "https::80"] {
            let error = of(odd).unwrap_err();
            assert_eq!(error.message, format!("invalid pod request {odd:?}"));
        }
    }

    #[test]
    fn a_service_leads_to_the_pods_that_are_ready() {
        let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [
            {"name": "http", "port": 80}, {"name": "admin", "port": 81}]}});
        assert_eq!(service_port_name(&service, 81).unwrap(), "admin");
        let error = service_port_name(&service, 82).unwrap_err();
        assert_eq!(error.message, "no service port 82 found for service \"web\"");
        let pod = |ip: &str| json!({"ip": ip, "targetRef": {"kind": "Pod", "name": "web-0"}});
        let endpoints = json!({"subsets": [{
            "addresses": [pod("10.0.0.1"), {"ip": "169.254.169.254"}],
            "notReadyAddresses": [pod("10.0.0.2")],
            "ports": [{"name": "http", "port": 8080}]}]});
        let found = ready(&endpoints, "http");
        let found: Vec<_> = found.iter().map(|one| (one.to.to_string(), &one.pod[..])).collect();
        assert_eq!(found, [("10.0.0.1:8080".to_string(), "web-0")]);
        assert!(ready(&endpoints, "admin").is_empty());
        let pod = json!({"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "fd00::1"}]}});
        assert!(has_address(&pod, "10.0.0.1") && has_address(&pod, "fd00::1"));
        assert!(!has_address(&pod, "10.0.0.9"), "an endpoint may not claim another's address");
    }

    #[test]
    fn this_machine_is_not_reached_through_a_pods_address() {
        let pods = ["127.96.0.0/16".to_string(), "fd00::/8".to_string()];
        for good in ["10.0.0.1", "127.96.3.4", "fd00::1", "2001:db8::1"] {
            assert!(may_be_reached(good, &pods), "{good}");
        }
        for bad in ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "224.0.0.1", "", "web"] {
            assert!(!may_be_reached(bad, &pods), "{bad}");
        }
    }

    #[test]
    fn a_pods_port_is_named_numbered_or_its_first() {
        let pod = json!({"spec": {"containers": [{"ports": [
            {"name": "web", "containerPort": 8080}]}]}});
        let port = |asked| pod_port(&pod, asked, Scheme::Http);
        assert_eq!(port(None).unwrap(), 8080);
        assert_eq!(port(Some("web")).unwrap(), 8080);
        assert_eq!(port(Some("9090")).unwrap(), 9090);
        assert!(port(Some("nope")).is_err());
        assert_eq!(pod_port(&json!({}), None, Scheme::Https).unwrap(), 443);
    }
}
