//! The proxy subresources of nodes, pods and Services.

use std::sync::Arc;

use hansa_api::{ApiError, GroupResource, meta};
use http::{Request, Response, Uri};
use serde_json::Value;

use super::sessions::with_query;
use super::transport::{Authority, connect_kubelet, connect_plain, kubelet_of};
use super::tunnel::forward;
use crate::body::Body;
use crate::objects::Objects;
use crate::request_info::RequestInfo;
use crate::server::ApiServer;

/// `nodes/NAME/proxy/…`: the kubelet's own endpoints.
pub(super) async fn node(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let (_, name, port) = split_name(&info.name);
    let mut kubelet = kubelet_of(server, name).await?;
    if let Some(port) = port {
        kubelet.port = port.parse().map_err(|_| bad_port(port))?;
    }
    let path = tail(request.uri(), 5);
    let stream = connect_kubelet(server, &kubelet).await?;
    forward(stream, &kubelet, &path, request, server.stop.clone()).await
}

/// `pods/NAME[:PORT]/proxy/…`: a pod's own HTTP server.
pub(super) async fn pod(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let (_, name, port) = split_name(&info.name);
    let pods = GroupResource::new("", "pods");
    let found = server.objects().get("pods", &info.namespace, name).await;
    let found = found.ok_or_else(|| ApiError::not_found(&pods, name))?;
    let host = meta::str_at(&found, &["status", "podIP"]);
    if host.is_empty() {
        return Err(ApiError::bad_request(format!("address not allowed: pod {name} has no IP")));
    }
    let port = pod_port(&found, port)?;
    plain(server, Authority { host: host.to_string(), port }, request).await
}

/// `services/[SCHEME:]NAME[:PORT]/proxy/…`: one of a Service's ready endpoints.
pub(super) async fn service(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let (scheme, name, port) = split_name(&info.name);
    if scheme == Some("https") {
        return Err(ApiError::unavailable("proxying to https Services is not supported"));
    }
    let services = GroupResource::new("", "services");
    let found = server.objects().get("services", &info.namespace, name).await;
    let found = found.ok_or_else(|| ApiError::not_found(&services, name))?;
    let port_name = service_port_name(&found, port)?;
    let endpoints = server.objects().get("endpoints", &info.namespace, name).await;
    let chosen = endpoints.as_deref().and_then(|endpoints| ready(endpoints, &port_name));
    let to = chosen.ok_or_else(|| {
        ApiError::unavailable(format!("no endpoints available for service {:?}", info.name))
    })?;
    plain(server, to, request).await
}

async fn plain(
    server: &Arc<ApiServer>,
    to: Authority,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let path = tail(request.uri(), 7);
    let stream = connect_plain(&to).await?;
    forward(stream, &to, &path, request, server.stop.clone()).await
}

/// `scheme:name:port`, `name:port` or `name`.
fn split_name(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let some = |part| Some(part).filter(|part: &&str| !part.is_empty());
    match text.split(':').collect::<Vec<_>>()[..] {
        [scheme, name, port] => (some(scheme), name, some(port)),
        [name, port] => (None, name, some(port)),
        _ => (None, text, None),
    }
}

fn pod_port(pod: &Value, asked: Option<&str>) -> Result<u16, ApiError> {
    let ports = || {
        let containers = meta::list_at(pod, &["spec", "containers"]).iter();
        containers.flat_map(|container| meta::list_at(container, &["ports"]))
    };
    let found = match asked {
        None => ports().find_map(|port| port["containerPort"].as_u64()).or(Some(80)),
        Some(asked) => asked.parse().ok().or_else(|| {
            let named = ports().find(|port| port["name"] == asked)?;
            named["containerPort"].as_u64()
        }),
    };
    found.and_then(|port| u16::try_from(port).ok()).ok_or_else(|| bad_port(asked.unwrap_or("")))
}

/// The name of the Service's port that is asked for by name or number; the only one by default.
fn service_port_name(service: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let ports = meta::list_at(service, &["spec", "ports"]);
    let port = match asked {
        None => ports.first(),
        Some(asked) => ports.iter().find(|port| {
            port["name"] == asked || port["port"].as_u64().is_some_and(|n| n.to_string() == asked)
        }),
    };
    let port = port.ok_or_else(|| {
        let name = meta::name(service);
        ApiError::unavailable(format!(
            "no service port {:?} found for service {name:?}",
            asked.unwrap_or("")
        ))
    })?;
    Ok(meta::str_at(port, &["name"]).to_string())
}

fn ready(endpoints: &Value, port_name: &str) -> Option<Authority> {
    let mut candidates = Vec::new();
    for subset in meta::list_at(endpoints, &["subsets"]) {
        let ports = meta::list_at(subset, &["ports"]);
        let port = ports.iter().find(|port| meta::str_at(port, &["name"]) == port_name);
        let Some(port) = port.and_then(|port| u16::try_from(port["port"].as_u64()?).ok()) else {
            continue;
        };
        let addresses = meta::list_at(subset, &["addresses"]).iter();
        candidates.extend(addresses.filter_map(|address| {
            Some(Authority { host: address["ip"].as_str()?.to_string(), port })
        }));
    }
    if candidates.is_empty() {
        return None;
    }
    let at = rand::random_range(0..candidates.len());
    Some(candidates.swap_remove(at))
}

fn bad_port(port: &str) -> ApiError {
    ApiError::bad_request(format!("invalid port number or name {port:?}"))
}

/// The path below the proxy subresource, as it came, with the query.
fn tail(uri: &Uri, segments: usize) -> String {
    let path = uri.path().trim_start_matches('/');
    let rest = path.splitn(segments + 1, '/').nth(segments).unwrap_or_default();
    with_query(format!("/{rest}"), uri.query().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_carry_scheme_and_port() {
        assert_eq!(split_name("web"), (None, "web", None));
        assert_eq!(split_name("web:80"), (None, "web", Some("80")));
        assert_eq!(split_name("http:web:"), (Some("http"), "web", None));
    }

    #[test]
    fn the_tail_keeps_slashes_escapes_and_query() {
        let uri: Uri = "/api/v1/namespaces/a/pods/p/proxy/x%2Fy/?q=1".parse().unwrap();
        assert_eq!(tail(&uri, 7), "/x%2Fy/?q=1");
        let uri: Uri = "/api/v1/nodes/n/proxy".parse().unwrap();
        assert_eq!(tail(&uri, 5), "/");
    }

    #[test]
    fn a_service_leads_to_its_ready_endpoints() {
        let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [
            {"name": "http", "port": 80}, {"name": "admin", "port": 81}]}});
        assert_eq!(service_port_name(&service, None).unwrap(), "http");
        assert_eq!(service_port_name(&service, Some("81")).unwrap(), "admin");
        assert!(service_port_name(&service, Some("82")).is_err());
        let endpoints = json!({"subsets": [{
            "addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
            "ports": [{"name": "http", "port": 8080}]}]});
        assert_eq!(ready(&endpoints, "http").unwrap().to_string(), "10.0.0.1:8080");
        assert_eq!(ready(&endpoints, "admin"), None);
    }

    #[test]
    fn a_pods_port_is_named_numbered_or_its_first() {
        let pod = json!({"spec": {"containers": [{"ports": [
            {"name": "web", "containerPort": 8080}]}]}});
        assert_eq!(pod_port(&pod, None).unwrap(), 8080);
        assert_eq!(pod_port(&pod, Some("web")).unwrap(), 8080);
        assert_eq!(pod_port(&pod, Some("9090")).unwrap(), 9090);
        assert!(pod_port(&pod, Some("nope")).is_err());
    }
}
